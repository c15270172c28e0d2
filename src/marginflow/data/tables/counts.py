"""The different values of a column of numbers, how many rows hold each, and what these weigh."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """Different values, rising, none missing; rows of each; the weight of these rows. Each (n,), float64."""

    values: np.ndarray
    rows: np.ndarray
    weights: np.ndarray

    @property
    def num_rows(self) -> float:
        return float(self.rows.sum())

    def where(self, mask: np.ndarray) -> Counts:
        """Those of some values."""
        return Counts(self.values[mask], self.rows[mask], self.weights[mask])

    def alike(self) -> Counts:
        """The same values, each as if in one row."""
        return Counts(self.values, np.ones_like(self.rows), np.ones_like(self.weights))

    def rows_at(self, values: np.ndarray) -> np.ndarray:
        """How many rows hold each of some values."""
        return _at(self.values, self.rows, values)

    def weights_at(self, values: np.ndarray) -> np.ndarray:
        """What the rows of each of some values weigh."""
        return _at(self.values, self.weights, values)


def counted(values: np.ndarray, weights: np.ndarray) -> Counts:
    """The counts of values (N,), of which NaN and those that weigh nothing are left out.

    Examples:
        >>> counted(np.array([2.0, 1.0, 2.0, np.nan]), np.array([0.5, 1.0, 0.5, 1.0]))
        Counts(values=array([1., 2.]), rows=array([1., 2.]), weights=array([1., 1.]))
    """
    kept = ~np.isnan(values) & (weights > 0)
    values, weights = values[kept] + 0.0, weights[kept]  # -0 is 0
    if len(values) and (weights == weights[0]).all():  # which takes a third of the time
        values = np.sort(values)
    else:
        order = np.argsort(values, kind="stable")
        values, weights = values[order], weights[order]
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    rows = np.diff(starts, append=len(values)).astype(np.float64)
    return Counts(values[starts], rows, np.add.reduceat(weights, starts) if len(values) else weights)


def _at(found: np.ndarray, numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    if not len(found):
        return np.zeros(np.shape(values))
    place = np.searchsorted(found, values).clip(max=len(found) - 1)
    return np.where(found[place] == values, numbers[place], 0.0)
