"""Closed bounds of a column of numbers: where its values end, since more of them would have been seen."""

from __future__ import annotations

import math

import numpy as np

from marginflow.data.grid import Grid
from marginflow.data.tables.counts import Counts

UNSEEN = 10.0  # rows that must be missing beyond an end for it to be one,
UNSEEN_AT_ZERO = 5.0  # and beyond 0 or 1
INNER = 3  # cells inside of an end that tell how fast rows grow fewer
SKEW = 1.5  # that an amount has, its upper tail against its lower one,
NEAR_ZERO = 0.5  # and how near 0 its least value is, of its median


def bounds_on_grid(counts: Counts, grid: Grid) -> tuple[float | None, float | None]:
    """The closed bounds of a column of whole steps, in steps; None where there is none.

    An end is one where going on as values come to it would have given ten rows beyond, and there are none: values pile
    up there, or are cut off. Round values that hold the rows of those about them, such as 36, 48 and 60 months, are
    compared with each other. Five rows are enough where a count or amount starts, at 0 or one step above. Where that is
    not an end, 0 is; so it is of amounts, which are all positive, skewed and in part near 0.

    Args:
        counts: of the steps, at least one.
        grid: of the column.

    Examples:
        >>> nights = Counts(np.array([0.0, 1.0, 6.0, 7.0]), np.array([9.0, 40.0, 2.0, 30.0]), np.ones(4))
        >>> bounds_on_grid(nights, Grid()), bounds_on_grid(nights, Grid(origin=-50))
        ((0.0, 7.0), (None, 7.0))
    """
    first, last = counts.values[[0, -1]].tolist()
    zero = -grid.origin / grid.step
    own, steps = counts.rows[[0, -1]], np.arange(1.0, INNER + 1)
    inner = [counts.rows_at(cells[(cells >= first) & (cells <= last)]) for cells in (first + steps, last - steps)]
    starts = first - zero in (0, 1)
    unseen = [_unseen(own[i], inner[i], counts.rows[:: 1 - 2 * i][1:]) for i in (0, 1)]
    lower = first if unseen[0] >= (UNSEEN_AT_ZERO if starts else UNSEEN) else None
    if lower is None and (starts or (first >= zero and _is_amount(counts, zero))):
        lower = float(math.ceil(zero))
    return lower, last if last > first and unseen[1] >= UNSEEN else None


def bounds_of_real(counts: Counts, atoms: np.ndarray) -> tuple[float | None, float | None]:
    """The closed bounds of real numbers: an atom at which values pile up or are cut off, or 0.

    Examples:
        >>> prices = Counts(np.array([0.0, 1.5, 9.0]), np.array([1.0, 1.0, 30.0]), np.ones(3))
        >>> bounds_of_real(prices, np.array([9.0]))
        (0.0, 9.0)
    """
    first, last = counts.values[[0, -1]].tolist()
    rows = counts.rows
    lower = (
        first if first == 0 or (first in atoms and _unseen(rows[0], rows[1 : INNER + 1], rows[1:]) >= UNSEEN) else None
    )
    ends_above = last > first and last in atoms and _unseen(rows[-1], rows[-INNER - 1 : -1], rows[-2::-1]) >= UNSEEN
    return lower, last if ends_above else None


def _unseen(own: float, inner: np.ndarray, inwards: np.ndarray) -> float:
    """How many rows there would be beyond an end, as many fewer than its own as these are than those inside of it.

    Inside are the next cells, or the next values with half as many rows, whichever have more: between heaps are none.

    >>> months = np.array([2.0, 48.0, 1.0, 5.0, 11.0, 1.0, 5.0, 83.0])  # of 54, 48, 47, 45, 42, ...
    >>> round(_unseen(13.0, np.zeros(3), months), 1), _unseen(13.0, np.zeros(3), months[:4])
    (3.6, 13.0)
    """
    heaps = inwards[inwards >= own / 2][:INNER]
    sides = [inner, *([heaps] if len(heaps) == INNER else [])]
    beside = max((float(each.mean()) for each in sides if len(each)), default=0.0)
    return own if beside <= own else own * own / beside


def _is_amount(counts: Counts, zero: float) -> bool:
    """Whether values above 0 are skewed and come near it."""
    total = np.cumsum(counts.rows)
    low, middle, high = counts.values[np.searchsorted(total, np.array([0.1, 0.5, 0.9]) * total[-1])]
    near = counts.values[0] - zero <= NEAR_ZERO * (middle - zero)
    return bool(near and high - middle > SKEW * (middle - low))
