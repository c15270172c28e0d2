"""Weighted means: against repeated rows, many draws, and numpy; in chunks of any size."""

from __future__ import annotations

import math

import pytest
import torch

from marginflow.base.moments import Estimate
from marginflow.base.weighted_mean import WeightedMean, mean_of


def test_of_equal_weights_it_is_the_mean_and_its_error() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 3 + 100
    for weight in (1.0, 0.25):
        found = WeightedMean().add(values, torch.full((50,), weight))
        assert (found.estimate().value, found.estimate().standard_error) == pytest.approx(
            (Estimate.of(values).value, Estimate.of(values).standard_error)
        )
        assert found.effective_count == pytest.approx(50)


def test_in_chunks_it_is_what_it_is_at_once() -> None:
    generator = torch.Generator().manual_seed(1)
    values, weight = torch.randn(100, generator=generator) + 1e3, torch.rand(100, generator=generator).square()
    weight[::7] = 0
    mean = float((weight * values).sum() / weight.sum())
    n = int((weight > 0).sum())
    error = math.sqrt(n / (n - 1) * float((weight.square() * (values - mean).square()).sum())) / float(weight.sum())
    for size in (100, 7, 1):
        found = WeightedMean()
        for chunk in zip(values.split(size), weight.split(size), strict=True):
            found.add(*chunk)
        estimate = found.estimate()
        assert (estimate.value, estimate.standard_error, found.count) == pytest.approx((mean, error, n))
    assert float(mean_of(values, weight)) == pytest.approx(mean)
    assert float(mean_of(values, None)) == pytest.approx(float(values.mean()))


def test_the_error_is_how_far_means_of_other_rows_lie() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(4000, 200, generator=generator).exp()
    values = torch.randn(4000, 200, generator=generator) + 0.5 * weight.log()  # which depend on each other
    means = (weight * values).sum(1) / weight.sum(1)
    errors = [
        WeightedMean().add(*row).estimate().standard_error for row in zip(values[:200], weight[:200], strict=True)
    ]
    assert float(torch.tensor(errors).mean()) == pytest.approx(float(means.std()), rel=0.1)


def test_one_value_has_no_error() -> None:
    assert math.isnan(WeightedMean().add(torch.ones(1), torch.ones(1)).estimate().standard_error)
