"""The check of both sides of log p: near where it is known, apart where it is not, skipped where it takes long."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

from marginflow import check, models
from marginflow.distributions import Marginalising, StandardNormal
from marginflow.evaluation.check import both_sides as module
from marginflow.interop import from_torch


def joint(num_noise: int, shift: float) -> Marginalising:
    """x ~ N(0, I) of two, eps ~ N(shift, 0.2^2)."""
    mean = torch.cat([torch.zeros(2), torch.full((num_noise,), shift)])
    scale = torch.cat([torch.ones(2), torch.full((num_noise,), 0.2)])
    return Marginalising(from_torch(Independent(Normal(mean, scale), 1)), StandardNormal(num_noise))


def test_it_passes_where_both_sides_meet_and_warns_where_they_lie_apart() -> None:
    near = module.both_sides(joint(1, 0.5), None, seed=0)
    assert near.status == "pass"
    apart = module.both_sides(joint(300, 3.0), None, seed=0)
    assert apart.status == "warn"
    assert "--method annealed" in apart.remedy


def test_it_is_part_of_a_check_of_what_draws_noise_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 2)
    found = check(Marginalising(models.planar(3, blocks=1), StandardNormal(1)), x)
    assert found.of(module.CHECK).status in ("pass", "warn")
    assert "rows drawn from the model" in found.of(module.CHECK).found
    assert module.CHECK not in [each.check for each in check(models.planar(2, blocks=1), x).every]


def test_it_is_skipped_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.0)
    found = module.both_sides(joint(1, 0.5), None, seed=0)
    assert found.status == "skip"
    assert "marginflow evaluate RUN --method annealed" in found.found
