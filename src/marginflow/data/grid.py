"""The grid of a column of whole steps: counts, cents, days."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """The values (origin + step k) / 10^digits of a column, k whole.

    A number of the file is the float64 nearest to it, so that steps and numbers go into each other without rounding.

    Args:
        step: between neighbours, in units of 10^-digits.
        origin: the value of k = 0, in the same units.
        digits: after the decimal point.

    Raises:
        ValueError: where the step is no positive whole number, or there are more digits than float64 holds.

    Examples:
        >>> cents = Grid(5, digits=2)
        >>> cents.values(np.array([1.0, 250.0])), cents.steps(np.array([12.5, 12.51]))
        (array([ 0.05, 12.5 ]), array([250. , 250.2]))
        >>> cents.steps(np.array([12]))
        array([240.])
    """

    step: int = 1
    origin: int = 0
    digits: int = 0

    def __post_init__(self) -> None:
        if self.step < 1 or not 0 <= self.digits <= 15:
            raise ValueError(
                f"a grid needs a step of at least 1 and 0 to 15 digits; got step={self.step}, digits={self.digits}"
            )

    @property
    def size(self) -> float:
        """Between neighbours, in the numbers of the file."""
        return self.step / 10**self.digits

    def steps(self, numbers: np.ndarray) -> np.ndarray:
        """k of numbers of the file, float64; whole where they lie on the grid, NaN where they are.

        Whole numbers of any size come exactly; those of a grid with digits to a thousandth of a step.
        """
        if numbers.dtype.kind in "iu" and not self.digits:
            units = numbers.astype(np.int64) - self.origin
            whole, rest = np.divmod(units, self.step)
            return whole.astype(np.float64) + rest / self.step
        found = (numbers.astype(np.float64) * 10.0**self.digits - self.origin) / self.step
        near = np.rint(found)
        return np.where(np.abs(found - near) <= np.maximum(1e-3 / self.step, 4e-16 * np.abs(near)), near, found)

    def values(self, steps: np.ndarray) -> np.ndarray:
        """The numbers of the file at steps k, float64; NaN where k is."""
        return (self.origin + self.step * steps) / 10.0**self.digits

    def whole_values(self, steps: np.ndarray) -> np.ndarray:
        """The same in units of 10^-digits, int64, exactly; every k must be a whole number."""
        return self.origin + self.step * steps.astype(np.int64)


def grid_of(numbers: np.ndarray, most_digits: int = 6) -> Grid | None:
    """The coarsest grid on which all numbers lie; None where they lie on none of at most `most_digits` digits.

    Args:
        numbers: different values, at least one, none missing.
        most_digits: after the decimal point.

    Returns:
        The grid, its origin the remainder of the numbers by its step.

    Examples:
        >>> grid_of(np.array([0.25, 0.5, 1.75])), grid_of(np.array([1, 8, 15])), grid_of(np.array([0.1, 1 / 3]))
        (Grid(step=25, origin=0, digits=2), Grid(step=7, origin=1, digits=0), None)
    """
    if numbers.dtype.kind in "iu":
        return _of_units(numbers.astype(np.int64), 0)
    if not np.isfinite(numbers).all():
        return None
    for digits in range(most_digits + 1):
        units = numbers * 10.0**digits
        if np.abs(units).max() >= 2**53:
            return None
        whole = np.rint(units)
        if np.array_equal(whole / 10.0**digits, numbers):  # what a reader makes of so many digits
            return _of_units(whole.astype(np.int64), digits)
    return None


def _of_units(units: np.ndarray, digits: int) -> Grid:
    differences = units - units[0]
    step = int(np.gcd.reduce(differences)) if differences.any() else 1
    step = max(abs(step), 1)
    shared = math.gcd(step, int(units[0]), 10**digits)  # 0.50 and 1.00 have one digit
    while digits and shared % 10 == 0:
        digits, step, units, shared = digits - 1, step // 10, units // 10, shared // 10
    return Grid(step, int(units[0]) % step, digits)
