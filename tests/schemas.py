"""Schemas of small tables, densities of their rows, and what these sum to over all cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.data import Column, Grid, Warp
from marginflow.distributions import Distribution, Mixed
from marginflow.nets.masked.linear import MaskedLinear

GRIDS = {"integer": Grid(), "decimal": Grid(25, digits=2), "date": Grid(7, 3), "timestamp": Grid(60), "time": Grid(15),
         "duration": Grid(10)}  # fmt: skip
UNIT = tuple(torch.linspace(-1.5, 1.5, 33).tolist())  # quantiles, when warped


def levels(name: str, kind: str, number: int, blank: bool = False) -> Column:
    shares = tuple((i + 1) / (number * (number + 1) / 2 + blank) for i in range(number))
    named = ("false", "true") if kind == "boolean" else tuple(f"level {i}" for i in range(number))
    return Column(name, kind, blank=blank, levels=named, shares=shares, blank_share=0.1 * blank)  # pyright: ignore[reportArgumentType]


def steps(name: str, kind: str, size: int, atoms: Sequence[int] = (), blank: bool = False) -> Column:
    """A column on a grid of so many cells, from 0 on."""
    warp = Warp("logit", -0.5, float(size), 0.1, 0.8)
    quantiles = tuple(round(q) for q in torch.linspace(0, size - 1, 33).tolist())
    return Column(
        name, kind, grid=GRIDS[kind], blank=blank, lower=0.0, upper=size - 1.0, warp=warp, quantiles=quantiles,  # pyright: ignore[reportArgumentType]
        atoms=tuple(map(float, atoms)), shares=(0.1,) * len(atoms), blank_share=0.2 * blank,
    )  # fmt: skip


def reals(name: str, shape: str, atoms: Sequence[float] = (), blank: bool = False) -> Column:
    warp = Warp(shape, 0.5, 2.0, 0.2, 1.5)  # pyright: ignore[reportArgumentType]
    lower = None if shape in ("standardise", "asinh") else 0.5
    upper = 2.5 if shape == "logit" else None
    quantiles = tuple(warp.inverse(torch.tensor(UNIT, dtype=torch.float64)).tolist())
    return Column(
        name, "real", blank=blank, lower=lower, upper=upper, warp=warp, quantiles=quantiles, atoms=tuple(atoms),
        shares=(0.15,) * len(atoms), blank_share=0.2 * blank,
    )  # fmt: skip


def strengthened(model: Mixed) -> Mixed:
    """With dependence between columns, which a fresh one hardly has."""
    with torch.no_grad():
        for member in model.members:
            for layer in member.network.layers:
                for weight in layer.weights:
                    weight.mul_(5.0 if layer is member.network.output_layer else 1.5)
            member.direct.set_dense_weight(0.02 * torch.randn(1) * direct_mask(member.direct))
    return model.eval()


def direct_mask(layer: MaskedLinear) -> Tensor:
    """1 for the weights that the mask leaves."""
    packed = layer.pack([torch.ones_like(weight) for weight in layer.weights])
    bands = layer.unpack(packed)
    widest = [torch.nn.functional.pad(band, (0, layer.in_features - band.shape[1])) for band in bands]
    return torch.cat(widest)


def total(model: Distribution, context: Tensor | None = None, finer: int = 1, rows_at_once: int = 20_000) -> float:
    """p summed over the cells of all columns, and integrated over real numbers by the trapezoidal rule, in arsinh z."""
    axes, weights = [], []
    assert model.schema is not None
    num_real = sum(not column.levels and column.grid is None for column in model.schema.modelled)
    for column in model.schema.modelled:
        own = [math.nan] * column.blank + [float(i) for i in range(len(column.levels))] + list(column.atoms)
        if column.grid is not None:
            assert column.upper is not None
            own = [math.nan] * column.blank + [float(i) for i in range(int(column.upper) + 1)]
        axis, weight = torch.tensor(own, dtype=torch.float64), torch.zeros(len(own), dtype=torch.float64)
        if not column.levels and column.grid is None:
            assert column.warp is not None
            h = (0.02 if num_real == 1 else 0.04) / finer
            u = torch.arange(-5.3, 5.3, h, dtype=torch.float64)
            x = column.warp.inverse(torch.sinh(u))
            axis = torch.cat([axis, x])
            weight = torch.cat([weight, torch.log(h * torch.cosh(u)) - column.warp.forward(x)[1]])
        axes.append(axis)
        weights.append(weight)
    found = 0.0
    with torch.no_grad():
        rows, logs = torch.cartesian_prod(*axes), torch.cartesian_prod(*weights)
        rows, logs = (each.reshape(-1, len(axes)) for each in (rows, logs))
        for x, log in zip(rows.split(rows_at_once), logs.split(rows_at_once), strict=True):
            found += float((model.log_prob(x, context).double() + log.sum(1)).exp().sum())
    return found
