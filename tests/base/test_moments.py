"""Means, spreads and medians of values that come some after the others."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from marginflow.base.moments import Estimate, Median, Moments


def spread(x: torch.Tensor, sizes: list[int]) -> Iterator[torch.Tensor]:
    return iter(x.split(sizes))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_do_not_depend_on_how_values_come(offset: float) -> None:
    values = torch.randn(1000) ** 3 + offset
    moments = Moments()
    for part in spread(values, [1, 300, 2, 697]):
        moments.add(part)
    found = moments.estimate(0.5)
    assert found.value == pytest.approx(float(values.mean()), rel=1e-12)
    assert found.standard_error == pytest.approx(float(values.std()) / 1000**0.5, rel=1e-8)
    assert found.draws_error == 0.5


def test_a_median_is_exact_until_values_are_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(1001)
    median = Median()
    for part in spread(values, [1, 500, 500]):
        median.add(part)
    assert median.value() == float(values.median())
    monkeypatch.setattr("marginflow.base.moments.OF_MEDIAN", 100)
    thinned = Median()
    for part in torch.arange(1001.0).split([3, 98, 40, 1, 859]):
        thinned.add(part)
    assert thinned.kept.tolist() == list(range(0, 1001, thinned.every))  # whatever the parts
    assert 50 <= len(thinned.kept) <= 100
    assert thinned.value() == pytest.approx(500, abs=thinned.every)


def test_an_estimate_of_one_row_knows_no_error() -> None:
    assert math.isnan(Estimate.of(torch.ones(1)).standard_error)
