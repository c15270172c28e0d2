"""Densities of a small table of five columns, of which all cells can be summed, and one of four real numbers."""

from __future__ import annotations

import itertools
import math

import torch
from schemas import levels, steps, strengthened
from torch import Tensor

from marginflow.data import Schema
from marginflow.distributions import GaussianMixture, Mixed, ProductMixture

SCHEMA = Schema((
    levels("a", "category", 3), steps("b", "integer", 4, atoms=[1], blank=True), levels("c", "boolean", 2),
    steps("d", "decimal", 3), levels("e", "ordered", 3, blank=True),
))  # fmt: skip


def cells_of(schema: Schema) -> Tensor:
    axes = [[*([math.nan] if c.blank else []), *range(len(c.levels) or int(c.upper or 0) + 1)] for c in schema.columns]
    return torch.tensor(list(itertools.product(*axes)), dtype=torch.float64)


def same(rows: Tensor, row: Tensor) -> Tensor:
    return ((rows == row) | (rows.isnan() & row.isnan())).all(1)


def mixed(orders: int = 1, order: str = "random", seed: int = 0, first: tuple[str, ...] = ()) -> Mixed:
    torch.manual_seed(seed)
    options = {"hidden": [12] * 3, "components": 2, "order": order, "orders": orders, "seed": seed, "first": first}
    return strengthened(Mixed(SCHEMA, **options))  # pyright: ignore


def mixture(seed: int = 0) -> ProductMixture:
    torch.manual_seed(seed)
    model = ProductMixture(SCHEMA, components=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    return model


def normal(seed: int = 0, components: int = 3) -> GaussianMixture:
    torch.manual_seed(seed)
    model = GaussianMixture(4, components)
    roots = torch.randn(components, 4, 4)
    covariances = roots @ roots.mT + 0.3 * torch.eye(4)
    model.set_components(torch.rand(components) + 0.2, 2 * torch.randn(components, 4), covariances)
    return model
