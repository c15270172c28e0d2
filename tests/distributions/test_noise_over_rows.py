"""Rows of a table marginalised over noise: latent variables, whose integral is known by quadrature."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from schemas import levels, reals, steps, strengthened, total

from marginflow import log_likelihood, models
from marginflow.data import DataSpec, Schema
from marginflow.distributions import Flow, Marginalising, Mixed, StandardNormal
from marginflow.runs.build import build
from marginflow.runs.read_toml import parse

SCHEMA = Schema((levels("a", "category", 2, blank=True), steps("b", "integer", 3, atoms=[1])))
CELLS = torch.tensor([*itertools.product([math.nan, 0.0, 1.0], [0.0, 1.0, 2.0])], dtype=torch.float64)


def joint_of(noise_features: int = 1, schema: Schema = SCHEMA, orders: int = 1) -> Mixed:
    torch.manual_seed(0)
    return strengthened(
        Mixed(schema, hidden=[16] * 3, components=2, orders=orders, order="reversed", noise_features=noise_features)
    )


def by_quadrature(joint: Mixed) -> torch.Tensor:
    """p of each cell: the integral over one noise dimension of p(row, eps)."""
    eps, h = torch.arange(-40, 40, 0.01, dtype=torch.float64), 0.01
    rows = torch.cat([CELLS.repeat_interleave(len(eps), 0), eps.repeat(len(CELLS))[:, None]], 1)
    with torch.no_grad():
        return (joint.log_prob(rows).double().exp() * h).view(len(CELLS), -1).sum(1)


@pytest.mark.parametrize("orders", [1, 2])
def test_the_integral_over_noise_is_a_density_of_rows(orders: int) -> None:
    joint = joint_of(orders=orders)
    assert all(member.order[0] == 2 for member in joint.members)
    found = by_quadrature(joint)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    dependent = joint.log_prob(torch.cat([CELLS, torch.full((9, 1), 1.5)], 1)).diff()
    assert not torch.allclose(dependent, joint.log_prob(torch.cat([CELLS, torch.full((9, 1), -1.5)], 1)).diff())
    torch.manual_seed(1)
    estimate = log_likelihood(Marginalising(joint, StandardNormal(1)), CELLS, num_samples=20_000)
    errors = (estimate.log_prob.exp() - found).abs()
    assert (errors < 5 * estimate.standard_error * found + 1e-5).all()


def test_draws_have_these_probabilities() -> None:
    joint = joint_of()
    torch.manual_seed(0)
    drawn = Marginalising(joint, StandardNormal(1)).sample(20_000)
    assert drawn.shape == (20_000, 2)
    same = (drawn[:, None] == CELLS) | (drawn[:, None].isnan() & CELLS.isnan())
    shares = same.all(2).double().mean(0)
    expected = by_quadrature(joint)
    assert torch.allclose(shares, expected, atol=5 * 0.5 / 20_000**0.5)


def test_noise_of_several_dimensions_beside_real_columns_is_a_joint_density() -> None:
    joint = joint_of(1, Schema((levels("a", "boolean", 2),)))
    eps = torch.arange(-40, 40, 0.01, dtype=torch.float64)
    rows = torch.cat([torch.tensor([[0.0], [1.0]]).double().repeat_interleave(len(eps), 0), eps.repeat(2)[:, None]], 1)
    with torch.no_grad():
        assert float((joint.log_prob(rows).double().exp() * 0.01).sum()) == pytest.approx(1, abs=1e-5)
    wide = joint_of(3, Schema((levels("a", "boolean", 2), reals("c", "log", [1.25], blank=True))))
    model = Marginalising(wide, StandardNormal(3))
    assert model.event_shape == torch.Size([2])
    assert torch.isfinite(model.log_prob([[0.0, math.nan], [1.0, 1.25], [1.0, 2.0]])).all()


def built(schema: Schema, **noise: Any) -> Flow:
    table = {"data": {"name": "table", "path": "a.csv"}, "model": {"name": "mixed", "hidden": [12] * 3}, "noise": noise}
    spec = DataSpec((len(schema.modelled),), context_features=len(schema.given), schema=schema)
    return build(parse(table, "test"), spec)


def test_an_experiment_names_noise_that_sees_the_encoded_row() -> None:
    model = built(SCHEMA, features=2, name="diagonal_normal", hidden=[8])
    density = model.density
    assert isinstance(density, Marginalising)
    noise = density.augment.noise
    assert noise.context_features == 2
    with torch.no_grad():
        for parameter in noise.parameters():
            parameter.normal_(0, 0.4)
    torch.manual_seed(0)
    means = [noise.sample(4000, CELLS[i : i + 1].expand(4000, 2)).mean(0) for i in (0, 4, 8)]
    assert min(float((one - other).abs().max()) for one, other in itertools.combinations(means, 2)) > 0.1
    joint = density.flow
    assert isinstance(joint, Mixed)
    torch.manual_seed(1)
    estimate = log_likelihood(model, CELLS, num_samples=4000)
    assert float(estimate.log_prob.exp().sum()) == pytest.approx(1, abs=0.05)
    assert float(estimate.bound.exp().sum()) < 1.02
    model.train()
    (-model.log_prob(CELLS).mean()).backward()
    assert all(parameter.grad is not None for parameter in noise.parameters())


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ({"features": 1, "after_blocks": 1}, "noise.after_blocks is for models of several blocks"),
        ({"features": 1, "name": "glow"}, "noise.name = 'glow'"),
    ],
)
def test_noise_that_does_not_fit_is_refused(noise: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        built(SCHEMA, **noise)


def test_a_flow_over_real_columns_takes_no_noise() -> None:
    with pytest.raises(ValueError, match=r"leave model\.real or the noise out"):
        models.mixed(Schema((reals("a", "log"),)), real="nsf", noise_features=1)


def test_without_noise_it_is_what_it_was() -> None:
    assert total(joint_of(0)) == pytest.approx(1, abs=1e-5)
