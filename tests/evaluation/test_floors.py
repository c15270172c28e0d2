"""Floors of a density: known densities beside independent columns and a mixture of 6, on the same measure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from marginflow.data import Column, DataSet, Schema, Split
from marginflow.data.tables.statistics import fitted
from marginflow.distributions import Flow, StandardNormal, Uniform
from marginflow.distributions.product_mixture import ProductMixture
from marginflow.evaluation.floors import standing
from marginflow.transforms import Whiten

ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # of N(0, 1)


def data_of(x: torch.Tensor, **options: object) -> DataSet:
    third = len(x) // 3
    parts = (Split(x[:third]), Split(x[third : 2 * third]), Split(x[2 * third :]))
    return DataSet("rows", *parts, **options)  # pyright: ignore[reportArgumentType]


def normal(num_rows: int, seed: int = 0, features: int = 3) -> torch.Tensor:
    return torch.randn(num_rows, features, generator=torch.Generator().manual_seed(seed))


def test_independent_normal_columns_are_a_floor_that_their_own_density_does_not_beat() -> None:
    found = standing(StandardNormal(3), data_of(normal(9000)))
    assert found.num_rows == 3000
    assert found.log_prob.value == pytest.approx(-3 * ENTROPY, abs=4 * found.log_prob.standard_error)
    alone = found.floors[0]
    assert alone.name == "independent columns"
    assert abs(alone.ahead.value) < 0.05  # logistic columns for normal ones
    assert alone.log_prob.value == pytest.approx(found.log_prob.value - alone.ahead.value)


def test_a_density_is_ahead_of_independent_columns_by_what_columns_tell_of_each_other() -> None:
    """Mutual information of two normal columns of correlation r: -log(1 - r^2) / 2; the difference is paired."""
    correlation = 0.95
    z = normal(12_000, features=2)
    x = torch.stack([z[:, 0], correlation * z[:, 0] + math.sqrt(1 - correlation**2) * z[:, 1]], 1)
    whiten = Whiten(2)
    whiten.set_statistics(torch.zeros(2), torch.tensor([[1.0, correlation], [correlation, 1.0]]))
    found = standing(Flow([whiten], StandardNormal(2)), data_of(x))
    alone, mixture = found.floors
    information = -0.5 * math.log(1 - correlation**2)
    assert found.log_prob.value == pytest.approx(-2 * ENTROPY + information, abs=4 * found.log_prob.standard_error)
    assert alone.ahead.value == pytest.approx(information, abs=4 * alone.ahead.standard_error + 0.03)
    assert alone.is_beaten
    assert mixture.log_prob.value > alone.log_prob.value + 0.3
    assert mixture.ahead.standard_error < mixture.log_prob.standard_error


def test_a_bad_density_is_behind_and_units_are_those_of_the_file() -> None:
    found = standing(StandardNormal(2), data_of(1000 * normal(3000, features=2)))
    for floor in found.floors:
        assert floor.log_prob.value == pytest.approx(-2 * ENTROPY - 2 * math.log(1000), abs=0.15)
        assert not floor.is_beaten


def test_levels_have_probabilities_whose_mean_is_the_entropy() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.choice(3, size=(12_000, 2), p=shares).astype(float))
    columns = (Column(name, "category", levels=("r", "s", "t")) for name in ("a", "b"))
    schema = fitted(Schema(tuple(columns)), x[:4000])
    found = standing(Flow([], base=ProductMixture(schema, 1)), data_of(x, schema=schema))
    entropy = -2 * float(shares @ np.log(shares))
    assert found.floors[0].log_prob.value == pytest.approx(-entropy, abs=4 * found.log_prob.standard_error)
    assert found.floors[0].ahead.value == pytest.approx(0, abs=1e-3)  # of independent columns itself
    assert not found.floors[0].is_beaten


def test_weights_count_rows_as_often_as_copies_of_them() -> None:
    x = normal(600, features=2)
    times = torch.arange(200) % 3 + 1
    train, validation, test = (x[:200], x[200:400], x[400:])
    weighted = DataSet("w", Split(train, None, times.double()), Split(validation), Split(test, None, times.double()))
    copied = DataSet(
        "c", Split(train.repeat_interleave(times, 0)), Split(validation), Split(test.repeat_interleave(times, 0))
    )
    one, other = standing(StandardNormal(2), weighted), standing(StandardNormal(2), copied)
    assert one.num_rows == 200
    assert one.log_prob.value == pytest.approx(other.log_prob.value)
    assert one.floors[0].log_prob.value == pytest.approx(other.floors[0].log_prob.value, abs=0.02)


def test_rows_without_a_density_are_counted_and_left_out_for_all() -> None:
    x = normal(3000, features=1)
    x[-5:] = 40.0
    found = standing(Uniform(1, -10.0, 10.0), data_of(x))
    assert (found.num_rows, found.num_outside) == (995, 5)
    assert found.log_prob.value == pytest.approx(-math.log(20))
