"""Training: the loop against steps by hand, what it keeps, what it refuses."""

from __future__ import annotations

import copy
import json
import math
import signal
from pathlib import Path

import pytest
import torch
from helpers import Recorder, config, moons
from pydantic import ValidationError

from marginflow import data, models
from marginflow.base.distribution import Distribution
from marginflow.data import DataSet, Split
from marginflow.data.loader import Loader
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.training import EpochRecord, fit
from marginflow.transforms import BatchNorm, Dequantise, Flatten, Logit, Planar, Standardise


@pytest.mark.parametrize(("clip_value", "clip_norm"), [(None, None), (0.01, None), (None, 0.1)])
def test_the_loop_takes_the_steps_of_bare_pytorch(clip_value: float | None, clip_norm: float | None) -> None:
    torch.default_generator.manual_seed(7)
    model, by_hand = models.planar(2), models.planar(2)
    by_hand.load_state_dict(model.state_dict())
    rows = moons()
    recorder = Recorder()
    fit(
        model,
        rows,
        config(epochs=1, clip_value=clip_value, clip_norm=clip_norm, weight_decay=1e-3, seed=3),
        observers=[recorder],
    )

    optimiser = torch.optim.Adam(by_hand.parameters(), 5e-4, weight_decay=1e-3)
    losses = []
    for batch in Loader(rows.train, 50, seed=3).epoch(1):
        loss = -by_hand.log_prob(batch.x).mean()
        loss.backward()
        if clip_value:
            torch.nn.utils.clip_grad_value_(by_hand.parameters(), clip_value)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(by_hand.parameters(), clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert recorder.losses == pytest.approx(losses, rel=1e-10)
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert recorder.records[0].train_nll == pytest.approx(sum(losses) / len(losses))


def test_the_weights_best_on_validation_are_kept_in_model_and_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    torch.default_generator.manual_seed(0)
    model, rows = models.planar(2), moons()
    best: dict[str, torch.Tensor] = {}

    class KeepBest(Recorder):
        def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
            if record.best:
                best.update({key: value.clone() for key, value in model.state_dict().items()})

    history = fit(model, rows, config(epochs=6, lr=0.5), tmp_path, observers=[KeepBest()])
    losses = [record.validation_nll for record in history]
    assert min(x for x in losses if x is not None) < (losses[-1] or 0), (
        "the last epoch is the best: a test that cannot fail"
    )
    expected = -model.log_prob(rows.validation.x).mean().item()
    assert expected == pytest.approx(min(x for x in losses if x is not None))
    for state in (model.state_dict(), load_file(tmp_path / "model.safetensors")):
        assert state.keys() == best.keys()
        assert all(torch.equal(state[key], best[key]) for key in best)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["validation_nll"] for line in lines] == losses
    assert not model.training


def test_the_test_split_is_never_looked_at() -> None:
    rows = moons()
    poisoned = DataSet("poisoned", rows.train, rows.validation, Split(torch.full((5, 2), 1e30)))
    results = []
    for each in (rows, poisoned):
        torch.default_generator.manual_seed(0)
        results.append([r.validation_nll for r in fit(models.planar(2), each, config())])
    assert results[0] == results[1]


def test_same_seed_same_result_and_the_callers_randomness_is_left_alone() -> None:
    def run(seed: int) -> list[float | None]:
        torch.default_generator.manual_seed(0)
        model = Marginalising(models.planar(3), StandardNormal(1))
        before = torch.get_rng_state()
        history = fit(model, moons(), config(seed=seed))
        assert torch.equal(before, torch.get_rng_state())
        return [record.validation_nll for record in history]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_validation_comes_as_often_as_asked_and_after_the_last_epoch() -> None:
    history = fit(models.planar(2), moons(), config(epochs=5, validate_every=2))
    assert [record.validation_nll is not None for record in history] == [False, True, False, True, True]


def test_pixels_with_batch_norm_and_standardise_end_to_end(single: None) -> None:
    digits = data.load("digits")
    transforms = [Dequantise(17), Logit(0.05), Flatten((1, 8, 8)), Standardise(64)]
    density = Marginalising(models.maf(72, hidden=[64], blocks=2, batch_norm=True), StandardNormal(8))
    model = Flow(transforms, base=density)
    history = fit(model, digits, config(epochs=3, lr=1e-3, seed=5))
    torch.default_generator.manual_seed(
        5
    )  # validation is in evaluation mode, under the statistics of the whole training set
    in_evaluation_mode = -model.eval().log_prob(digits.validation.x).double().mean().item()
    assert history[-1].validation_nll == pytest.approx(in_evaluation_mode, rel=1e-6)
    assert (history[-1].validation_nll or 0) < (history[0].validation_nll or 0)
    assert all(layer.mean is not None for layer in model.modules() if isinstance(layer, BatchNorm | Standardise))
    drawn = model.sample(4)
    assert drawn.shape == (4, 1, 8, 8)
    assert drawn.dtype == torch.uint8


def test_labels_are_used_as_context(single: None) -> None:
    digits = data.load("digits", labels=True)
    model = Flow(
        [Dequantise(17), Logit(0.05), Flatten((1, 8, 8))], models.maf(64, hidden=[32], blocks=1, context_features=10)
    )
    fit(model, digits, config())
    x, context, _ = digits.test
    assert context is not None
    assert torch.isfinite(model.log_prob(x, context)).all()
    assert model.sample(10, context[:10]).shape == (10, 1, 8, 8)


def test_plain_rows_are_split_for_validation() -> None:
    history = fit(models.planar(2), torch.randn(300, 2), config())
    assert history[-1].validation_nll is not None


class Fragile(Distribution):
    """A normal with one parameter that breaks from a given call in training on."""

    def __init__(self, breaks_at: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.breaks_at, self.calls = breaks_at, 0

    def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        self.calls += self.training
        broken = float("nan") if self.training and self.calls >= self.breaks_at else 1.0
        return -0.5 * (x * self.scale).square().sum(1) * broken

    def _sample(self, num_samples: int, context: torch.Tensor | None) -> torch.Tensor:
        raise NotImplementedError


def test_a_loss_that_becomes_nan_stops_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = Fragile(breaks_at=24)
    with pytest.raises(FloatingPointError, match=r"nan in epoch 3 at step 4 of 10: the weights of epoch 2 .* kept in"):
        fit(model, moons(), config(epochs=5), tmp_path)
    assert torch.isfinite(model.scale)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["scale"], model.scale.detach())
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_nan_in_the_first_epoch_says_that_nothing_is_kept() -> None:
    with pytest.raises(FloatingPointError, match="epoch 1 at step 1 of 10: no epoch was validated"):
        fit(Fragile(breaks_at=1), moons(), config())


def test_a_model_whose_validation_is_nan_is_not_called_best(tmp_path: Path) -> None:
    class BlindlyNan(Fragile):
        def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            return super()._log_prob(x, context) * (1.0 if self.training else float("nan"))

    with pytest.raises(FloatingPointError, match="validation"):
        fit(BlindlyNan(breaks_at=1000), moons(), config(), tmp_path)


@pytest.mark.parametrize(
    ("build", "rows", "options", "message"),
    [
        (lambda: models.planar(3), torch.randn(100, 2), {}, r"must have shape \(N, 3\).*got \(100, 2\)"),
        (lambda: models.planar(2), torch.randn(40, 2), {}, "batch_size 50 is larger than the training set of 36 rows"),
        (lambda: models.planar(2), torch.full((100, 2), float("nan")), {}, "nan in row 0, column 0"),
        (lambda: models.planar(2), torch.randn(0, 2), {}, "at least 2 rows"),
        (lambda: models.planar(2), torch.randn(1, 2), {}, "at least 2 rows"),
        (
            lambda: models.maf(2, context_features=1),
            torch.randn(100, 2),
            {},
            r"takes a context of 1 features, \(100, 1\) or \(1,\); got none",
        ),
    ],
)
def test_bad_input_is_refused(build: object, rows: torch.Tensor, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(build(), rows, config(**options))


def test_a_context_that_does_not_match_its_rows_is_refused() -> None:
    good = Split(torch.randn(100, 2), torch.randn(100, 3))
    for context, message in (
        (torch.randn(99, 3), "a row for each row"),
        (torch.full((100, 3), float("nan")), "context: nan"),
    ):
        with pytest.raises(ValueError, match=message):
            DataSet("with context", Split(good.x, context), good, good)


def test_gradients_that_are_not_finite_end_as_a_loss_does() -> None:
    class Steep(Fragile):
        def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            return (
                super()._log_prob(x, context) - (self.scale - self.scale.detach()).abs().sqrt()
            )  # the gradient is not a number

    with pytest.raises(FloatingPointError, match="loss became nan"):
        fit(Steep(breaks_at=1000), moons(), config(clip_norm=1.0))


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameters to train"):
        fit(StandardNormal(2), moons(), config())
    with pytest.raises(ValueError, match="at least 2 for a model with BatchNorm"):
        fit(models.maf(2, batch_norm=True), moons(), config(batch_size=1))


def test_a_layer_used_twice_is_saved(tmp_path: Path) -> None:
    shared = Planar(2)
    fit(Flow([shared, shared], StandardNormal(2)), moons(), config(), tmp_path)
    assert (tmp_path / "model.safetensors").exists()


def test_a_context_that_nothing_uses_is_refused() -> None:
    part = Split(torch.randn(100, 2), torch.randn(100, 3))
    with pytest.raises(ValueError, match=r"nothing in this model uses a context; got one of shape \(100, 3\)"):
        fit(models.planar(2), DataSet("with context", part, part, part), config())


@pytest.mark.parametrize("options", [{"epochs": 0}, {"lr": 0}, {"batch_size": 0}, {"clip_norm": -1}, {"speed": 1}])
def test_impossible_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(**options)


def test_arrays_train_as_tensors_do() -> None:
    rows = torch.randn(300, 2)
    results = []
    for each in (rows, rows.numpy(), rows.float().numpy().astype("float64")):
        torch.default_generator.manual_seed(0)
        results.append(fit(models.planar(2), each, config())[-1].validation_nll)
    assert results[0] == results[1] == pytest.approx(results[2], rel=1e-5)
    fit(models.planar(2).float(), rows.numpy(), config())
    fit(Flow([Standardise(2)], base=models.planar(2)), (rows * 100).long().numpy(), config())


def test_a_directory_with_a_training_in_it_is_left_alone(tmp_path: Path) -> None:
    fit(models.planar(2), moons(), config(), tmp_path / "new" / "run")
    before = (tmp_path / "new" / "run" / "metrics.jsonl").read_text()
    with pytest.raises(FileExistsError, match="holds a training already"):
        fit(models.planar(2), moons(), config(), tmp_path / "new" / "run")
    assert (tmp_path / "new" / "run" / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_another_optimiser_takes_the_steps_at_its_own_rates(kind: type, tmp_path: Path) -> None:
    """Two groups with rates of their own, under the schedule, against the same by hand; and it resumes."""
    torch.default_generator.manual_seed(7)
    model, by_hand = models.maf(2, hidden=[8], blocks=2), models.maf(2, hidden=[8], blocks=2)
    by_hand.load_state_dict(model.state_dict())
    resumed = copy.deepcopy(model)
    rows, settings = moons(), config(schedule="cosine", warmup_steps=3, seed=3)

    def built(flow: Flow) -> torch.optim.Optimizer:
        first, *rest = flow.transform
        others = [parameter for part in rest for parameter in part.parameters()]
        return kind([{"params": first.parameters(), "lr": 1e-2}, {"params": others}], lr=1e-3, weight_decay=1e-2)

    fit(model, rows, settings, optimiser=built(model))
    optimiser, loader, best = built(by_hand), Loader(rows.train, 50, seed=3), (math.inf, None)
    for epoch in (1, 2):
        for step, batch in enumerate(loader.epoch(epoch), (epoch - 1) * 10):
            factor = (step + 1) / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 17))
            for group, lr in zip(optimiser.param_groups, (1e-2, 1e-3), strict=True):
                group["lr"] = lr * factor
            optimiser.zero_grad()
            (-by_hand.log_prob(batch.x).mean()).backward()
            optimiser.step()
        nll = -by_hand.log_prob(rows.validation.x[:]).mean().item()
        best = min(best, (nll, copy.deepcopy(by_hand.state_dict())), key=lambda each: each[0])
    assert best[1] is not None
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, best[1][name])

    class Stop:
        def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
            if (epoch, step) == (2, 4):
                signal.raise_signal(signal.SIGINT)

        def on_epoch(self, record: object, model: object) -> None:
            """Nothing."""

    with pytest.raises(KeyboardInterrupt):
        fit(parts := copy.deepcopy(resumed), rows, settings, tmp_path, optimiser=built(parts), observers=[Stop()])
    fit(resumed, rows, settings, tmp_path, optimiser=built(resumed), resume=True)
    for name, weight in resumed.state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=0, atol=0)


def test_optimisers_that_cannot_step_here_are_refused() -> None:
    model = models.planar(2)
    with pytest.raises(ValueError, match=r"2 of the parameters of this Adam are not the model's: build it from model"):
        fit(model, moons(), config(), optimiser=torch.optim.Adam(torch.nn.Linear(2, 2).parameters()))
    with pytest.raises(ValueError, match="LBFGS evaluates the loss several times a step"):
        fit(model, moons(), config(), optimiser=torch.optim.LBFGS(model.parameters()))
    for wrong in ("Adam", torch.optim.Adam):
        with pytest.raises(ValueError, match=r"optimiser must be one of torch's, as torch\.optim\.AdamW"):
            fit(model, moons(), config(), optimiser=wrong)


def test_an_optimiser_keeps_its_rates_and_another_kind_is_not_resumed(tmp_path: Path) -> None:
    model = models.planar(2)
    optimiser = torch.optim.Adam(model.parameters(), lr=torch.tensor(1e-2))
    history = fit(model, moons(), config(schedule="cosine"), tmp_path, optimiser=optimiser)
    assert history[-1].lr == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * 19 / 20)))
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-2)  # for whoever continues with it
    with pytest.raises(ValueError, match=r"does not belong to this model and configuration \(its optimiser is Adam\)"):
        fit(model, moons(), config(epochs=3), tmp_path, resume=True, optimiser=torch.optim.SGD(model.parameters(), 0.1))


def test_a_training_that_is_refused_leaves_what_the_model_knows() -> None:
    model = models.planar(2)
    fit(model, moons(), config())
    spec = model.spec
    assert spec == moons().spec
    with pytest.raises(ValueError, match="tensorboard = true needs a run_dir"):
        fit(model, torch.randn(200, 2), config(tensorboard=True))
    assert model.spec is spec


def test_progress_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    fit(models.planar(2), moons(), config())
    assert capsys.readouterr().out == ""
    fit(models.planar(2), moons(), config(), progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == ["epoch 1/2", "epoch 2/2"]
    assert lines[-1].startswith("ended after all 2 epochs; best at epoch 2")


def test_where_and_how_to_train_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    x, config = torch.randn(40, 2), {"epochs": 1, "batch_size": 10}
    for options, message in (
        ({"progress": "yes"}, "progress must be True, False or a TrainingProgress; got 'yes'"),
        ({"progress": 1}, "progress must be True, False or a TrainingProgress; got 1"),
        ({"resume": "no"}, "resume must be True or False; got 'no'"),
        ({"resume": 1, "run_dir": tmp_path / "run"}, "resume must be True or False; got 1"),
        ({"run_dir": ""}, "run_dir must be a path; got ''"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(models.planar(2), x, config, **options)
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(NotADirectoryError, match="cannot be made, as there is a file: give another directory"):
            fit(models.planar(2), x, config, place)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    fit(models.planar(2), x, config, tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"resume it by resume=True, or give another directory"):
        fit(models.planar(2), x, config, tmp_path / "run")
    fit(models.planar(2), x, config, tmp_path / "run", resume=True)


def test_a_run_directory_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fit(models.planar(2), torch.randn(40, 2), {"epochs": 1, "batch_size": 10}, "~/run")
    assert (tmp_path / "run" / "model.safetensors").is_file()
