"""Rows that are the same, and whether chance makes as many."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from marginflow.data.tables.dependence import functions

MOST_COLUMNS = 64  # that are left out one by one,
MOST_PAIRED = 7  # and two by two
FEW_VALUES = 256  # of every column of a table of cells
OFTEN = 4  # rows a value of a column that settles all others, from which on it repeats by nature
FEW_CELLS = 8  # times that a row is there, from which on it repeats by nature
TIMES, DEVIATIONS = 3.0, 5.0  # that identical pairs must be above what chance makes


class Duplicates(NamedTuple):
    """Which rows are the same."""

    groups: np.ndarray
    """(N,), the number of each row among the different ones."""
    repeats: int
    """How many rows are the same as an earlier one."""
    expected: float
    """How many chance makes, at most."""
    beyond_chance: bool
    """Whether there are more than chance makes, so that they are copies, or one thing seen twice."""


def duplicates(x: np.ndarray) -> Duplicates:
    """The identical rows of a table, and whether chance makes as many.

    What chance makes is told by pairs of rows that are no copies, as they differ in one column alone. By chance there
    are about half as many identical pairs as pairs that differ in a column of numbers by one step. Or they are to the
    pairs that differ in a column as same values are to different ones anywhere. Or, where columns are of few values, to
    pairs that differ in one of two columns as these are to pairs that differ in both. The largest of all estimates
    counts, as dependence makes them small; so do columns that others settle, and these are left out. A table of few
    cells, eight rows each, repeats by nature; of a row that is there more often, eight are counted.

    Args:
        x: (N, D), numbers, NaN where blank.

    Returns:
        The groups of identical rows and their number.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(100, 3))
        >>> found = duplicates(np.concatenate([x, x[:20]]))
        >>> found.repeats, found.beyond_chance, duplicates(rng.integers(3, size=(100, 3))).beyond_chance
        (20, True, False)
    """
    hashes = _hashes(x)
    _, first, groups, sizes = np.unique(hashes.sum(0), return_index=True, return_inverse=True, return_counts=True)
    repeats, expected = len(x) - len(sizes), 0.0
    pairs = _pairs(np.minimum(sizes, FEW_CELLS))
    if repeats == 0 or len(x) > FEW_CELLS * len(sizes):
        return Duplicates(groups, repeats, float(repeats), beyond_chance=False)
    for free in (_all_columns, _without_functions):  # what others settle does not differ alone
        kept = free(x[first])
        expected = _expected_pairs(x[:, kept], hashes[kept], _pairs(sizes))
        if pairs < TIMES * expected or pairs - expected < DEVIATIONS * np.sqrt(expected + 1):
            return Duplicates(groups, repeats, min(expected / pairs, 1.0) * repeats, beyond_chance=False)
    return Duplicates(groups, repeats, expected / pairs * repeats, beyond_chance=True)


def _all_columns(x: np.ndarray) -> list[int]:
    return list(range(x.shape[1]))


def _without_functions(x: np.ndarray) -> list[int]:
    settled = {function.column for function in functions(x)}
    return [j for j in range(x.shape[1]) if j not in settled]


def _hashes(x: np.ndarray) -> np.ndarray:
    """A number for each value, (D, N), uint64; rows are the same where the sums of theirs are."""
    values = np.where(np.isnan(x), np.nan, x + 0.0).T  # one NaN, one zero
    mixed = (
        np.ascontiguousarray(values).view(np.uint64) ^ _mixed(np.arange(1, len(values) + 1, dtype=np.uint64))[:, None]
    )
    return _mixed(mixed)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Steele and others' SplitMix64: every bit depends on every other."""
    numbers = numbers * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _pairs(sizes: np.ndarray) -> float:
    """How many pairs there are within groups of these sizes."""
    return float((sizes * (sizes - 1.0)).sum() / 2)


def _alike(keys: np.ndarray) -> float:
    return _pairs(np.unique(keys, return_counts=True)[1])


def _expected_pairs(x: np.ndarray, hashes: np.ndarray, identical: float) -> float:
    """How many identical pairs chance makes, at most."""
    num_columns, num_rows = hashes.shape
    whole, columns = hashes.sum(0), np.arange(num_columns)
    if num_columns > MOST_COLUMNS:
        columns = np.sort(np.random.default_rng(0).choice(columns, MOST_COLUMNS, replace=False))
    estimates, alone, few = [0.0], dict[int, float](), True
    for j in columns.tolist():
        rest = whole - hashes[j]
        alone[j] = _alike(rest) - identical
        values, counts = np.unique(x[:, j], return_counts=True)
        few &= len(values) <= FEW_VALUES
        if _pairs(counts) == identical:  # it settles all others
            often = len(values) == 1 or num_rows >= OFTEN * len(values)
            estimates.append(identical if often else _at_least_distance(values, counts) / 2)
        if alone[j] > 0:
            same = _alike(hashes[j]) / (num_rows * (num_rows - 1) / 2)
            estimates += [alone[j] * same / max(1 - same, 1e-12), _one_step_apart(rest, x[:, j]) / 2]
    largest = sorted((j for j in alone if alone[j] > 0), key=lambda j: -alone[j])[:MOST_PAIRED]
    for j, k in combinations(largest, 2) if few else ():
        both = _alike(whole - hashes[j] - hashes[k]) - identical - alone[j] - alone[k]
        estimates.append(alone[j] * alone[k] / max(both, 1.0))
    return max(estimates)


def _at_least_distance(values: np.ndarray, counts: np.ndarray) -> float:
    """How many pairs are of neighbouring values that are nearest, as all are on a grid."""
    known = ~np.isnan(values)
    gaps = np.diff(values[known])
    nearest = gaps <= gaps.min(initial=np.inf) * (1 + 1e-6)
    beside = counts[known].astype(np.float64)
    return float((beside[1:] * beside[:-1])[nearest].sum())


def _one_step_apart(keys: np.ndarray, values: np.ndarray) -> float:
    """How many pairs with the same key hold neighbouring values of a column."""
    ranks = np.unique(values, return_inverse=True)[1]
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    starts = np.flatnonzero((np.diff(keys) != 0) | (np.diff(ranks) != 0)) + 1
    starts = np.concatenate([[0], starts])
    sizes = np.diff(starts, append=len(keys)).astype(np.float64)
    beside = (np.diff(keys[starts]) == 0) & (np.diff(ranks[starts]) == 1)
    return float((sizes[1:] * sizes[:-1])[beside].sum())
