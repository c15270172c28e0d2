"""Sampling at a temperature: the base is scaled, nothing else."""

from __future__ import annotations

import pytest
import torch

from marginflow import models
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardNormal, Uniform
from marginflow.distributions.temperature import at_temperature
from marginflow.transforms import Permutation


def test_the_base_is_scaled_through_all_levels() -> None:
    flow = models.maf(3, hidden=[8], blocks=2, context_features=2)
    model = Flow([Permutation(2, seed=1)], base=Marginalising(LabelMixture(flow, 2), StandardNormal(1))).eval()
    context = torch.eye(2)[[0, 1, 1]]
    torch.default_generator.manual_seed(0)
    drawn = at_temperature(model, 0.5).sample(3, context)
    torch.default_generator.manual_seed(0)
    z = 0.5 * torch.randn(3, 3)
    joint, _ = flow.transform.inverse(z, context)
    expected, _ = model.transform.inverse(joint[:, :2])
    torch.testing.assert_close(drawn, expected.detach())


def test_low_temperatures_gather_at_the_mode_and_high_ones_spread() -> None:
    torch.default_generator.manual_seed(0)
    model = models.planar(2)
    spreads = [float(at_temperature(model, t).sample(2000).std(0).mean()) for t in (0.1, 1.0, 3.0)]
    assert spreads[0] < spreads[1] < spreads[2]
    torch.default_generator.manual_seed(1)
    at_one = at_temperature(model, 1.0).sample(5)
    torch.default_generator.manual_seed(1)
    torch.testing.assert_close(at_one, model.sample(5))


def test_the_weights_are_shared_and_the_mode_kept() -> None:
    model = models.planar(2).eval()
    tempered = at_temperature(model, 0.5)
    assert not tempered.training
    assert {id(p) for p in tempered.parameters() if p.requires_grad} == {id(p) for p in model.parameters()}
    assert model.double().sample(1).dtype == at_temperature(model, 0.5).sample(1).dtype == torch.float64


def test_what_has_no_temperature_is_refused() -> None:
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be a positive number"):
            at_temperature(models.planar(2), temperature)
    with pytest.raises(ValueError, match="this model has a Uniform"):
        at_temperature(Flow([], Uniform(2)), 0.5)


def test_a_mixture_keeps_its_shares() -> None:
    model = LabelMixture(models.maf(2, hidden=[8], context_features=2), 2, [0.9, 0.1])
    x = torch.randn(5, 2)
    torch.testing.assert_close(model.with_base(lambda base: base).log_prob(x), model.log_prob(x))
    torch.testing.assert_close(at_temperature(model, 2.0).prior, model.prior)
