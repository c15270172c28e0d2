"""Identical rows: copies are told from chance, on tables of which that is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginflow.data.tables.duplicates import duplicates

RNG = np.random.default_rng


def by_chance(name: str, seed: int = 0) -> np.ndarray:
    """Tables of independent rows, in which some are identical."""
    rng = RNG(seed)
    latent = rng.normal(size=(5000, 2))
    match name:
        case "three levels":
            return rng.integers(3, size=(200, 3)).astype(float)
        case "skewed levels":
            return rng.choice(4, p=[0.7, 0.2, 0.07, 0.03], size=(3000, 6)).astype(float)
        case "levels with a copy":
            x = rng.integers(9, size=(1500, 3)).astype(float)
            return np.concatenate([x, x[:, :1] * 7, x[:, 1:2] // 3], 1)
        case "times in parts":
            hour, minute = rng.integers([24, 60], size=(3000, 2)).T
            return np.stack([hour, minute, 100 * hour + minute, hour * 5 % 24], 1).astype(float)
        case "every level twice":
            x = rng.integers([24, 60], size=(3000, 2))
            return np.concatenate([x, x * 7 % 61], 1).astype(float)
        case "dependent levels":
            cuts = latent @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(5000, 5))
            return np.floor(cuts * 1.5)
        case "profiles":
            return rng.integers(5, size=(30, 12)).astype(float)[rng.integers(30, size=1000)]
        case "rounded normal":
            return np.round(latent, 2)
        case "rounded and correlated":
            return np.round(
                latent @ np.array([[1.0, 0.9, 0.8], [0.1, 0.0, 0.2]]) + 0.01 * rng.normal(size=(5000, 3)), 2
            )
        case "counts with many zeros":
            return rng.poisson(rng.gamma(0.2, 3, size=(4000, 1)) * np.ones(4)).astype(float)
        case "blanks":
            x = rng.integers(6, size=(2000, 4)).astype(float)
            return np.where(rng.random(x.shape) < 0.5, np.nan, x)
    raise AssertionError(name)


CHANCE = ["three levels", "skewed levels", "levels with a copy", "times in parts", "every level twice",
          "dependent levels", "profiles", "rounded normal", "rounded and correlated", "counts with many zeros",
          "blanks"]  # fmt: skip


@pytest.mark.parametrize("name", CHANCE)
def test_what_chance_makes_is_none(name: str) -> None:
    for seed in range(3):
        found = duplicates(by_chance(name, seed))
        assert found.repeats > 0
        assert not found.beyond_chance, (found.repeats, found.expected)


def mixed(n: int, seed: int = 0) -> np.ndarray:
    """A table with a fine column, a rounded one, levels and blanks."""
    rng = RNG(seed)
    x = np.stack([rng.normal(size=n), np.round(rng.normal(size=n), 1), *rng.integers(3, size=(3, n))], 1)
    x[:, 1:] = np.where(rng.random((n, 4)) < 0.05, np.nan, x[:, 1:])
    return x


@pytest.mark.parametrize(("num_rows", "copies"), [(2000, 400), (2000, 60), (60, 15), (50, 50)])
def test_copies_are_found(num_rows: int, copies: int) -> None:
    x = mixed(num_rows)
    found = duplicates(np.concatenate([x, x[RNG(1).choice(num_rows, copies, replace=False)]]))
    assert found.beyond_chance
    assert found.repeats == copies
    assert found.expected < copies / 3


def test_copies_of_whole_numbers_are_found_among_many_alike() -> None:
    x = np.round(RNG(0).normal(size=(2000, 6)) * 5)
    found = duplicates(np.concatenate([x, x[:200]]))
    assert found.beyond_chance


def test_groups_number_the_different_rows() -> None:
    x = np.array([[1, np.nan], [2, 0.0], [1, np.nan], [2, -0.0], [np.nan, 1]])
    groups = duplicates(x).groups
    assert groups[0] == groups[2]
    assert groups[1] == groups[3]
    assert len(set(groups.tolist())) == 3


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 1e300, np.nan])] * 2), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_groups_are_those_of_the_rows_themselves(rows: list[tuple[float, float]]) -> None:
    groups = duplicates(np.array(rows)).groups
    told = [tuple(str(value) for value in row) for row in rows]
    assert len(set(groups.tolist())) == len(set(told)) == len(set(zip(groups.tolist(), told, strict=True)))


def test_a_large_table_and_a_wide_one_take_a_moment() -> None:
    x = RNG(0).integers(2, size=(1000, 1000)).astype(float)
    assert duplicates(x).repeats == 0
    assert duplicates(np.concatenate([x, x[:100]])).beyond_chance
    assert not duplicates(np.empty((0, 3))).beyond_chance
    assert not duplicates(np.zeros((10, 1))).beyond_chance
