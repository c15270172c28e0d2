"""Columns of noise beside those of a table: real numbers, standard normal before training."""

from __future__ import annotations

from statistics import NormalDist

from marginflow.data.schema import Column
from marginflow.data.warp import Warp

KNOTS = 64  # quantiles that say where it lies


def noise_columns(number: int) -> tuple[Column, ...]:
    """So many columns of N(0, 1).

    >>> [column.kind for column in noise_columns(2)]
    ['real', 'real']
    """
    quantiles = tuple(NormalDist().inv_cdf((i + 0.5) / KNOTS) for i in range(KNOTS))
    return tuple(Column(f"eps{i}", "real", warp=Warp("standardise"), quantiles=quantiles) for i in range(number))
