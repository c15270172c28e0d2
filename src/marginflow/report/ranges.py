"""The part of an axis that is shown, so that a few values far out flatten nothing; what is left out is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

Range = tuple[float, float]

FAR = 2.0  # a value is far out where it is so many times the middle nine tenths beyond them
SHRINKS = 20.0  # the highest losses are cut off where the others take less than so small a part of the axis
MARGIN = 0.06  # of the range, at either end


def finite(values: Tensor) -> np.ndarray:
    """Those that are numbers, flat and in float64."""
    flat = values.detach().double().cpu().numpy().ravel()
    return flat[np.isfinite(flat)]


def shown_range(values: Tensor) -> Range:
    """Where values lie, but for those far beyond the middle nine tenths of them, with a margin."""
    kept = finite(values)
    if not len(kept):
        return -1.0, 1.0
    first, last = np.quantile(kept, [0.05, 0.95])
    reach = FAR * (last - first)
    if reach > 0:
        kept = kept[(kept >= first - reach) & (kept <= last + reach)]
    return with_margin(float(kept.min()), float(kept.max()))


def with_margin(low: float, high: float) -> Range:
    """A range with some room at its ends; of one value, some room about it."""
    margin = MARGIN * (high - low)
    if not margin > 1e-9 * max(abs(low), abs(high)):
        margin = max(abs(low), abs(high)) / 10 or 1.0
    return low - margin, high + margin


def is_outside(values: Tensor, *limits: Range) -> Tensor:
    """Which rows (N,) or (N, D) have a value that is not within the limits of its column, or no number: (N,)."""
    columns = values.detach().double().cpu().reshape(len(values), -1)
    low, high = torch.tensor(limits, dtype=torch.float64).T
    return ~((columns >= low) & (columns <= high)).all(1)


def aside(count: int, total: int, what: str) -> str:
    """What a title says of values that are not shown; nothing where there are none.

    >>> aside(3, 1000, "rows")
    '3 of 1,000 rows outside'
    """
    return f"{count:,} of {total:,} {what} outside" if count else ""


def share(part: float) -> str:
    """A share in words that never round something to nothing.

    >>> share(0.0001), share(0.25)
    ('under 0.1%', '25.0%')
    """
    return "under 0.1%" if 0 < part < 0.001 else f"{part:.1%}"


def range_of_losses(losses: Iterable[float | None]) -> Range | None:
    """From the lowest loss to the highest that does not flatten all others; None where none is a number.

    A few of the highest, at most a quarter, or the two of one epoch, are left out where the others span less than a
    twentieth of the range.
    """
    kept = sorted(float(each) for each in losses if each is not None and np.isfinite(each))
    if not kept:
        return None
    count = len(kept)
    left = min(max(2, count // 4), count - max(2, (count + 1) // 2))  # how many may be left out yet
    while cut := _cut(kept, left):
        kept, left = kept[:-cut], left - cut
    return kept[0], kept[-1]


def range_of_curves(*curves: Iterable[float | None]) -> Range | None:
    """From the lowest loss of all curves to the highest that does not flatten its own; None where none is a number.

    >>> range_of_curves([1.0, 0.9], [6.1, 6.0])
    (0.9, 6.1)
    """
    found = [shown for shown in map(range_of_losses, curves) if shown is not None]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _cut(ordered: Sequence[float], most: int) -> int:
    """How many of the highest to leave out, the fewest that let the others be seen."""
    low, high = ordered[0], ordered[-1]
    for cut in range(1, most + 1):
        rest = ordered[-1 - cut] - low
        if high - low > SHRINKS * max(rest, 0.01 * abs(low)):
            return cut
    return 0
