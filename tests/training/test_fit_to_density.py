"""Flows fitted to densities without data: closed forms, sums over a grid, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import marginflow as mf
from marginflow import VariationalConfig, fit_to_density, models
from marginflow.data import ENERGIES
from marginflow.distributions import DiagonalNormal, StandardNormal
from marginflow.transforms import Inverse

pytestmark = pytest.mark.usefixtures("single")


def normal(x: Tensor) -> Tensor:
    """4 exp(-|x - 1|^2 / 2 / 0.5^2), whose integral over the plane is 4 x 2 pi x 0.25."""
    return math.log(4) - 0.5 * ((x - 1) / 0.5).square().sum(1)


NORMALISER = math.log(4 * 2 * math.pi * 0.25)


def on_grid(log_density: object, reach: float = 7.0, cells: int = 701) -> float:
    line = torch.linspace(-reach, reach, cells, dtype=torch.float64)
    cell = 2 * math.log(float(line[1] - line[0]))
    return float(log_density(torch.cartesian_prod(line, line)).logsumexp(0)) + cell


def test_a_normal_is_found_exactly() -> None:
    model = DiagonalNormal(2)
    fitted = fit_to_density(model, normal, VariationalConfig(steps=1500, lr=2e-2, annealing=0.0))
    torch.testing.assert_close(model.mean.detach(), torch.ones(2), rtol=0, atol=0.01)
    torch.testing.assert_close(model.log_scale.detach().exp(), torch.full((2,), 0.5), rtol=0, atol=0.01)
    assert fitted.bound == pytest.approx(NORMALISER, abs=2e-3)
    assert fitted.log_normaliser == pytest.approx(NORMALISER, abs=2e-3)
    assert fitted.effective_sample_size > 0.99
    assert fitted.standard_error < 1e-3
    assert len(fitted.free_energy) == 1500
    assert fitted.free_energy[-1] == pytest.approx(-NORMALISER, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENERGIES)
def test_the_four_energies_are_fitted_as_far_as_the_grid_can_tell(name: str) -> None:
    torch.default_generator.manual_seed(0)
    target, model = ENERGIES[name], models.nsf(2, structure="coupling", hidden=[32, 32], blocks=4)
    fitted = fit_to_density(model, target, VariationalConfig(steps=350, lr=1e-2))
    expected = on_grid(target)
    assert fitted.bound <= fitted.log_normaliser
    assert fitted.log_normaliser == pytest.approx(expected, abs=0.05)
    assert expected - fitted.bound < 0.15  # the divergence
    assert expected - fitted.bound > -0.02
    x = model.sample(5000)
    with torch.no_grad():
        log_w = target(x) - model.log_prob(x)
    assert float(log_w.logsumexp(0)) - math.log(5000) == pytest.approx(expected, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        lambda: mf.Flow(Inverse(models.planar(2, blocks=4).transform), StandardNormal(2)),
        lambda: models.radial(2, blocks=4),
        lambda: models.iaf(2, hidden=[8], blocks=2),
        lambda: models.maf(2, hidden=[8], blocks=2),
        lambda: models.nsf(2, hidden=[8], blocks=2, structure="coupling"),
        lambda: models.maf_mog(2, hidden=[8], blocks=1, components=2),
    ],
)
def test_every_kind_of_flow_can_be_fitted(build: object) -> None:
    torch.default_generator.manual_seed(0)
    fitted = fit_to_density(build(), normal, VariationalConfig(steps=60, lr=2e-2, annealing=0.0, num_samples=64))
    assert fitted.free_energy[-1] < fitted.free_energy[0]


@pytest.mark.slow
def test_a_marginalising_flow_bounds_the_divergence_from_above() -> None:
    """KL(q(x, eps) || target(x) r(eps | x)) is at least KL(q(x) || target)."""
    torch.default_generator.manual_seed(0)
    model = mf.Marginalising(
        models.realnvp(3, hidden=[16, 16], blocks=4), models.diagonal_normal(1, context_features=2, hidden=[16])
    )
    fitted = fit_to_density(model, normal, VariationalConfig(steps=600, lr=1e-2))
    assert fitted.bound <= NORMALISER + 0.005
    assert fitted.bound == pytest.approx(NORMALISER, abs=0.05)
    assert fitted.log_normaliser == pytest.approx(NORMALISER, abs=0.03)
    x = model.sample(4000)
    torch.testing.assert_close(x.mean(0), torch.ones(2), rtol=0, atol=0.05)
    torch.testing.assert_close(x.std(0), torch.full((2,), 0.5), rtol=0, atol=0.05)


def test_the_same_seed_finds_the_same() -> None:
    def fitted() -> float:
        torch.default_generator.manual_seed(0)
        return fit_to_density(models.realnvp(2, hidden=[8]), normal, VariationalConfig(steps=20)).free_energy[-1]

    state = torch.get_rng_state()
    first = fitted()
    assert first == fitted()
    torch.default_generator.manual_seed(0)
    before = torch.get_rng_state()
    fit_to_density(DiagonalNormal(2), normal, VariationalConfig(steps=2))
    assert torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(state)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one number a row, \(256,\); got shape \(256, 2\)"):
        fit_to_density(DiagonalNormal(2), lambda x: x, VariationalConfig(steps=1))
    with pytest.raises(ValueError, match="no parameters"):
        fit_to_density(StandardNormal(2), normal)
    with pytest.raises(ValueError, match="exact log_prob"):
        fit_to_density(models.augmented_between(models.maf, 2, StandardNormal(1), after_blocks=1, blocks=2), normal)
    with pytest.raises(ValueError, match="leave batch_norm out"):
        fit_to_density(models.realnvp(2, hidden=[8], batch_norm=True), normal)
    steep, model = lambda x: normal(x) + (x[:, 0] * 0).sqrt(), DiagonalNormal(2)
    with pytest.raises(FloatingPointError, match="the norm of its gradient nan, at step 1 of 3"):
        fit_to_density(model, steep, VariationalConfig(steps=3))
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    with pytest.raises(FloatingPointError, match="lower lr"):
        fit_to_density(DiagonalNormal(2), lambda x: normal(x) * math.inf, VariationalConfig(steps=3))
