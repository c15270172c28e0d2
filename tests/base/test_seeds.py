"""Seeds: one range of them, at every door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import marginflow as mf
from marginflow import data, models
from marginflow.base.seeds import SEEDS, RandomStream, seeded

X, MODEL = torch.randn(30, 2, dtype=torch.float32), models.planar(2)


def drawn(seed: int) -> torch.Tensor:
    with seeded(seed):
        return torch.rand(1)


DOORS: dict[str, Callable[[int], object]] = {
    "fit": lambda seed: mf.TrainConfig(seed=seed),
    "validation": lambda seed: mf.TrainConfig(validation_seed=seed),
    "fit_to_density": lambda seed: mf.VariationalConfig(seed=seed),
    "evaluate": lambda seed: mf.evaluate(MODEL, X, seed=seed),
    "check": lambda seed: mf.check(MODEL, X, seed=seed),
    "half moons": lambda seed: data.load("half_moons", seed=seed),
    "digits": lambda seed: data.load("digits", seed=seed),
    "a block": lambda seed: drawn(seed),
    "a stream": RandomStream,
}


@pytest.mark.parametrize("seed", [-1, SEEDS, 2**32, 2**70])
@pytest.mark.parametrize("door", DOORS)
def test_a_seed_out_of_range_is_refused_at_every_door(door: str, seed: int) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="seed"):
        DOORS[door](seed)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("door", DOORS)
def test_the_largest_seed_is_as_good_as_any(door: str) -> None:
    state = torch.get_rng_state()
    DOORS[door](SEEDS - 1)
    assert torch.equal(torch.get_rng_state(), state)
