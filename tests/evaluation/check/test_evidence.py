"""Checks of rows and samples pass and fail on evidence: few rows and heavy tails prove neither a fault nor its lack."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Cauchy, Independent, MultivariateNormal, Normal

from marginflow import check, models
from marginflow.distributions import Marginalising, StandardNormal
from marginflow.evaluation.check.densities import _floor, latents
from marginflow.evaluation.check.parts import parts_of
from marginflow.interop import from_torch
from marginflow.transforms.calibrate import calibrate


def nll_of_normals(number: int) -> Tensor:
    x = torch.randn(number, 8)
    return -Normal(0.0, 1.0).log_prob(x).sum(1)


ENTROPY = 8 * (0.5 * math.log(2 * math.pi) + 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_the_floor_needs_rows_enough(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    many, few = nll_of_normals(4000), nll_of_normals(20)
    assert _floor(many, ENTROPY).status == "pass"
    assert _floor(many - math.log(2), ENTROPY).status == "fail"
    assert _floor(few, ENTROPY).status == "cannot tell"
    assert _floor(few - 20, ENTROPY).status == "fail"
    assert _floor(few + 20, ENTROPY).status == "pass"


def test_a_mean_of_heavy_tails_below_the_floor_is_no_evidence() -> None:
    torch.default_generator.manual_seed(0)
    heavy = torch.rand(1000) ** -1.5  # its mean is infinite
    assert _floor(heavy, float(heavy.mean()) + 1000).status == "cannot tell"


@pytest.mark.parametrize("seed", range(5))
def test_samples_of_heavy_tails_are_as_far_out_as_rows_are(seed: int) -> None:
    model = from_torch(Independent(Cauchy(torch.zeros(2), torch.ones(2)), 1))
    torch.default_generator.manual_seed(seed)
    assert check(model, model.sample(40)).of("samples").status != "fail"


def test_what_z_looks_like_is_not_told_from_twenty_rows() -> None:
    model = models.planar(4).double()
    torch.default_generator.manual_seed(0)
    found = {latents(parts_of(model, torch.randn(20, 4), None)).status for _ in range(30)}
    assert "warn" not in found
    assert latents(parts_of(model, 5 + torch.randn(200, 4), None)).status == "warn"


def test_batch_norm_statistics_are_not_told_from_twenty_rows() -> None:
    torch.default_generator.manual_seed(0)
    model = models.maf(3, hidden=[8], blocks=1, batch_norm=True)
    x = torch.randn(500, 3)
    calibrate(model, [x])
    assert check(model, x).of("batch-norm statistics").status == "pass"
    few = check(model, x[:20]).of("batch-norm statistics")
    assert few.status == "cannot tell"
    assert "20 rows are too few" in few.found


@pytest.mark.parametrize("seed", range(3))
def test_samples_of_an_estimated_density_are_not_failed_for_the_noise_of_its_estimate(seed: int) -> None:
    """A normal of three dimensions marginalised over one, of which log p is known by single draws."""
    torch.default_generator.manual_seed(seed)
    covariance = 0.6 * torch.ones(3, 3) + 0.4 * torch.eye(3)
    joint = from_torch(MultivariateNormal(torch.zeros(3), covariance))
    model = Marginalising(joint, StandardNormal(1))
    found = check(model, model.sample(300), seed=seed)
    assert found.of("samples against the density").status == "pass"
    assert found.of("normalisation").status == "pass"
