"""Toy densities against their definitions and, where it is known, their entropy by numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from marginflow import data

NAMES = ("checkerboard", "eight_gaussians", "pinwheel", "spirals", "two_to_one")


@pytest.mark.parametrize("name", NAMES)
def test_three_separate_repeatable_draws(name: str) -> None:
    first, again, other = data.load(name), data.load(name), data.load(name, seed=1)
    assert [len(part.x) for part in (first.train, first.validation, first.test)] == [25_000, 5_000, 10_000]
    assert torch.equal(first.train.x, again.train.x)
    assert not torch.equal(first.train.x[:5000], first.validation.x)
    assert not torch.equal(first.train.x, other.train.x)
    with pytest.raises(ValueError, match="at least 2 rows; got num_train=25000, num_validation=1"):
        data.load(name, num_validation=1)


def test_checkerboard_is_uniform_on_its_black_squares() -> None:
    x = data.load("checkerboard").train.x
    assert x.abs().max() < 4
    column, row = ((x + 4) // 2).long().T
    assert ((column + row) % 2 == 0).all()
    counts = torch.bincount(4 * column + row, minlength=16)
    assert (counts > 0).sum() == 8
    assert (counts[counts > 0] - 3125).abs().max() < 5 * math.sqrt(3125)
    assert data.load("checkerboard").entropy == math.log(32)


def test_eight_gaussians_have_the_entropy_that_they_claim() -> None:
    angles = np.arange(8) * math.pi / 4
    centres = 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
    grid = np.linspace(-4, 4, 1201)
    points = np.stack(np.meshgrid(grid, grid), -1)
    p = sum(np.exp(-((points - c) ** 2).sum(-1) / (2 * 0.04)) for c in centres) / (8 * 2 * math.pi * 0.04)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum() * (grid[1] - grid[0]) ** 2
    eight = data.load("eight_gaussians")
    assert eight.entropy == pytest.approx(entropy, abs=1e-3)
    assert data.load("eight_gaussians", noise=0.5).entropy is None
    nearest = torch.cdist(eight.train.x, torch.from_numpy(centres)).min(1).values
    assert float(nearest.square().mean()) == pytest.approx(2 * 0.04, rel=0.03)


def test_two_to_one_has_the_entropy_that_it_claims() -> None:
    of_square = integrate.quad(lambda t: stats.norm.pdf(t) * -stats.chi2(1).logpdf(t**2), -12, 12, points=[0])[0]
    x = data.load("two_to_one")
    assert x.entropy == pytest.approx(of_square + math.log(2) + stats.norm(scale=0.1).entropy(), abs=1e-5)
    square, sign = x.train.x.T
    assert stats.kstest(square.numpy(), stats.chi2(1).cdf).pvalue > 1e-3
    assert float((sign > 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((sign.abs() - 1).std()) == pytest.approx(0.1, rel=0.03)


def test_pinwheel_unbent_is_a_normal_distribution() -> None:
    x = data.load("pinwheel").train.x / 2
    radius = x.norm(dim=1)  # of an arm that is thin beside its length, nearly 1 + 0.3 a
    angle = torch.atan2(x[:, 1], x[:, 0]) - torch.exp(radius) / 4
    from_arm = torch.remainder(angle + math.pi / 5, 2 * math.pi / 5) - math.pi / 5
    far = radius > 0.7
    assert float(radius.mean()) == pytest.approx(1, abs=0.02)
    assert float((from_arm * radius)[far].std()) == pytest.approx(0.1, abs=0.02)


def test_spirals_without_noise_lie_on_two_spirals() -> None:
    x = data.load("spirals", noise=0.0).train.x
    r = 3 * x.norm(dim=1)
    on_arm = torch.stack([r * torch.cos(r), r * torch.sin(r)], 1) / 3
    distance = torch.minimum((x - on_arm).norm(dim=1), (x + on_arm).norm(dim=1))
    assert distance.max() < 1e-12
    assert float(((x - on_arm).norm(dim=1) < 1e-9).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((r / (3 * math.pi)).square().mean()) == pytest.approx(0.5, abs=0.01)


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        data.load("spirals", noise=-0.1)
    with pytest.raises(ValueError, match="at least 1e-06; got 0"):
        data.load("two_to_one", noise=0)


def test_copies_of_half_moons_are_independent_and_their_entropies_add_up() -> None:
    one, three = (data.toy.half_moons(num_train=20_000, copies=copies) for copies in (1, 3))
    assert (one.entropy, three.entropy) == (0.287, pytest.approx(3 * 0.287))
    x = three.train.take().x
    assert x.shape == (20_000, 6)
    assert torch.equal(x[:, :2], one.train.take().x)
    correlations = torch.corrcoef(x.T)
    for copy in range(3):
        correlations[2 * copy : 2 * copy + 2, 2 * copy : 2 * copy + 2] = 0
    assert correlations.abs().max() < 0.03
    with pytest.raises(ValueError, match="copies must be"):
        data.toy.half_moons(copies=0)
    with pytest.raises(ValueError, match="got True"):
        data.toy.half_moons(copies=True)


def test_half_moons_are_three_separate_repeatable_draws() -> None:
    first, again = data.load("half_moons"), data.load("half_moons")
    assert [len(part.x) for part in (first.train, first.validation, first.test)] == [25_000, 5_000, 10_000]
    assert torch.equal(first.train.x, again.train.x)
    assert not torch.equal(first.train.x[:5000], first.validation.x)
    assert not torch.equal(first.test.x[:5000], first.validation.x)
    assert not torch.equal(data.load("half_moons", seed=1).train.x, first.train.x)
    assert first.entropy == 0.287
    assert data.load("half_moons", noise=0.2).entropy is None


def test_half_moons_lie_on_their_half_circles() -> None:
    x = data.load("half_moons", noise=0.0, num_train=1000).train.x
    upper = (x.norm(dim=1) - 1).abs()
    lower = ((x - torch.tensor([1.0, 0.5])).norm(dim=1) - 1).abs()
    assert torch.minimum(upper, lower).max() < 1e-12
