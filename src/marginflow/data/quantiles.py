"""Quantiles of weighted values, in which ties are spread out."""

from __future__ import annotations

import numpy as np


def quantiles(values: np.ndarray, weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of different values, each of which stands for as many as it weighs.

    A value stands in the middle of its own share, and between values it is interpolated, so that quantiles rise
    wherever probabilities do. Of equal weights they are those of `numpy.quantile`.

    Args:
        values: (n,), at least one, rising.
        weights: (n,), positive.
        probabilities: from 0, which gives the least value, to 1, which gives the largest.

    Returns:
        The quantiles, float64.

    Examples:
        >>> quantiles(np.array([0.0, 1.0, 5.0]), np.array([2.0, 1.0, 1.0]), np.array([0.0, 0.5, 1.0]))
        array([0.  , 0.83333333, 5.  ])
    """
    share = weights / weights.max()  # sums of large weights do not overflow
    middle = np.cumsum(share) - share / 2
    span = middle[-1] - middle[0]
    if not span > 0:
        return np.full(np.shape(probabilities), values[0], dtype=np.float64)
    return np.interp(middle[0] + probabilities * span, middle, values)
