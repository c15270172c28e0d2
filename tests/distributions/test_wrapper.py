"""A new density around another takes one class, here: checks, layer outputs, temperatures, evaluation know it by it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import marginflow as mf
from marginflow import models
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import Sites
from marginflow.base.wrapper import Wrapper
from marginflow.data import Batch, Split
from marginflow.distributions import Conditional, Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.distributions.temperature import at_temperature
from marginflow.evaluation.float32_error import disagreement
from marginflow.evaluation.layer_outputs import by_layer
from marginflow.evaluation.sample_range import origins, sample_range
from marginflow.nets import MLP
from marginflow.transforms import Standardise


class Widened(Wrapper):
    """The density of x = scale * y, where y is that of the flow."""

    def __init__(self, flow: Density, scale: float) -> None:
        super().__init__(flow)
        self.scale = scale
        self.log_volume = float(torch.tensor(scale).log()) * (self.flow.event_shape or torch.Size([1])).numel()

    @property
    def context_features(self) -> int:
        return self.flow.context_features

    @property
    def context_optional(self) -> bool:
        return self.flow.context_optional

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        return self.flow, x / self.scale, context

    def with_base(self, change: Callable[[Density], Distribution]) -> Distribution:
        return Widened(self.flow.with_base(change), self.scale)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.flow._log_prob(x / self.scale, context) - self.log_volume

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        return (yield from self.flow._noise(x / self.scale, context)) - self.log_volume

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.scale * self.flow._sample(num_samples, context)


def standardised(density: Distribution, scale: float) -> Flow:
    layer = Standardise(3)
    layer.set_statistics(torch.zeros(3), torch.full((3,), scale**2))
    return Flow([layer], density)


def wrapped_in_wrappers() -> Distribution:
    """Labels through a network, noise, and the new one between them."""
    labelled = LabelMixture(models.maf(5, hidden=[8], blocks=2, context_features=2), 2)
    return standardised(Widened(Marginalising(Widened(labelled, 1.1), StandardNormal(2)), 0.5), 1.0).eval()


def test_all_that_takes_models_apart_knows_the_new_one() -> None:
    torch.default_generator.manual_seed(0)
    model, x = wrapped_in_wrappers(), torch.randn(200, 3)
    stages = by_layer(model, x)
    assert next(iter(stages)) == "data and noise"
    assert list(stages.values())[-1].shape == (200, 5)
    findings = mf.check(model, x)
    assert findings.ok, str(findings)
    assert {findings.of(name).status for name in ("log-determinant", "triangularity", "normalisation")} == {"pass"}
    assert mf.evaluate(model, x, num_samples=5).effective_sample_size > 1
    assert sample_range(model, Batch(x)).num_samples == 500
    assert isinstance(origins(model, Batch(x)), list)
    found = disagreement(model.float(), Split(x))
    assert found is not None
    assert found.largest < 1e-3
    torch.default_generator.manual_seed(0)
    cooler = at_temperature(model, 0.1).sample(500)
    assert cooler.std() < 0.5 * model.sample(500).std()


def test_it_is_the_density_that_it_says() -> None:
    """Against the same scale as a transform in front."""
    torch.default_generator.manual_seed(0)
    flow = models.maf(3, hidden=[8], blocks=2)
    x = torch.randn(20, 3)
    torch.testing.assert_close(Widened(flow, 3.0).log_prob(x), standardised(flow, 3.0).log_prob(x))
    through = Conditional(Widened(models.maf(3, hidden=[8], context_features=4), 3.0), MLP(1, 4, [8]), 1)
    torch.testing.assert_close(next(iter(by_layer(through, x, [1.0]).values())), (x / 3).detach())
