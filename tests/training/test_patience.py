"""Patience, jumps and endings: each against its definition by hand, and in trainings that are made to break."""

from __future__ import annotations

import json
import math
import signal
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import Recorder, config, moons
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from marginflow import models
from marginflow.base.data_warning import DataWarning
from marginflow.base.distribution import Distribution
from marginflow.data import DataSet, DataSpec, Split
from marginflow.training import EpochRecord, fit
from marginflow.training.checkpoint import load_trainer
from marginflow.training.ending import ending
from marginflow.training.metrics import read_metrics
from marginflow.training.patience import given_up, jumped, out_of_patience
from marginflow.training.validation import heaviest, robust_mean


def record(epoch: int, validation: float | None, *, train: float = 0.0, best: bool = False) -> EpochRecord:
    return EpochRecord(epoch, train, validation, best, 1.0, 0.1, validation)


def validated(*losses: float) -> list[EpochRecord]:
    """A history with the best so far marked, whose robust means are the means."""
    return [record(i, loss, best=loss <= min(losses[:i])) for i, loss in enumerate(losses, 1)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=350))
def test_the_robust_mean_by_hand(values: list[float]) -> None:
    left_out = math.ceil(len(values) / 100)
    cap = sorted(values, reverse=True)[min(left_out, len(values) - 1)]
    expected = statistics.fmean(min(value, cap) for value in values)
    assert robust_mean(torch.tensor(values)) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_rows_that_dominate_a_mean_are_found_and_ordinary_ones_are_not() -> None:
    for shape in (torch.randn(1000), torch.randn(1000).square(), -torch.rand(1000).log(), torch.zeros(1000)):
        assert heaviest(shape) == ()
        shape[[7, 300]] = torch.tensor([73**2 / 2, 2 * 73**2])
        assert heaviest(shape) == (300, 7)
    assert heaviest(torch.tensor([0.0] * 10 + [1e9])) == ()  # too few to tell


def test_patience_is_renewed_by_either_mean() -> None:
    history = [replace(each, validation_robust_nll=None) for each in validated(3.0, 2.0, 2.5, 2.4)]
    assert out_of_patience(history, 2)  # as files from before say
    assert not out_of_patience(history, 3)
    robust = [
        replace(each, validation_robust_nll=value) for each, value in zip(history, [3.0, 2.0, 1.9, 1.95], strict=True)
    ]
    assert not out_of_patience(robust, 2)
    assert out_of_patience(robust, 1)
    assert not out_of_patience(robust, None)
    assert not out_of_patience([], 1)


def test_an_outlier_in_the_validation_split_does_not_stop_a_training() -> None:
    """Its row of 73 deviations makes the mean rise while all others improve."""
    x = torch.randn(1000, 2)
    x[:, 1] += x[:, 0].square()
    x[500] = torch.tensor([0.0, 73.0 * float(x[:, 1].std())])
    seed = next(s for s in range(100) if 500 in torch.randperm(1000, generator=torch.Generator().manual_seed(s))[:100])
    torch.default_generator.manual_seed(0)
    model = models.maf(2, hidden=[16], blocks=2)
    with pytest.warns(
        DataWarning, match=r"1 row decides on the validation.* row 500, where x1 = .* standard dev"
    ) as told:
        history = fit(model, x, config(epochs=25, lr=2e-3, patience=5, batch_size=100, seed=seed))
    best = next(each for each in reversed(history) if each.best)
    robust = [each.validation_robust_nll or 0.0 for each in history]
    assert best.validation_nll == min(each.validation_nll or 0.0 for each in history)
    assert history[-1].epoch > best.epoch + 5, "patience would have ended it anyway"
    assert f"The weights of epoch {best.epoch} are kept" in str(told[0].message)
    assert f"those of epoch {robust.index(min(robust)) + 1} are best" in str(told[0].message)


@pytest.mark.parametrize(
    ("losses", "features", "expected"),
    [
        ([20.0, 18.0, 17.8, 17.6, 60.2], 43, True),
        ([20.0, 18.0, 17.8, 17.6, 21.0], 43, False),  # less than a tenth of a nat a feature
        ([20.0, 18.0, 17.8, 17.6, 18.7], 2, False),  # less than ten times what is usual
        ([1.0, 0.9, 0.8, 0.75, 2.0], 2, True),
        ([1.0, 0.9, 0.8, 0.75, 1.7], 2, False),  # less than a nat
        ([100.0, 30.0, 10.0, 60.2], 2, False),  # too early to judge
        ([30.0, 20.0, 30.0, 20.0, 60.0], 2, False),  # noise
        ([20.0, 18.0, 17.8, 17.6, -60.2], 2, False),
    ],
)
def test_a_jump_is_judged_by_the_changes_before_it(losses: list[float], features: int, expected: bool) -> None:
    history = validated(*losses)
    assert jumped(history[:-1], history[-1], features) == expected


def test_after_a_return_the_best_is_what_counts() -> None:
    history = validated(20.0, 18.0, 17.8, 17.6, 60.2)
    history[-1] = replace(history[-1], returned=True)
    assert jumped(history, record(6, 55.0), 2)
    assert not jumped(history, record(6, 18.0), 2)
    assert [given_up([replace(history[-1])] * count, 3) for count in (0, 3, 4)] == [False, False, True]
    assert not given_up([history[-1]] * 9, 0)


def test_an_epoch_without_validation_is_judged_by_its_training_loss() -> None:
    history = [record(i, None if i % 2 else 1.0, train=5.0 - i / 10, best=i == 2) for i in range(1, 8)]
    assert jumped(history, record(9, None, train=30.0), 2)
    assert not jumped(history, record(9, None, train=4.9), 2)
    assert not jumped([replace(each, best=False) for each in history], record(9, None, train=30.0), 2)  # no weights yet


class Breaks:
    """Throws the weights of a model far off after given epochs' last steps."""

    def __init__(self, model: nn.Module, *epochs: int) -> None:
        self.model, self.epochs = model, epochs

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        if epoch in self.epochs and step == num_steps:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.mul_(30.0)  # what a mask leaves out stays 0

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """Nothing."""


def flow() -> Distribution:
    torch.default_generator.manual_seed(0)
    return models.maf(2, hidden=[16], blocks=2)


@pytest.mark.parametrize(("ema", "jump"), [(0.0, 7), (0.5, 8)])  # an average shows it one epoch later
def test_after_a_jump_a_training_continues_from_its_best_weights_at_half_the_rate(ema: float, jump: int) -> None:
    model = flow()
    validated: dict[int, list[Tensor]] = {}
    trained: dict[int, list[Tensor]] = {}

    whole = model

    class Weights(Recorder):
        def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
            for kept, each in ((trained, whole), (validated, model)):
                kept[record.epoch] = [weight.detach().clone() for weight in each.parameters()]

    settings = config(epochs=10, lr=1e-2, ema=ema)
    history = fit(model, moons(), settings, observers=[Breaks(model, 7), Weights()])
    assert [each.epoch for each in history if each.returned] == [jump]
    assert [each.lr for each in history] == [1e-2] * jump + [5e-3] * (10 - jump)
    best = max(each.epoch for each in history[: jump - 1] if each.best)
    for state in (trained[jump], validated[jump]):
        for after, kept in zip(state, validated[best], strict=True):
            torch.testing.assert_close(after, kept, rtol=0, atol=0)
    assert (history[jump].validation_nll or 0.0) < (history[best - 1].validation_nll or 0.0) + 0.5
    broken = flow()
    without = fit(broken, moons(), settings.model_copy(update={"returns": 0}), observers=[Breaks(broken, 7)])
    assert not any(each.returned for each in without)
    assert (without[jump].validation_nll or 0.0) > (history[jump].validation_nll or 0.0) + 1


def test_a_training_that_jumps_again_and_again_ends_and_says_why() -> None:
    model = flow()
    history = fit(model, moons(), config(epochs=30, lr=1e-2, returns=2), observers=[Breaks(model, 6, 8, 9)])
    assert [each.epoch for each in history if each.returned] == [6, 8, 9]
    assert history[-1].epoch == 9
    assert "ended at epoch 9 of 30: the loss jumped beyond its 2 returns; best at epoch" in str(history[-1].ended)
    assert "lower lr (now 0.0" in str(history[-1].ended)


@pytest.mark.parametrize("stop", [(7, 10), (8, 4), (9, 1)])
def test_stopped_around_a_return_and_resumed_it_ends_the_same(tmp_path: Path, stop: tuple[int, int]) -> None:
    class StopAt(Breaks):
        def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
            super().on_step(epoch, step, num_steps, loss)
            if (epoch, step) == stop:
                signal.raise_signal(signal.SIGINT)

    settings = config(epochs=10, lr=1e-2, ema=0.5, schedule="cosine", patience=8)
    whole, first, second = flow(), flow(), flow()
    history = fit(whole, moons(), settings, tmp_path / "whole", observers=[Breaks(whole, 7)])
    with pytest.raises(KeyboardInterrupt):
        fit(first, moons(), settings, tmp_path / "parts", observers=[StopAt(first, 7)])
    again = fit(second, moons(), settings, tmp_path / "parts", resume=True, observers=[Breaks(second)])
    assert any(each.returned for each in history)
    assert [replace(each, seconds=0.0) for each in again] == [replace(each, seconds=0.0) for each in history]
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    states = [load_trainer(tmp_path / name) for name in ("whole", "parts")]
    for key in ("rate_scale", "untrained_nll", "clip_norm"):
        assert states[0] is not None
        assert states[1] is not None
        assert states[0][key] == states[1][key]


def test_the_last_line_says_why_and_whether_it_was_still_improving(tmp_path: Path) -> None:
    spec = DataSpec((2,))

    def said(losses: list[float], resumable: bool = True, **options: object) -> str:
        return ending(validated(*losses), config(**options), spec, 5.0, resumable=resumable)

    falling = [4.0 - i / 10 for i in range(10)]
    assert said(falling, epochs=10) == (
        "ended after all 10 epochs; best at epoch 10, validation 3.1 nats; it was still improving, by 0.2 nats in the "
        "last fifth: resume with --resume --set train.epochs=20 (in Python epochs=20, resume=True)"
    )
    assert said(falling, resumable=False, epochs=10).endswith(": train with epochs=20")
    assert said(falling, schedule="cosine", epochs=10).endswith(
        ": train anew with --overwrite --set train.epochs=20 (in Python epochs=20)"
    )
    flat = [4.0, 3.0, 2.5, 2.2, 2.1, 2.0, 2.001, 2.0, 2.001, 1.999]
    assert said(flat, epochs=10).endswith("best at epoch 10, validation 1.999 nats; it was no longer improving")
    assert said([2.0, 3.0, 3.0, 3.0], epochs=10, patience=3) == (
        "ended at epoch 4 of 10: no better validation for 3 epochs; best at epoch 1, validation 2 nats; it was no "
        "longer improving"
    )
    assert "5 nats), " not in said(falling, epochs=10)
    assert "which is worse than before the first step (5 nats): lower lr (now 0.1)" in said([9.0, 8.0], epochs=2)

    seen = ending(validated(*falling), config(epochs=10), spec, 5.0, resumable=True, trains_on_validation=True)
    assert seen == "ended after all 10 epochs; best at epoch 10, 3.1 nats on rows that are trained on"

    history = fit(flow(), moons(), config(epochs=3), tmp_path)
    assert [each.ended is not None for each in history] == [False, False, True]
    assert [line["ended"] for line in read_metrics(tmp_path)] == [each.ended for each in history]
    longer = fit(flow(), moons(), config(epochs=5), tmp_path, resume=True)
    assert [each.ended is not None for each in longer] == [False] * 4 + [True]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["ended"] is not None for line in lines] == [False] * 4 + [True]


def test_progress_ends_with_that_line(capsys: pytest.CaptureFixture[str]) -> None:
    history = fit(flow(), moons(), config(epochs=2), progress=True)
    assert capsys.readouterr().out.splitlines()[-1] == history[-1].ended


def test_an_outlier_of_a_data_set_is_named_by_its_column() -> None:
    train, validation = torch.randn(400, 2), torch.randn(50, 2)
    validation[12, 1] = -73.0
    data = DataSet("rows", Split(train), Split(validation), Split(validation), columns=("age", "income"))
    deviations = float((validation[12, 1] - train[:, 1].mean()).abs() / train[:, 1].std(correction=0))
    message = (
        rf"row 12 of the validation split, where income = -73 is {deviations:.3g} standard deviations from the mean"
    )
    with pytest.warns(DataWarning, match=message):
        fit(flow(), data, config(epochs=1))


@pytest.mark.parametrize("number", [2, 3])
def test_few_epochs_do_not_tell_whether_a_training_was_improving(number: int) -> None:
    history = validated(*(4.0 - i for i in range(number)))
    text = ending(history, config(epochs=number), DataSpec((2,)), 5.0, resumable=True)
    assert "too few validations tell whether it was still improving" in text
    assert "no longer" not in text
