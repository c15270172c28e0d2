"""Does log p tell the rows that a density was trained on: the area under the curve, 1/2 if it does not."""

from __future__ import annotations

import numpy as np


def membership(trained_on: np.ndarray, held_out: np.ndarray) -> float:
    """The probability that log p of a training row is above that of a held-out row, ties counted half.

    Args:
        trained_on: log p of training rows (N,).
        held_out: log p of held-out rows (M,).

    Returns:
        Between 0 and 1.

    Examples:
        >>> membership(np.array([1.0, 3.0]), np.array([0.0, 2.0])), membership(np.ones(3), np.ones(2))
        (0.75, 0.5)
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([trained_on, held_out]))
    above = ranks[: len(trained_on)].sum() - len(trained_on) * (len(trained_on) + 1) / 2
    return float(above / (len(trained_on) * len(held_out)))
