"""Columns that are sums of multiples of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_ROWS = 5000
ROWS_A_COLUMN = 5  # at least, that a plane through them is none of chance
EXACT = 1e-6  # of a column's deviation, that is left of it
MOST_COLUMNS = 200


def linear(x: np.ndarray, targets: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The columns that are a constant and multiples of others, but for rounding.

    Args:
        x: (N, D), numbers, NaN where blank; rows with a blank say nothing.
        targets: columns that are of interest.

    Returns:
        The others for each such column, of columns that hang together for the last one alone.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> linear(np.column_stack([x, 2 * x[:, 0] - x[:, 2] + 5]), range(4))
        {3: (0, 2)}
    """
    rows = x[~np.isnan(x).any(1)]
    rows = rows[np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS]]
    if not len(targets) or not 1 < x.shape[1] <= MOST_COLUMNS or len(rows) < ROWS_A_COLUMN * x.shape[1]:
        return {}
    deviations = rows.std(0)
    z = (rows - rows.mean(0)) / np.where(deviations > 0, deviations, 1.0)
    kept = [j for j in range(x.shape[1]) if deviations[j] > 0]
    found = dict[int, tuple[int, ...]]()
    for target in sorted(set(targets) & set(kept), reverse=True):
        if len(kept) < 2 or np.linalg.svd(z[:, kept], compute_uv=False)[-1] > EXACT * np.sqrt(len(z)):
            break
        others = [j for j in kept if j != target]
        factors = np.linalg.lstsq(z[:, others], z[:, target], rcond=1e-9)[0]
        if np.sqrt(np.square(z[:, target] - z[:, others] @ factors).mean()) < EXACT:
            found[target] = tuple(j for j, factor in zip(others, factors, strict=True) if abs(factor) > 10 * EXACT)
            kept.remove(target)
    return found
