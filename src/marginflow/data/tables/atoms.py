"""Atoms of a column of numbers: values that hold a spike."""

from __future__ import annotations

import numpy as np

from marginflow.data.tables.counts import Counts

MOST = 150  # atoms of a column that is not all atoms
FEW_VALUES, ROWS_A_VALUE = 256, 20.0  # of a column that is: a code, a look-up, a short scale
FEWEST_ROWS, LEAST_SHARE = 20.0, 0.0005  # of a spike
FEWEST_REPEATS = 8.0  # of a real number, which chance does not repeat
TIMES, DEVIATIONS = 3.0, 5.0  # that a spike is above what its neighbours predict
NEAR, WIDE = 5, 50  # neighbours on each side


def atoms_of(counts: Counts, *, on_grid: bool) -> np.ndarray:
    """The values that hold a spike: more rows than their neighbours and chance would give them.

    A column of at most 256 different values with twenty rows a value is all atoms. Elsewhere a value needs at least
    twenty rows on a grid and eight of a real number, one row in 2,000, three times as many as its neighbours predict,
    and five deviations of chance more. On a smooth column none has.

    Args:
        counts: of the column.
        on_grid: whether its values are whole numbers.

    Returns:
        At most 150 atoms, or all values, rising.

    Examples:
        >>> values, rows = np.arange(500.0), np.full(500, 10.0)
        >>> rows[[0, 400]] = 900, 80
        >>> atoms_of(Counts(values, rows, rows), on_grid=True)
        array([  0., 400.])
    """
    if _all_are(counts):
        return counts.values
    least = max(FEWEST_ROWS if on_grid else FEWEST_REPEATS, LEAST_SHARE * counts.num_rows)
    candidates = np.flatnonzero(counts.rows >= least)
    if not len(candidates):
        return np.empty(0)
    expected = (_expected_on_grid if on_grid else _expected)(counts, candidates)
    rows = counts.rows[candidates]
    spikes = (rows >= TIMES * expected) & (rows - expected >= DEVIATIONS * np.sqrt(np.maximum(expected, 1.0)))
    gains = np.where(spikes, rows * np.log(rows / np.maximum(expected, 0.5)), -np.inf)
    best = np.argsort(-gains, kind="stable")[: min(MOST, int(spikes.sum()))]
    return counts.values[np.sort(candidates[best])]


def _all_are(counts: Counts) -> bool:
    """Whether values are few and each has many rows, which one large value alone does not make."""
    num_values, num_rows = len(counts.values), counts.num_rows
    if not 0 < num_values <= FEW_VALUES or num_rows < ROWS_A_VALUE * num_values:
        return False
    others = num_rows - float(counts.rows.max())
    return others >= ROWS_A_VALUE / 2 * (num_values - 1)


def _expected_on_grid(counts: Counts, candidates: np.ndarray) -> np.ndarray:
    """Rows that the cells around a cell predict for it: their median, or in sparse places the mean without spikes."""
    values = counts.values[candidates]
    offsets = np.concatenate([np.arange(-NEAR, 0.0), np.arange(1.0, NEAR + 1)])
    cells = values[:, None] + offsets
    inside = (cells >= counts.values[0]) & (cells <= counts.values[-1])
    near = np.nanmedian(np.where(inside, counts.rows_at(cells), np.nan), axis=1)
    below = np.cumsum(np.concatenate([[0.0], _without(counts.rows, candidates)]))
    ends = np.searchsorted(counts.values, [values - WIDE, values + WIDE + 1])
    low, high = np.maximum(values - WIDE, counts.values[0]), np.minimum(values + WIDE, counts.values[-1])
    return np.maximum(near, (below[ends[1]] - below[ends[0]]) / np.maximum(high - low, 1.0))


def _expected(counts: Counts, candidates: np.ndarray) -> np.ndarray:
    """The median of the rows of the values around each."""
    offsets = np.concatenate([np.arange(-2 * NEAR, 0), np.arange(1, 2 * NEAR + 1)])
    places = candidates[:, None] + offsets
    inside = (places >= 0) & (places < len(counts.rows))
    return np.nanmedian(np.where(inside, counts.rows[places.clip(0, len(counts.rows) - 1)], np.nan), axis=1)


def _without(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    rest = rows.copy()
    rest[candidates] = 0
    return rest
