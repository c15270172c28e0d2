"""Resuming: a training that was stopped and resumed is the training that was not."""

from __future__ import annotations

import copy
import importlib
import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import moons
from safetensors.torch import load_file
from torch import Tensor

from marginflow import data, models
from marginflow.base.distribution import Distribution
from marginflow.data import DataSet
from marginflow.data.loader import Loader
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.nets import back_ends, products
from marginflow.nets.masked import linear
from marginflow.nets.product_choice import Choice
from marginflow.training import EpochRecord, TrainConfig, fit
from marginflow.training.checkpoint import TRAINER, load_trainer, save_trainer, save_weights
from marginflow.training.interrupt import Interrupted, Interrupts
from marginflow.training.metrics import read_metrics
from marginflow.training.optimiser_state import load_named_state
from marginflow.transforms import Standardise


def config(**options: object) -> TrainConfig:
    return TrainConfig.model_validate({
        "epochs": 4, "batch_size": 50, "lr": 1e-2, "schedule": "cosine", "warmup_steps": 5, "ema": 0.9, **options,
    })  # fmt: skip


def built() -> Flow:
    """Everything that has a state: statistics, batch norm, dropout, noise."""
    torch.default_generator.manual_seed(0)
    flow = models.maf(3, hidden=[16], blocks=2, batch_norm=True, dropout=0.2)
    return Flow([Standardise(2)], base=Marginalising(flow, StandardNormal(1)))


class StopAt:
    """Sends Ctrl-C at a step."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = epoch, step

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        if (epoch, step) == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        if (record.epoch, -1) == self.at:
            signal.raise_signal(signal.SIGINT)


def without_seconds(history: list[EpochRecord]) -> list[tuple[object, ...]]:
    return [(r.epoch, r.train_nll, r.validation_nll, r.best, r.lr) for r in history]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stops", [[(1, 3)], [(2, 10)], [(3, 1), (3, 7), (4, 10)], [(2, -1)]])
def test_stopped_anywhere_and_resumed_it_ends_the_same(
    tmp_path: Path, stops: list[tuple[int, int]], ema: float
) -> None:
    whole = built()
    history = fit(whole, moons(), config(ema=ema), tmp_path / "whole")
    for stop in stops:
        with pytest.raises(KeyboardInterrupt, match=r"stopped after step \d+ of 10 in epoch . of 4; the state is kept"):
            fit(built(), moons(), config(ema=ema), tmp_path / "parts", resume=True, observers=[StopAt(*stop)])
    resumed = built()
    torch.default_generator.manual_seed(12345)  # the caller's randomness does not matter
    again = fit(resumed, moons(), config(ema=ema), tmp_path / "parts", resume=True)
    assert without_seconds(again) == without_seconds(history)
    assert same(resumed.state_dict(), whole.state_dict())
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "parts" / name).exists()
    assert same(
        load_file(tmp_path / "parts" / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors")
    )
    states = [load_trainer(tmp_path / part) for part in ("whole", "parts")]
    assert states[0] is not None
    assert states[1] is not None
    assert same(states[0]["model"], states[1]["model"])
    assert torch.equal(states[0]["random"], states[1]["random"])


@pytest.mark.slow
@pytest.mark.parametrize("back_end", products.usable())
def test_it_ends_the_same_under_each_back_end_of_products(
    back_end: str, single: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, whose last bits depend on who multiplies; what the machine would choose today does not matter."""
    other = products.usable()[-1] if back_end == "torch" else "torch"
    choice, others = Choice(back_end, 1, 1, 1), Choice(other, 1, 1, 1)
    monkeypatch.setattr(products, "LEAST", 1)
    monkeypatch.setattr(products, "measured", lambda threads: choice)
    loop = importlib.import_module("marginflow.training.fit")
    monkeypatch.setattr(loop, "choice_for", lambda *_, **__: choice)
    whole, resumed = built(), built()
    history = fit(whole, moons(), config(epochs=2), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(built(), moons(), config(epochs=2), tmp_path / "parts", observers=[StopAt(2, 4)])
    state = load_trainer(tmp_path / "parts")
    assert state is not None
    assert state["products"] == asdict(choice)
    used: list[str] = []

    def noted(name: str) -> Any:
        plain = back_ends.BACK_ENDS[name]

        def product(*given: Any, **named: Any) -> Any:
            used.append(name)
            return plain(*given, **named)

        return product

    for name in products.usable():
        monkeypatch.setitem(back_ends.BACK_ENDS, name, noted(name))
    monkeypatch.setattr(loop, "choice_for", lambda *_, **__: others)
    assert without_seconds(fit(resumed, moons(), config(epochs=2), tmp_path / "parts", resume=True)) == without_seconds(
        history
    )
    assert set(used) <= {back_end, "torch"}  # torch's also for what does not fit another
    assert back_end in used
    assert same(resumed.state_dict(), whole.state_dict())


def test_who_resumes_is_told_where_a_back_end_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(built(), moons(), config(epochs=2), tmp_path, observers=[StopAt(2, 4)])
    state = load_trainer(tmp_path)
    assert state is not None
    save_trainer({**state, "products": asdict(Choice("onednn", 1, 1, 1))}, tmp_path)
    monkeypatch.setattr(products, "measured", lambda threads: products.TORCH)
    with pytest.warns(RuntimeWarning, match="multiplied by onednn, which is not usable here") as caught:
        fit(built(), moons(), config(epochs=2), tmp_path, resume=True)
    assert [each.filename for each in caught if each.category is RuntimeWarning] == [__file__]


def test_a_state_from_before_finishes_its_epoch_by_the_order_that_it_drew(tmp_path: Path) -> None:
    """Marginflow drew the order of an epoch, and kept it: such a file is made here of a new one."""
    seen: list[Tensor] = []

    class Seen(Standardise):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            if self.training:
                seen.append(x)
            return super().forward(x, context)

    with pytest.raises(KeyboardInterrupt):
        fit(built(), moons(), config(), tmp_path, observers=[StopAt(2, 7)])
    state = load_trainer(tmp_path)
    assert state is not None
    assert state["position"]["order"] is None
    order = state["position"]["order"] = torch.randperm(500)
    save_trainer(state, tmp_path)
    fit(Flow([Seen(2)], base=built().base), moons(), config(), tmp_path, resume=True)
    rows = moons().train
    expected = [rows.x[part] for part in order.split(50)[7:]]
    expected += [batch.x for epoch in (3, 4) for batch in Loader(rows, 50, seed=0).epoch(epoch)]
    torch.testing.assert_close(seen, expected, rtol=0, atol=0)


def in_bands(model: Flow, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's state as files of format 1 hold it."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(state)
    masked = [f"{name}.weight" for name, each in twin.named_modules() if isinstance(each, linear.MaskedLinear)]
    rest = {name: each for name, each in state.items() if name not in masked}
    return {**rest, **{name: each.detach() for name, each in twin.named_parameters() if ".weights." in name}}


def test_a_training_of_format_1_is_resumed(tmp_path: Path) -> None:
    """Its state has the weights in bands, and what the optimiser keeps by number."""
    whole = built()
    history = fit(whole, moons(), config(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(built(), moons(), config(), tmp_path / "parts", observers=[StopAt(3, 4)])
    state = load_trainer(tmp_path / "parts")
    assert state is not None
    model = built()
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    load_named_state(model, optimiser, state["optimiser"])
    assert any("weights" not in name and name.endswith("layer.weight") for name in state["optimiser"]["state"])
    averaged, average = state["average"]
    old = {**state, "optimiser": optimiser.state_dict(), "model": in_bands(model, state["model"]),
           "average": (averaged, in_bands(model, average))}  # fmt: skip
    del old["optimiser_kind"]
    save_trainer(old, tmp_path / "parts")
    best = in_bands(model, load_file(tmp_path / "parts" / "model.safetensors"))
    save_weights(best, tmp_path / "parts")
    resumed = built()
    again = fit(resumed, moons(), config(), tmp_path / "parts", resume=True)
    assert without_seconds(again) == without_seconds(history)
    assert same(resumed.state_dict(), whole.state_dict())


@pytest.mark.parametrize(("first", "then"), [(10, 10**9), (10**9, 10)])
def test_a_training_is_resumed_where_layers_are_cut_into_other_bands(
    first: int, then: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide() -> Flow:
        torch.default_generator.manual_seed(0)
        return models.maf(9, hidden=[60], blocks=2)

    x = torch.randn(500, 9)
    monkeypatch.setattr(linear, "WEIGHTS_A_CALL", first)
    whole = wide()
    bands = len(list(whole.parameters()))
    history = fit(whole, x, config(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(wide(), x, config(), tmp_path / "parts", observers=[StopAt(3, 4)])
    monkeypatch.setattr(linear, "WEIGHTS_A_CALL", then)
    resumed = wide()
    assert (len(list(resumed.parameters())) < bands) == (first < then)
    again = fit(resumed, x, config(), tmp_path / "parts", resume=True)
    assert [each.validation_nll for each in again] == pytest.approx([each.validation_nll for each in history], abs=1e-5)
    for name, each in resumed.state_dict().items():
        torch.testing.assert_close(each, whole.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_a_state_of_other_weights_is_refused(tmp_path: Path) -> None:
    fit(built(), moons(), config(epochs=1), tmp_path)
    state = load_trainer(tmp_path)
    assert state is not None
    state["optimiser"]["groups"][0]["params"].reverse()
    save_trainer(state, tmp_path)
    with pytest.raises(ValueError, match="its optimiser is over other weights"):
        fit(built(), moons(), config(), tmp_path, resume=True)


def test_an_interrupt_in_validation_resumes_at_validation(tmp_path: Path) -> None:
    class InValidation(Standardise):
        calls = 0

        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            if not self.training and (calls := InValidation.calls + 1):
                InValidation.calls = calls
                if calls == 1:
                    signal.raise_signal(signal.SIGINT)
            return super().forward(x, context)

    whole = built()
    fit(whole, moons(), config(), tmp_path / "whole")
    model = built()
    interrupted = Flow([InValidation(2)], base=model.base)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 10 of 10 in epoch 1"):
        fit(interrupted, moons(), config(), tmp_path / "parts")
    resumed = built()
    fit(resumed, moons(), config(), tmp_path / "parts", resume=True)
    assert same(resumed.state_dict(), whole.state_dict())


def test_an_interrupt_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    class Eager(Standardise):
        def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
            raise AssertionError("interrupted before")

    class Rows:
        """Two batches, of which the first interrupts."""

        shape, dtype = torch.Size([2000, 2]), torch.get_default_dtype()

        def __len__(self) -> int:
            return 2000

        def __getitem__(self, rows: slice | Tensor) -> Tensor:
            signal.raise_signal(signal.SIGINT)
            return torch.zeros(2000, 2)[rows]

    split = data.Split(Rows())
    rows = DataSet("rows", split, moons().validation, moons().test)
    model = Flow([Eager(2)], base=models.planar(2))
    with pytest.raises(KeyboardInterrupt, match="no epoch was validated before, nothing is kept"):
        fit(model, rows, config(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_resuming_nothing_starts_anew_and_what_is_finished_stays(tmp_path: Path) -> None:
    first, second = built(), built()
    fit(first, moons(), config(), tmp_path / "a")
    (tmp_path / "b").mkdir()
    fit(second, moons(), config(), tmp_path / "b", resume=True)
    assert same(first.state_dict(), second.state_dict())
    before = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    third = built()
    history = fit(third, moons(), config(), tmp_path / "b", resume=True)
    assert len(history) == 4
    assert same(third.state_dict(), first.state_dict())
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before


def test_a_finished_training_is_resumed_for_more_epochs(tmp_path: Path) -> None:
    options = {"schedule": "constant", "ema": 0.0}
    whole = built()
    history = fit(whole, moons(), config(**options, epochs=6), tmp_path / "whole")
    fit(built(), moons(), config(**options, epochs=4), tmp_path / "parts")
    longer = built()
    again = fit(longer, moons(), config(**options, epochs=6), tmp_path / "parts", resume=True)
    assert without_seconds(again) == without_seconds(history)
    assert same(longer.state_dict(), whole.state_dict())


def test_without_resume_a_stopped_training_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(built(), moons(), config(), tmp_path, observers=[StopAt(1, 3)])
    with pytest.raises(FileExistsError, match=r"holds a training already \(trainer.pt\)"):
        fit(built(), moons(), config(), tmp_path)


def test_a_damaged_state_or_one_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(built(), moons(), config(epochs=1), tmp_path)
    with pytest.raises(ValueError, match="does not belong to this model and configuration"):
        fit(models.planar(2), moons(), config(), tmp_path, resume=True)
    content = (tmp_path / TRAINER).read_bytes()
    (tmp_path / "checksums.json").unlink()
    for damaged in (b"", content[:-100], b"text", content[:1000] + b"\xff" * 500 + content[1500:]):
        (tmp_path / TRAINER).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"trainer.pt cannot be loaded|does not belong"):
            fit(built(), moons(), config(), tmp_path, resume=True)


def test_killed_between_two_files_the_epoch_is_done_again(tmp_path: Path) -> None:
    """After the best weights of an epoch, before its state; after the state, before its line of metrics."""
    whole = built()
    history = fit(whole, moons(), config(), tmp_path / "whole")
    for name in (TRAINER, "metrics.jsonl"):
        run = tmp_path / name
        fit(built(), moons(), config(epochs=1), run)  # of other epochs the schedule is another, which must not matter
        fit(built(), moons(), config(epochs=1), run, resume=True)
        (run / name).unlink()
        if name == TRAINER:
            (run / "metrics.jsonl").unlink()
        else:
            state = load_trainer(run)
            assert state is not None
            assert len(state["history"]) == 1
        resumed = built()
        again = fit(resumed, moons(), config(), run, resume=True)
        assert [record.epoch for record in again] == [1, 2, 3, 4]
        assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]
        if name == TRAINER:
            assert without_seconds(again) == without_seconds(history)
            assert same(resumed.state_dict(), whole.state_dict())


def test_a_training_without_its_state_is_not_started_over(tmp_path: Path) -> None:
    fit(built(), moons(), config(epochs=1), tmp_path)
    (tmp_path / TRAINER).unlink()
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match=r"without its trainer.pt, which cannot be resumed"):
        fit(built(), moons(), config(), tmp_path, resume=True)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_the_first_interrupt_waits_and_the_second_does_not() -> None:
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            interrupts.check()
        signal.raise_signal(signal.SIGINT)  # a double press
        interrupts._asked_at -= 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_handlers_and_other_threads_are_left_alone() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGINT)
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    history: list[object] = []
    thread = threading.Thread(
        target=lambda: history.extend(fit(models.planar(2), torch.randn(200, 2), config(epochs=1)))
    )
    thread.start()
    thread.join()
    assert len(history) == 1


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, True), (600.0, False)])
def test_a_long_epoch_is_kept_while_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, kept: bool
) -> None:
    monkeypatch.setattr(importlib.import_module("marginflow.training.fit"), "SAVE_EVERY", seconds)
    steps: list[int] = []

    class Looks:
        def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
            if (epoch, step) == (1, 5):
                state = load_trainer(tmp_path)
                steps.append(0 if state is None else state["position"]["step"])

        def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
            """Too late."""

    fit(built(), moons(), config(epochs=1), tmp_path, observers=[Looks()])
    assert steps == [4 if kept else 0]


def test_a_line_of_metrics_that_a_kill_cut_short_is_done_again(tmp_path: Path) -> None:
    fit(built(), moons(), config(epochs=2), tmp_path)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"epoch": 3, "tra')
    assert [each["epoch"] for each in read_metrics(tmp_path)] == [1, 2]
    for damaged in ('{"epoch": 3, "tra', '{"epuch": 3}', '{"epoch": "three"}', "3"):
        path.write_text(f"{whole}{damaged}\n")
        with pytest.raises(ValueError, match=r"metrics.jsonl is damaged"):
            read_metrics(tmp_path)
