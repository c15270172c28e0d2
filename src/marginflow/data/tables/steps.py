"""The grid of a column: the steps that its values, or its user, ask for."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

from marginflow.data.grid import Grid, grid_of
from marginflow.data.schema import Kind
from marginflow.data.tables.values import NANOSECONDS, Values

EXACT = 2**53  # whole numbers below it are told apart in float64
EVIDENCE = 10  # bits by which chance must be ruled out before a step wider than the least is believed
_SECOND = NANOSECONDS["s"]
_TIMES = (1, 10**3, 10**6, _SECOND, 60 * _SECOND, 300 * _SECOND, 900 * _SECOND, 1800 * _SECOND, 3600 * _SECOND,
          86_400 * _SECOND, 7 * 86_400 * _SECOND)  # fmt: skip


def is_whole(values: Values) -> bool:
    """Whether numbers are whole, and told apart as such."""
    if values.family != "number":
        return values.family in ("whole", "truth")
    return (
        bool(np.isfinite(values.array).all())
        and values.is_small
        and np.array_equal(values.array, np.rint(values.array))
    )


def grid_for(values: Values, kind: Kind) -> Grid | None:
    """The grid on which all values of a column lie; None where there is none of few enough digits.

    A step wider than the least, such as 50, is taken where chance would hardly have kept to it.

    Args:
        values: of numbers, dates or times, at least one.
        kind: on a grid.

    Returns:
        The grid. Steps are counted from 0, of dates and times from the first.

    Examples:
        >>> from marginflow.data.tables.values import of_arrow
        >>> grid_for(of_arrow(np.arange(20) * 50), "integer"), grid_for(of_arrow(np.array([0, 50])), "integer")
        (Grid(step=50, origin=0, digits=0), Grid(step=1, origin=0, digits=0))
    """
    if values.family in NANOSECONDS or values.unit:
        return _of_times(values, kind)
    numbers = values.array.astype(np.int64) if kind == "integer" else values.array
    found = grid_of(numbers, 15 if kind == "decimal" else 6)
    if found is None:
        return None
    if found.step > 1 and (len(numbers) - 1) * math.log2(found.step) < EVIDENCE:
        found = Grid(1, 0, found.digits)
    return _near(found, numbers) if kind == "integer" else found


def digits_of(values: Values) -> int | None:
    """The decimals with which a file writes real numbers; None where they have more than six.

    >>> from marginflow.data.tables.values import of_arrow
    >>> digits_of(of_arrow(np.array([1.25, 3.5]))), digits_of(of_arrow(np.array([0.1234567, 1.0])))
    (2, None)
    """
    if values.family not in ("whole", "number") or not np.isfinite(values.array).all():
        return None
    found = grid_of(values.array, 6)
    return None if found is None else found.digits


def _near(grid: Grid, numbers: np.ndarray) -> Grid:
    """The same counted from the least of whole numbers, where they are too large to be told apart otherwise."""
    least, most = int(numbers.min()), int(numbers.max())
    return grid if max(abs(least), abs(most)) < EXACT else Grid(grid.step, least)


def _of_times(values: Values, kind: Kind) -> Grid:
    units, unit = values.array, values.unit
    common = int(np.gcd.reduce(units - units[0]))
    least = max(1, NANOSECONDS["day"] // unit) if kind == "date" else 1
    steps = [
        each // unit for each in _TIMES if each % unit == 0 and each // unit >= least and common % (each // unit) == 0
    ]
    believed = [each for each in steps if (len(units) - 1) * math.log2(each / least) >= EVIDENCE]
    return Grid(max(believed, default=least), int(units.min()))


def grid_of_step(step: float, values: Values, kind: Kind) -> Grid | str:
    """The grid of a step that is asked for, through the first of the values; or what is wrong with it.

    Args:
        step: in the numbers of the file; of dates in days, of times in seconds.
        values: of the column.
        kind: on a grid.
    """
    if values.unit:
        units = Decimal(str(step)) * NANOSECONDS["day" if kind == "date" else "s"] / values.unit
        if units != int(units):
            return f"step = {step} is no whole number of the units of {values.type}"
        return Grid(int(units), int(values.array.min()))
    exact = Decimal(str(step)).normalize()
    digits = max(0, -int(exact.as_tuple().exponent))
    if digits > 15 or (kind == "integer" and digits):
        return f"step = {step} {'has more than 15 digits' if digits > 15 else 'is no whole number'}"
    whole = int(exact * 10**digits)
    first = (
        round(float(values.array[0]) * 10**digits) if values.family == "number" else int(values.array[0]) * 10**digits
    )
    return Grid(whole, first % whole, digits)
