"""Four unnormalised densities in two dimensions, on which flows for variational inference are tried.

The test energies of the paper's table 1, negated. The waves there continue for ever along x_1 and are shown between -4
and 4; here they end there, so that they are densities.

References:
    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

REACH, FALL = 4.0, 0.2  # the waves end at |x_1| = 4, as a normal distribution of this deviation does


def _wave(x: Tensor) -> Tensor:
    return torch.sin(0.5 * math.pi * x[:, 0])


def _bump(x: Tensor) -> Tensor:
    return 3 * torch.exp(-0.5 * ((x[:, 0] - 1) / 0.6).square())


def _step(x: Tensor) -> Tensor:
    return 3 * torch.sigmoid((x[:, 0] - 1) / 0.3)


def _ends(x: Tensor) -> Tensor:
    return -0.5 * (functional.relu(x[:, 0].abs() - REACH) / FALL).square()


def _normal(distance: Tensor, deviation: float) -> Tensor:
    return -0.5 * (distance / deviation).square()


def ring(x: Tensor) -> Tensor:
    """A ring of radius 2, heavy at its left and right: log density (N,) up to a constant of x (N, 2)."""
    sides = torch.logaddexp(_normal(x[:, 0] - 2, 0.6), _normal(x[:, 0] + 2, 0.6))
    return _normal(torch.linalg.vector_norm(x, dim=1) - 2, 0.4) + sides


def wave(x: Tensor) -> Tensor:
    """One sine wave, between x_1 = -4 and 4."""
    return _normal(x[:, 1] - _wave(x), 0.4) + _ends(x)


def wave_with_bump(x: Tensor) -> Tensor:
    """A sine wave that parts and meets again."""
    ways = torch.logaddexp(_normal(x[:, 1] - _wave(x), 0.35), _normal(x[:, 1] - _wave(x) + _bump(x), 0.35))
    return ways + _ends(x)


def wave_with_step(x: Tensor) -> Tensor:
    """A sine wave that parts for good."""
    ways = torch.logaddexp(_normal(x[:, 1] - _wave(x), 0.4), _normal(x[:, 1] - _wave(x) + _step(x), 0.35))
    return ways + _ends(x)


ENERGIES: dict[str, Callable[[Tensor], Tensor]] = {
    each.__name__: each for each in (ring, wave, wave_with_bump, wave_with_step)
}
