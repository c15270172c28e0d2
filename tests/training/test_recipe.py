"""Schedule, moving average, early stopping, importance-weighted objective: each against its definition by hand."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from helpers import config, moons
from torch import Tensor

from marginflow import data, models
from marginflow.base.distribution import Distribution
from marginflow.data.loader import Loader
from marginflow.distributions import DiagonalNormal, Flow, Marginalising, StandardNormal, log_likelihood
from marginflow.training import EpochRecord, TensorBoard, fit
from marginflow.training.ema import Average
from marginflow.training.objective import Objective
from marginflow.training.optimiser import learning_rate
from marginflow.transforms import Dequantise, Flatten, Logit, Planar


class Watch:
    """Keeps the weights after every step."""

    def __init__(self, model: Distribution) -> None:
        self.model = model
        self.weights: list[list[Tensor]] = []
        self.records: list[EpochRecord] = []
        self.validated: list[Distribution] = []

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        self.weights.append([p.detach().clone() for p in self.model.parameters()])

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        self.records.append(record)
        self.validated.append(copy.deepcopy(model))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2.0] * 6),
        ({"warmup_steps": 4}, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]),
        ({"schedule": "cosine"}, [2.0, 1.8660254, 1.5, 1.0, 0.5, 0.1339746]),
        ({"schedule": "cosine", "warmup_steps": 2}, [1.0, 2.0, 2.0, 1.7071068, 1.0, 0.2928932]),
        ({"schedule": "cosine", "warmup_steps": 10}, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]),
    ],
)
def test_learning_rates_by_hand(options: dict[str, object], expected: list[float]) -> None:
    settings = config(lr=2.0, **options)
    assert [learning_rate(settings, step, 6) for step in range(6)] == pytest.approx(expected)


def test_the_schedule_is_torchs_and_reaches_the_optimiser() -> None:
    """Steps under cosine annealing with warm-up, against torch's own schedulers and Adam."""
    torch.default_generator.manual_seed(7)
    model, by_hand = models.planar(2), models.planar(2)
    by_hand.load_state_dict(model.state_dict())
    rows = moons(300)
    history = fit(model, rows, config(schedule="cosine", warmup_steps=4, lr=1e-2, seed=3))

    optimiser = torch.optim.Adam(by_hand.parameters(), 1e-2)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 4))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=8)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [warmup, cosine], milestones=[4])
    rates, best = [], (math.inf, None)
    for epoch in (1, 2):
        for batch in Loader(rows.train, 50, seed=3).epoch(epoch):
            optimiser.zero_grad()
            (-by_hand.log_prob(batch.x).mean()).backward()
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        nll = -by_hand.log_prob(rows.validation.x[:]).mean().item()
        if nll < best[0]:
            best = nll, copy.deepcopy(by_hand.state_dict())
    assert [record.lr for record in history] == pytest.approx([rates[5], rates[11]])
    assert best[1] is not None
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, best[1][name])


def test_the_average_follows_its_formula() -> None:
    model = models.planar(2, blocks=1)
    average = Average(model, 0.5)
    expected = [p.detach().clone() for p in model.parameters()]
    for t in range(1, 20):
        with torch.no_grad():
            for p in model.parameters():
                p.normal_()
        average.update()
        d = min(0.5, (1 + t) / (10 + t))
        expected = [d * a + (1 - d) * p.detach() for a, p in zip(expected, model.parameters(), strict=True)]
    for ours, theirs in zip(average.model.parameters(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not ours.requires_grad


def test_the_average_is_what_is_validated_kept_and_returned(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    torch.default_generator.manual_seed(0)
    model, rows = models.planar(2), moons()
    start = [p.detach().clone() for p in model.parameters()]
    watch = Watch(model)
    history = fit(model, rows, config(epochs=3, lr=1e-2, ema=0.9), tmp_path, observers=[watch])
    average = start
    for t, weights in enumerate(watch.weights, 1):
        d = min(0.9, (1 + t) / (10 + t))
        average = [d * a + (1 - d) * w for a, w in zip(average, weights, strict=True)]
        if t % 10 == 0:
            validated = watch.validated[t // 10 - 1]
            for ours, theirs in zip(validated.parameters(), average, strict=True):
                torch.testing.assert_close(ours, theirs)
            nll = -validated.log_prob(rows.validation.x[:]).mean().item()
            assert history[t // 10 - 1].validation_nll == pytest.approx(nll)
    assert history[-1].best, "the last epoch must be the best for what follows"
    for ours, theirs in zip(model.parameters(), average, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.requires_grad
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())


def test_an_average_of_a_model_with_batch_norm_has_statistics_of_its_own(single: None) -> None:
    model = models.maf(2, hidden=[8], blocks=2, batch_norm=True)
    watch = Watch(model)
    fit(model, moons(), config(epochs=2, lr=1e-2, ema=0.9), observers=[watch])
    x = moons().train.x[:]
    validated = watch.validated[-1]
    first, norm = (validated.transform[i] for i in (0, 1))
    z, _ = first(x.to(torch.float32))
    torch.testing.assert_close(norm.mean, z.mean(0).detach(), rtol=1e-4, atol=1e-4)


def test_patience_stops_so_many_epochs_after_the_best() -> None:
    torch.default_generator.manual_seed(0)
    model = models.planar(2)
    history = fit(model, moons(), config(epochs=100, lr=0.5, patience=3))
    losses = [record.validation_nll or math.inf for record in history]
    best = 1 + losses.index(min(losses))
    assert len(history) == best + 3 < 100
    assert all(min(losses[:e]) < losses[e] for e in range(best, best + 3))
    running_best = [1 + losses[:e].index(min(losses[:e])) for e in range(1, len(losses))]
    assert all(e - b < 3 for e, b in enumerate(running_best, 1)), "it would have stopped before"


def test_patience_counts_epochs_between_rare_validations() -> None:
    torch.default_generator.manual_seed(0)
    for patience, every, after in ((5, 4, 8), (2, 4, 4), (4, 4, 4)):
        history = fit(models.planar(2), moons(), config(epochs=60, lr=0.5, patience=patience, validate_every=every))
        best = max(record.epoch for record in history if record.best)
        assert len(history) == best + after < 60
        assert history[-1].validation_nll is not None


def test_the_importance_weighted_objective_by_hand() -> None:
    """log 1/K sum w_k with the very draws of noise, and its gradient."""
    torch.default_generator.manual_seed(0)
    model = Marginalising(models.planar(3), StandardNormal(1))
    x = torch.randn(7, 2)
    torch.default_generator.manual_seed(5)
    ours = Objective(model, 4)(x)
    torch.default_generator.manual_seed(5)
    eps = torch.randn(4 * 7, 1)
    log_w = model.log_joint(x.repeat(4, 1), eps) - StandardNormal(1).log_prob(eps)
    w = log_w.view(4, 7).exp()
    torch.testing.assert_close(ours, w.mean(0).log())
    mine = torch.autograd.grad(ours.sum(), list(model.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(w.mean(0).log().sum(), list(model.parameters()))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
    torch.default_generator.manual_seed(5)
    torch.testing.assert_close(ours.detach().double(), log_likelihood(model, x, num_samples=4).log_prob)


def test_the_importance_weighted_bound_is_tighter_and_is_what_training_reports() -> None:
    """A density whose marginal is known: p(x, eps) = N(x; 0, 1) N(eps; x, 1) has p(x) = N(x; 0, 1)."""

    joint = DiagonalNormal(1, torch.nn.Linear(1, 2), 1)

    class Joint(Distribution):
        def __init__(self) -> None:
            super().__init__()
            self.given = joint

        @property
        def event_shape(self) -> torch.Size:
            return torch.Size([2])

        def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
            return StandardNormal(1).log_prob(x[:, :1]) + self.given.log_prob(x[:, 1:], x[:, :1])

        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            raise NotImplementedError

    with torch.no_grad():
        joint.conditioner.weight.copy_(torch.tensor([[1.0], [0.0]]))
        joint.conditioner.bias.zero_()
    model = Marginalising(Joint(), StandardNormal(1))
    x = torch.randn(4000, 1)
    exact = float(StandardNormal(1).log_prob(x).mean())
    torch.default_generator.manual_seed(0)
    bounds = [float(Objective(model, k)(x).mean().detach()) for k in (1, 10, 500)]
    assert bounds[0] == pytest.approx(exact - 0.5, abs=0.05)  # KL(N(0, 1) || N(x, 1)) = x^2 / 2
    assert bounds[0] < bounds[1] < bounds[2] == pytest.approx(exact, abs=0.02)
    history = fit(model, x, config(epochs=1, lr=1e-9, num_samples=500, batch_size=100))
    assert history[0].train_nll == pytest.approx(-exact, abs=0.05)
    assert history[0].validation_nll == pytest.approx(-float(StandardNormal(1).log_prob(x).mean()), abs=0.1)


def test_the_preprocessing_draws_its_noise_once_for_all_draws() -> None:
    digits = data.load("digits").train.x[:5]
    density = Marginalising(models.planar(65, blocks=1), StandardNormal(1))
    model = Flow([Dequantise(17), Logit(0.05), Flatten((1, 8, 8))], base=density)
    torch.default_generator.manual_seed(1)
    ours = Objective(model, 3)(digits)
    torch.default_generator.manual_seed(1)
    rows, log_det = model.transform(digits)
    expected = density.log_prob(rows.repeat(3, 1)).view(3, 5).logsumexp(0) - math.log(3) + log_det
    torch.testing.assert_close(ours, expected)


def test_draws_are_refused_where_they_are_of_no_use() -> None:
    with pytest.raises(ValueError, match="num_samples = 5 draws of noise are of no use"):
        fit(models.planar(2), moons(), config(num_samples=5))
    model = Flow([Dequantise(17), Logit(0.05), Flatten((1, 8, 8))], base=models.planar(64))
    with pytest.raises(ValueError, match="of no use"):
        fit(model, data.load("digits"), config(num_samples=5))


def test_validation_has_a_seed_of_its_own() -> None:
    def losses(**seeds: int) -> tuple[float, float | None]:
        torch.default_generator.manual_seed(0)
        model = Marginalising(models.planar(3, blocks=1), StandardNormal(1))
        record = fit(model, moons(), config(epochs=1, lr=1e-12, **seeds))[0]
        return record.train_nll, record.validation_nll

    first, second, third = losses(seed=1, validation_seed=7), losses(seed=2, validation_seed=7), losses(seed=1)
    assert first[1] == pytest.approx(second[1], rel=1e-9)
    assert first[0] == third[0] != second[0]
    assert abs((first[1] or 0) - (third[1] or 0)) > 1e-6
    assert losses(seed=1)[1] == losses(seed=1, validation_seed=1)[1]


def test_deterministic_holds_inside_and_ends_outside() -> None:
    seen: list[bool] = []

    class Look(Watch):
        def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    for on in (True, False):
        model = models.maf(2, hidden=[16], blocks=2)
        fit(model, moons(100), config(epochs=1, deterministic=on), observers=[Look(model)])
    assert seen == [True, True, False, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_tensorboard_events_hold_what_the_history_does(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = fit(models.planar(2), moons(), config(epochs=3, tensorboard=True, schedule="cosine"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for tag, values in (
        ("nll/train", [record.train_nll for record in history]),
        ("nll/validation", [record.validation_nll for record in history]),
        ("lr", [record.lr for record in history]),
    ):
        found = events.Scalars(tag)
        assert [each.step for each in found] == [1, 2, 3]
        assert [each.value for each in found] == pytest.approx(values, rel=1e-5)
    with pytest.raises(ValueError, match="tensorboard = true needs a run_dir"):
        fit(models.planar(2), moons(), config(tensorboard=True))
    assert TensorBoard.__doc__


def test_a_shared_layer_is_averaged_once() -> None:
    shared = Planar(2)
    model = Flow([shared, shared], StandardNormal(2))
    average = Average(model, 0.9)
    assert average.model.transform[0] is average.model.transform[1]
