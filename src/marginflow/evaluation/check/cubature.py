"""Integration of a density in one to three dimensions by cells that are split where the error is largest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from marginflow.evaluation.check.proposal import coordinates, whitened

MOST_POINTS = 40_000  # at which a density is asked
WANTED = 2e-3  # of the integral, the estimated error at which no cell is split any more
SAMPLES = 4000  # that are set against the cells
FIRST_CELLS = 64  # that samples give a first split into, times the number of dimensions
_NEAR, _FAR, _CORNER = math.sqrt(9 / 70), math.sqrt(9 / 10), math.sqrt(9 / 19)


def _rule(features: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points in (-1, 1)^D, their weights in the rule of degree 7, and in the embedded one of degree 5.

    References:
        Genz and Malik, Remarks on algorithm 006: an adaptive algorithm for numerical integration over an N-dimensional
            rectangular region, 1980.
    """
    unit = torch.eye(features, dtype=torch.float64)
    axes = torch.cat([unit, -unit])
    pairs = [
        _FAR * (a * unit[i] + b * unit[j])
        for i, j in itertools.combinations(range(features), 2)
        for a, b in itertools.product((1, -1), repeat=2)
    ]
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * features).reshape(-1, features)
    n = features
    groups = [
        (0 * unit[:1], (12824 - 9120 * n + 400 * n * n) / 19683, (729 - 950 * n + 50 * n * n) / 729),
        (_NEAR * axes, 980 / 6561, 245 / 486),
        (_FAR * axes, (1820 - 400 * n) / 19683, (265 - 100 * n) / 1458),
        (torch.stack(pairs) if pairs else unit[:0], 200 / 19683, 25 / 729),
        (_CORNER * corners, 6859 / 19683 / 2**n, 0.0),
    ]
    points = torch.cat([points for points, _, _ in groups])
    seventh, fifth = (torch.cat([torch.full((len(g[0]),), g[k]).double() for g in groups]) for k in (1, 2))
    return points, seventh, fifth


def integral(log_prob: Callable[[Tensor], Tensor], samples: Tensor) -> tuple[float, float]:
    """The integral of exp(log_prob) over all of R^D, and its estimated error.

    x = m + L y,  y = t / (1 - t^2),  t in (-1, 1)^D

    where m and L are those of the samples. Cells in t are first split where samples are dense, so that thin structures
    are met, and then where the two rules differ most, or the integral and the share of samples do, along the dimension
    of the largest fourth difference.

    Args:
        log_prob: of rows (N, D) in float64.
        samples: (N, D) of the density.

    Returns:
        The integral, and the sum over cells of how far the rules of degree 7 and 5 lie apart, or the integral and the
        share of samples, where that is more and not by chance.

    Raises:
        ValueError: where samples lie in a subspace.
    """
    centre, factor = coordinates(samples)
    volume = factor.diagonal().log().sum()
    features = samples.shape[1]
    points, seventh, fifth = _rule(features)

    def of_cells(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Integral, error and the dimension to split of each cell."""
        middle, half = (low + high) / 2, (high - low) / 2
        t = middle[:, None] + half[:, None] * points  # (cells, points, D)
        rest = 1 - t.square()
        x = centre + (t / rest).flatten(0, 1) @ factor.T
        slope = ((1 + t.square()) / rest.square()).log().sum(2)
        density = (log_prob(x).view(slope.shape) + slope + volume).exp()
        size = (2 * half).prod(1)
        near, far = density[:, 1 : 1 + 2 * features], density[:, 1 + 2 * features : 1 + 4 * features]
        bend = [each[:, :features] + each[:, features:] - 2 * density[:, :1] for each in (near, far)]
        fourth = (bend[0] - (_NEAR / _FAR) ** 2 * bend[1]).abs()
        flat = fourth.amax(1, keepdim=True) <= 1e-9 * density.abs().amax(1, keepdim=True)
        axis = torch.where(flat, half, fourth).argmax(1)
        whole = density @ seventh * size
        return whole, (whole - density @ fifth * size).abs(), axis

    y = whitened(samples, centre, factor)
    t = 2 * y / (1 + (1 + 4 * y.square()).sqrt())
    low, high = _first_cells(t)
    whole, error, axis = of_cells(low, high)
    share = _shares(t, low, high)
    asked = len(low) * len(points)
    while True:
        total = float(whole.sum())
        doubt = torch.maximum(error, _unlike(whole, share * total, total / len(t)))
        if float(doubt.sum()) <= WANTED * total or asked >= MOST_POINTS:
            return total, float(doubt.sum())
        order = doubt.argsort(descending=True)
        before = doubt[order].cumsum(0) / doubt.sum()
        most = max(1, min(int((before < 0.7).sum()) + 1, (MOST_POINTS - asked) // (2 * len(points)) + 1))
        split, kept = order[:most], order[most:]
        along = torch.nn.functional.one_hot(axis[split], features).bool()
        middle = (low[split] + high[split]) / 2
        lows = torch.cat([low[split], torch.where(along, middle, low[split])])
        highs = torch.cat([torch.where(along, middle, high[split]), high[split]])
        parts = (*of_cells(lows, highs), _shares(t, lows, highs), lows, highs)
        asked += len(lows) * len(points)
        whole, error, axis, share, low, high = (
            torch.cat([a[kept], b]) for a, b in zip((whole, error, axis, share, low, high), parts, strict=True)
        )


def _shares(t: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The share of points t (N, D) in each cell."""
    parts = [
        ((t >= below[:, None]) & (t < above[:, None])).all(2).double().mean(1)
        for below, above in zip(low.split(500), high.split(500), strict=True)
    ]
    return torch.cat(parts)


def _unlike(whole: Tensor, expected: Tensor, of_one: float) -> Tensor:
    """How far a cell's integral lies from what samples let one expect, where chance does not explain it; else 0.

    So a thin structure is found that passes between the points of a cell.
    """
    apart = (whole - expected).abs()
    by_chance = 4 * (torch.maximum(whole, torch.full_like(whole, of_one)) * of_one).sqrt()
    return torch.where(apart > by_chance, apart, 0.0)


def _first_cells(t: Tensor) -> tuple[Tensor, Tensor]:
    """Cells that fill (-1, 1)^D: the box of points t (N, D), split at their medians, and what lies around it."""
    features = t.shape[1]
    low, high = t.amin(0), t.amax(0)
    edges = torch.stack([-torch.ones_like(low), low, high, torch.ones_like(low)])
    every = torch.arange(features)
    around = [
        (edges[place, every], edges[[k + 1 for k in place], every])
        for place in itertools.product(range(3), repeat=features)
        if place != (1,) * features
    ]
    cells = [(low, high, t)]
    while len(cells) < FIRST_CELLS * features:
        split = []
        for low, high, inside in cells:
            axis = int((inside.quantile(0.9, 0) - inside.quantile(0.1, 0)).argmax())
            at = inside[:, axis].median()
            below, above = high.clone(), low.clone()
            below[axis] = above[axis] = at
            on_left = inside[:, axis] <= at
            split += [(low, below, inside[on_left]), (above, high, inside[~on_left])]
        if any(len(inside) < 4 for _, _, inside in split):
            break
        cells = split
    within = [(low, high) for low, high, _ in cells]
    lows, highs = zip(*within, *around, strict=True)
    return torch.stack(lows), torch.stack(highs)
