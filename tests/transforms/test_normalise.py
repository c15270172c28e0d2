"""Normalisation against closed forms and torch's own batch norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from marginflow import models
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.training import TrainConfig, fit
from marginflow.transforms import (
    ActNorm,
    Augment,
    BatchNorm,
    Inverse,
    MaskedAutoregressive,
    Planar,
    Sequential,
    Standardise,
    Whiten,
)
from marginflow.transforms import calibrate as calibration
from marginflow.transforms.calibrate import calibrate


def test_training_mode_is_torchs_batch_norm_and_its_log_det() -> None:
    x = torch.randn(50, 3) * 4 + 1
    ours, torchs = BatchNorm(3).train(), torch.nn.BatchNorm1d(3, eps=BatchNorm.EPSILON).train()
    with torch.no_grad():
        ours.log_gain.normal_()
        ours.bias.normal_()
        torchs.weight.copy_(ours.log_gain.exp())
        torchs.bias.copy_(ours.bias)
    z, log_det = ours(x)
    torch.testing.assert_close(z, torchs(x))
    scale = ours.log_gain.exp() / torch.sqrt(x.var(0, correction=0) + BatchNorm.EPSILON)
    torch.testing.assert_close(log_det, scale.log().sum().expand(50))


def test_images_are_normalised_by_channel() -> None:
    x = torch.randn(10, 2, 4, 4) * 3
    z, log_det = BatchNorm(2).train()(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2))
    variance = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(log_det[0], -0.5 * 16 * torch.log(variance + BatchNorm.EPSILON).sum())


def test_evaluation_before_statistics_and_the_inverse_in_training_are_refused() -> None:
    x = torch.randn(5, 3)
    with pytest.raises(ValueError, match="no statistics of the training set yet: call calibrate"):
        BatchNorm(3).eval()(x)
    with pytest.raises(ValueError, match="no statistics"):
        Standardise(3)(x)
    with pytest.raises(ValueError, match="no inverse in training mode"):
        BatchNorm(3).train().inverse(x)
    with pytest.raises(ValueError, match="at least 2 rows"):
        BatchNorm(3).train()(x[:1])


def test_calibration_gives_each_layer_the_moments_of_what_reaches_it() -> None:
    """Layer by layer over all rows, by hand."""
    x = torch.randn(1000, 3) * torch.tensor([1.0, 5.0, 0.1]) + 7
    layers = [Standardise(3), MaskedAutoregressive(3, [16]), BatchNorm(3), Planar(3), BatchNorm(3)]
    model = Flow(layers, StandardNormal(3)).train()
    calibrate(model, x.split(300))
    assert model.training
    model.eval()
    h = x
    for layer in layers:
        if isinstance(layer, Standardise | BatchNorm):
            mean, variance = layer.statistics()
            torch.testing.assert_close(mean, h.mean(0).detach())
            torch.testing.assert_close(variance, h.var(0, correction=0).detach())
        h, _ = layer(h)


def test_statistics_do_not_depend_on_the_batches() -> None:
    x = torch.randn(997, 2)
    results = []
    for size in (10, 997):
        torch.default_generator.manual_seed(0)
        model = models.maf(2, hidden=[16], blocks=2, batch_norm=True)
        calibrate(model, x.split(size))
        results.append(model.eval().log_prob(x))
    torch.testing.assert_close(results[0], results[1])


def test_training_and_evaluation_agree_on_the_whole_training_set() -> None:
    x = torch.randn(500, 3)
    model = models.maf(3, hidden=[16], blocks=3, batch_norm=True)
    calibrate(model, [x])
    torch.testing.assert_close(model.eval().log_prob(x), model.train().log_prob(x))


def test_float64_accumulation_survives_a_large_mean(single: None) -> None:
    x = torch.randn(100_000, 1) + 1000
    model = Flow([Standardise(1)], StandardNormal(1))
    calibrate(model, x.split(1000))
    layer = model.transform[0]
    torch.testing.assert_close(layer.variance, x.double().var(0, correction=0), rtol=1e-12, atol=0)


def test_noise_is_the_same_in_every_pass_and_in_every_calibration() -> None:
    def calibrated() -> torch.Tensor:
        torch.default_generator.manual_seed(3)
        model = Marginalising(models.maf(4, hidden=[16], blocks=2, batch_norm=True), StandardNormal(2))
        before = torch.get_rng_state()
        calibrate(model, torch.linspace(-1, 1, 200).view(100, 2).split(50), seed=1)
        assert torch.equal(torch.get_rng_state(), before)
        return torch.cat([m.statistics()[1] for m in model.modules() if isinstance(m, BatchNorm)])

    assert torch.equal(calibrated(), calibrated())


class Passes:
    """How often a part is called."""

    def __init__(self, part: torch.nn.Module) -> None:
        self.number = 0
        part.register_forward_pre_hook(self.count)

    def count(self, *_: object) -> None:
        self.number += 1


def with_context() -> tuple[Any, list[Any]]:
    model = models.maf(3, hidden=[16], blocks=3, batch_norm=True, context_features=2)
    return model, [(torch.randn(20, 3), torch.randn(20, 2)) for _ in range(4)]


def with_noise_before() -> tuple[Any, list[Any]]:
    model = Marginalising(models.maf(5, hidden=[16], blocks=3, batch_norm=True), StandardNormal(2))
    return model, [torch.randn(20, 3) for _ in range(4)]


def with_noise_between() -> tuple[Any, list[Any]]:
    parts = [MaskedAutoregressive(3, [8]), BatchNorm(3), Augment(StandardNormal(2)), BatchNorm(5), BatchNorm(5)]
    return Flow(parts, StandardNormal(5)), [torch.randn(20, 3) for _ in range(4)]


def in_two_sequences() -> tuple[Any, list[Any]]:
    parts = [Sequential(MaskedAutoregressive(3, [8]), BatchNorm(3)), Sequential(Planar(3), BatchNorm(3))]
    return Flow(parts, StandardNormal(3)), [torch.randn(20, 3) for _ in range(4)]


@pytest.mark.parametrize(
    ("case", "passes", "passes_of_large"),
    [(with_context, 4, 12), (with_noise_before, 4, 12), (with_noise_between, 12, 12), (in_two_sequences, 8, 8)],
)
def test_batches_pass_side_by_side_where_that_is_the_same(
    case: Any, passes: int, passes_of_large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside each layer in a pass of its own, which is what too many numbers to hold take."""
    model, batches = case()
    model.train()
    first = next(module for module in model.modules() if isinstance(module, MaskedAutoregressive))
    found = []
    for held, expected in ((2**28, passes), (100, passes_of_large)):
        monkeypatch.setattr(calibration, "HELD", held)
        counted = Passes(first)
        calibrate(model, batches, seed=2)
        assert counted.number == expected
        layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
        found.append(torch.cat([torch.cat(layer.statistics()) for layer in layers]))
    assert torch.equal(*found)
    assert model.training


def test_a_context_reaches_calibration() -> None:
    model = models.maf(2, hidden=[8], blocks=1, batch_norm=True, context_features=1)
    calibrate(model, [(torch.randn(20, 2), torch.randn(20, 1))])
    assert torch.isfinite(model.eval().log_prob(torch.randn(5, 2), torch.randn(5, 1))).all()


@pytest.mark.parametrize("batches", [[], iter([torch.randn(5, 2)])])
def test_no_batches_or_a_generator_are_refused(batches: object) -> None:
    model = models.maf(2, hidden=[8], blocks=1, batch_norm=True)
    with pytest.raises(ValueError, match="batch"):
        calibrate(model, batches)


def test_a_layer_that_data_reach_backwards_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="inside Inverse"):
        calibrate(Sequential(Inverse(BatchNorm(2))), [torch.randn(5, 2)])


def test_a_constant_feature_is_only_shifted() -> None:
    """Also where its mean is rounded, as that of 0.1 over batches is."""
    layer, x = Standardise(2), torch.full((1000, 2), 0.1)
    x[:, 1] = torch.tensor([1.0, 3.0]).repeat(500)
    calibrate(layer, x.split(37))
    z, log_det = layer(torch.tensor([[0.1, 3.0]]))
    torch.testing.assert_close(z, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(log_det, torch.zeros(1))


def test_statistics_are_loaded_and_removed_with_the_state() -> None:
    model = BatchNorm(2)
    model.set_statistics(torch.ones(2), torch.full((2,), 4.0))
    other = BatchNorm(2).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(torch.ones(1, 2))[0], torch.zeros(1, 2))
    for wider in (BatchNorm(3), Standardise(3)):
        with pytest.raises(RuntimeError, match="size mismatch"):
            wider.load_state_dict(model.state_dict(), strict=False)
    with pytest.raises(ValueError, match="must have shape"):
        BatchNorm(3).set_statistics(torch.ones(1), torch.ones(1))
    other.load_state_dict(BatchNorm(2).state_dict())
    with pytest.raises(ValueError, match="no statistics"):
        other.statistics()


def test_statistics_follow_the_model_in_precision() -> None:
    layer = Standardise(2).float()
    layer.set_statistics(torch.ones(2), torch.ones(2))
    assert layer(torch.ones(3, 2, dtype=torch.float32))[0].dtype == torch.float32
    double = Standardise(2)
    double.load_state_dict(layer.state_dict())
    assert double(torch.ones(3, 2))[0].dtype == torch.float64


def test_statistics_that_are_not_finite_are_refused() -> None:
    x = torch.randn(10, 2)
    x[3, 1] = torch.nan
    for batches in ([x], [x, torch.randn(10, 2)]):
        with pytest.raises(ValueError, match=r"what reaches Standardise\(2\) is not finite"):
            calibrate(Standardise(2), batches)
    with pytest.raises(ValueError, match="must be finite"):
        Standardise(2).set_statistics(torch.tensor([0.0, torch.nan]), torch.ones(2))


def test_in_a_training_the_model_is_blamed_where_rows_that_were_finite_are_not_any_more() -> None:
    class Explodes(Planar):
        """Finite on the batches of a training, not on all of its rows in evaluation."""

        def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
            z, log_det = super().forward(x, context)
            return (z if self.training else z * torch.inf), log_det

    model = Flow([Explodes(2), BatchNorm(2)], StandardNormal(2))
    with pytest.raises(FloatingPointError, match=r"the input of a batch norm became nan in epoch 1 at step 1 of 1"):
        fit(model, torch.randn(120, 2), TrainConfig(epochs=1))


@pytest.mark.parametrize("layer", [ActNorm, Whiten])
def test_files_that_call_a_layer_started_say_that_it_is_initialised(layer: type[ActNorm] | type[Whiten]) -> None:
    trained, other = layer(3), layer(3)
    calibrate(Flow([trained], StandardNormal(3)), [torch.randn(50, 3)])
    state = trained.state_dict()
    state["started"] = state.pop("initialised")
    other.load_state_dict(state)
    assert bool(other.initialised)
    x = torch.randn(4, 3)
    torch.testing.assert_close(other(x), trained(x))


@pytest.mark.parametrize("kind", [Standardise, BatchNorm, ActNorm, Whiten])
def test_statistics_may_be_lists_and_are_no_negative_variances(kind: type[Any]) -> None:
    variances = [[4, 0], [0, 1]] if kind is Whiten else [4, 1]
    layers = [kind(2).eval(), kind(2).eval()]
    layers[0].set_statistics([3, 0], variances)
    layers[1].set_statistics(torch.tensor([3.0, 0.0]), torch.tensor(variances, dtype=torch.get_default_dtype()))
    x = torch.tensor([[5.0, 1.0], [1.0, -1.0]])
    torch.testing.assert_close(layers[0](x)[0], layers[1](x)[0], rtol=0, atol=0)
    torch.testing.assert_close(layers[0](x)[0], torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), rtol=0, atol=1e-4)
    for mean, variance, message in (
        ([0, 0], [[-1, 0], [0, 1]] if kind is Whiten else [1, -1], "a variance must not be negative; got"),
        (None, variances, "mean must be real numbers; got NoneType"),
        ([0, 0], [1.0], "must have shapes"),
    ):
        with pytest.raises(ValueError, match=message):
            kind(2).set_statistics(mean, variance)
