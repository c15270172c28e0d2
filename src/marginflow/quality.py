"""How good samples are, measured against rows that the model has not seen."""

from __future__ import annotations

import torch
from torch import Tensor


def _mean_distance(x: Tensor, y: Tensor, chunk: int = 1000) -> float:
    """The mean Euclidean distance between the rows of two samples."""
    total = sum(float(torch.cdist(x[start : start + chunk], y).sum()) for start in range(0, len(x), chunk))
    return total / (len(x) * len(y))


def energy_distance(x: Tensor, y: Tensor) -> float:
    """The squared energy distance of two samples: 0 on average where they come from one distribution, else above.

    2 E|X - Y| - E|X - X'| - E|Y - Y'|, pairs of different rows in the last two (unbiased, so it can come out negative)

    x (N, ...), y (M, ...): rows, at least two of each; taken flat and in float64.

    Szekely and Rizzo, Energy statistics: A class of statistics based on distances, 2013.

    >>> energy_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]))
    2.0
    """
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"energy_distance compares two samples of rows of one shape, two rows each at least; got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    x, y = (each.detach().flatten(1).double() for each in (x, y))
    within = sum(_mean_distance(each, each) * len(each) / (len(each) - 1) for each in (x, y))
    return 2 * _mean_distance(x, y) - within
