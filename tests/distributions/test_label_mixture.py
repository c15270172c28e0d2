"""The mixture over labels against the sum written out, and its samples against their labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from marginflow import models
from marginflow.data import Split
from marginflow.distributions import DiagonalNormal, Flow, LabelMixture, Marginalising, StandardNormal, log_likelihood
from marginflow.evaluation.evaluate import evaluate, evaluate_rows
from marginflow.transforms import Standardise

MEANS = torch.tensor([[-6.0, 0.0], [0.0, 0.0], [6.0, 3.0]], dtype=torch.float64)


class _Lookup(nn.Module):
    """One-hot labels to means and log-scales of 0."""

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        return torch.cat([context @ MEANS, torch.zeros(len(context), 2)], 1)


def normals() -> LabelMixture:
    return LabelMixture(DiagonalNormal(2, _Lookup(), 3), 3)


def by_hand(x: torch.Tensor) -> torch.Tensor:
    """log of the mean over three normal densities."""
    each = [torch.exp(-0.5 * (x - mean).square().sum(1)) / (2 * math.pi) for mean in MEANS]
    return torch.log(sum(each) / 3)


def test_without_a_label_it_is_the_mean_over_all() -> None:
    x = torch.randn(20, 2) * 4
    torch.testing.assert_close(normals().log_prob(x), by_hand(x))


def test_labels_are_weighed_by_their_prior() -> None:
    model = LabelMixture(DiagonalNormal(2, _Lookup(), 3), 3, [0.7, 0.2, 0.1])
    x = torch.randn(20, 2) * 4
    each = [torch.exp(-0.5 * (x - mean).square().sum(1)) / (2 * math.pi) for mean in MEANS]
    torch.testing.assert_close(model.log_prob(x), torch.log(0.7 * each[0] + 0.2 * each[1] + 0.1 * each[2]))
    torch.default_generator.manual_seed(0)
    nearest = torch.cdist(model.sample(5000), MEANS).argmin(1)
    torch.testing.assert_close(torch.bincount(nearest, minlength=3) / 5000, model.prior, rtol=0, atol=0.03)
    for prior in ([0.5, 0.5], [0.5, 0.6, 0.1], [1.5, -0.5, 0.0]):
        with pytest.raises(ValueError, match="the prior must be 3 shares that sum to 1"):
            LabelMixture(DiagonalNormal(2, _Lookup(), 3), 3, prior)


def test_with_a_label_it_is_the_conditional_density() -> None:
    model, x = normals(), torch.randn(3, 2)
    expected = -0.5 * (x - MEANS).square().sum(1) - math.log(2 * math.pi)
    torch.testing.assert_close(model.log_prob(x, model.one_hot([0, 1, 2])), expected)


def test_samples_come_from_their_label_or_from_all_equally() -> None:
    torch.default_generator.manual_seed(0)
    model = normals()
    drawn = model.sample(500, model.one_hot([2] * 500))
    torch.testing.assert_close(drawn.mean(0), MEANS[2], rtol=0, atol=0.2)
    nearest = torch.cdist(model.sample(3000), MEANS).argmin(1)
    assert (torch.bincount(nearest, minlength=3) - 1000).abs().max() < 130
    x, log_prob = model.sample_and_log_prob(50)
    torch.testing.assert_close(log_prob, by_hand(x))


def test_labels_out_of_range_and_flows_of_another_context_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 2; got 3"):
        normals().one_hot([0, 3])
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 2; got -1"):
        normals().one_hot([-1])
    with pytest.raises(ValueError, match="one-hot labels as its context, 3 features; it takes 0"):
        LabelMixture(models.maf(2), 3)


def test_the_context_may_be_left_out_through_all_levels() -> None:
    flow = models.maf(3, hidden=[8], blocks=1, context_features=4)
    density = Marginalising(LabelMixture(flow, 4), StandardNormal(1))
    model = Flow([], base=density)
    assert model.context_optional
    assert model.context_features == 4
    assert model.density is density
    assert not flow.context_optional
    x, labels = torch.randn(6, 2), torch.eye(4)[[0, 1, 2, 3, 0, 1]]
    assert model.log_prob(x).shape == model.log_prob(x, labels).shape == (6,)
    conditional = Marginalising(LabelMixture(flow, 4), DiagonalNormal(1, nn.Linear(2 + 4, 2), 2 + 4))
    assert not conditional.context_optional


def test_the_marginal_of_a_mixture_is_estimated_without_bias() -> None:
    """p(x) = mean over labels of the integral over eps, both in closed form."""
    density = Marginalising(LabelMixture(DiagonalNormal(2, _Lookup(), 3), 3), StandardNormal(1))
    x = torch.tensor([[-5.0], [0.5], [6.0]])
    torch.default_generator.manual_seed(0)
    found = log_likelihood(density, x, num_samples=100_000)
    expected = torch.log(torch.exp(-0.5 * (x - MEANS[:, 0]).square()).mean(1) / math.sqrt(2 * math.pi))
    assert found.standard_error is not None
    assert ((found.log_prob - expected).abs() < 4 * found.standard_error + 1e-3)[:2].all()


def test_evaluation_averages_over_labels_and_tells_the_conditional_beside() -> None:
    density = LabelMixture(models.maf(2, hidden=[8], blocks=1, context_features=3), 3)
    standardise = Standardise(2)
    standardise.set_statistics(torch.zeros(2), torch.full((2,), 4.0))
    model = Flow([standardise], base=density).eval()
    x, labels = torch.randn(30, 2), torch.eye(3)[torch.arange(30) % 3]
    found = evaluate(model, (x, labels))
    rows = x / 2
    assert found.importance_weighted.value == pytest.approx(-float(density.log_prob(rows).mean().detach()))
    assert found.given_label is not None
    assert found.given_label.value == pytest.approx(-float(density.log_prob(rows, labels).mean().detach()))
    assert found.log_det.value == pytest.approx(-2 * math.log(2))
    alone = evaluate_rows(model, Split(x))
    assert alone.given_label is None
    assert -float(alone.density.log_prob.mean()) == pytest.approx(found.importance_weighted.value)
