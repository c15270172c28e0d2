"""Columns that are copies or functions of others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

MOST_ROWS = 20_000  # that are looked at before a function is tried on all
FIRST = (64, 1024)  # pairs of rows that most columns fail on
SURE = 25.0  # nats by which chance must not make a function
LEAST_PAIRS = 20  # of rows that agree in one column and must in the other
MOST_PAIRED, MOST_VALUES = 24, 1000  # columns of which two together are tried, and different values of each


class Function(NamedTuple):
    """A column whose value is settled by that of one other or two."""

    column: int
    of: tuple[int, ...]
    both_ways: bool
    """Whether it settles the other as well: a copy, or another code of the same."""


def functions(x: np.ndarray, targets: Sequence[int] | None = None) -> list[Function]:
    """The columns that are functions of others: rows that agree in those agree in them, more often than by chance.

    Of two columns that settle each other the later one is a function of the earlier. A column is named once, with the
    simplest of those that settle it, and not where it settles one of these itself. Columns of numbers that never repeat
    are functions only where they rise or fall with each other throughout.

    Args:
        x: (N, D), numbers, NaN where blank; rows that are the same should be there once.
        targets: columns that are of interest; all by default.

    Returns:
        A function for each such column, in order.

    Examples:
        >>> a = np.random.default_rng(0).integers(12, size=1000)
        >>> functions(np.stack([a, a // 3, -a, a % 2 + 2 * (a > 5)], 1).astype(float))
        [Function(column=1, of=(0,), both_ways=False),
         Function(column=2, of=(0,), both_ways=True),
         Function(column=3, of=(0,), both_ways=False)]
    """
    rows = np.random.default_rng(0).permutation(len(x))[:MOST_ROWS]
    columns = [_Column(x[rows, j]) for j in range(x.shape[1])]
    codes = np.stack([column.codes for column in columns], 1)
    asked = set(range(x.shape[1]) if targets is None else targets)
    found = dict[int, Function]()
    for function in (*_monotone(columns), *_single(columns, codes, x), *_paired(columns, codes, x)):
        settled = [found[each] for each in function.of if each in found]
        roundabout = any(each.both_ways or function.column in each.of for each in settled)
        if function.column in asked and function.column not in found and not roundabout:
            found[function.column] = function
    return [found[column] for column in sorted(found)]


class _Column:
    """Ranks of a column's values, how many there are, and how often two rows have the same."""

    def __init__(self, values: np.ndarray) -> None:
        _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        self.codes, self.num_values = codes.astype(np.int32), len(counts)
        self.same = float(((counts / max(len(values), 1)) ** 2).sum())
        self.is_missing_somewhere = bool(np.isnan(values).any())


def _monotone(columns: list[_Column]) -> Iterator[Function]:
    """Columns of which one rises, or falls, wherever another rises."""
    first = dict[bytes, int]()
    for j, column in enumerate(columns):
        if len(column.codes) < LEAST_PAIRS or column.num_values < 3 or column.is_missing_somewhere:
            continue
        for codes in (column.codes, column.num_values - 1 - column.codes):
            if codes.tobytes() in first:
                yield Function(j, (first[codes.tobytes()],), both_ways=True)
        first.setdefault(column.codes.tobytes(), j)


def _single(columns: list[_Column], codes: np.ndarray, x: np.ndarray) -> Iterator[Function]:
    """Functions of one column; those of fewer values first, as they are simpler."""
    settles = list[tuple[int, int]]()
    for a in sorted(range(len(columns)), key=lambda j: columns[j].num_values):
        pairs = _pairs(columns[a].codes)
        if columns[a].num_values > 1 and len(pairs[0]) >= max(LEAST_PAIRS, len(codes) // 100):
            same = np.array([column.same for column in columns])
            settles += [(a, b) for b in _settled(codes, pairs, same) if b != a and _holds(x, (a,), b)]
    known = set(settles)
    for a, b in settles:
        if (b, a) not in known:
            yield Function(b, (a,), both_ways=False)
        elif a < b:
            yield Function(b, (a,), both_ways=True)


def _paired(columns: list[_Column], codes: np.ndarray, x: np.ndarray) -> Iterator[Function]:
    """Functions of two columns of few values that are none of either."""
    few = [j for j, column in enumerate(columns) if 1 < column.num_values <= MOST_VALUES][:MOST_PAIRED]
    same = {a: _agreement(codes, _pairs(columns[a].codes)) for a in few}
    for a, b in sorted(combinations(few, 2), key=lambda ab: columns[ab[0]].num_values * columns[ab[1]].num_values):
        pairs = _pairs(columns[a].codes.astype(np.int64) * columns[b].num_values + columns[b].codes)
        if len(pairs[0]) < max(LEAST_PAIRS, len(codes) // 100):
            continue
        for c in _settled(codes, pairs, np.maximum(same[a], same[b])):
            if c not in (a, b) and _holds(x, (a, b), c):
                yield Function(c, (a, b), both_ways=False)


def _pairs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows with the same code: each row and the next such."""
    order = np.argsort(codes, kind="stable")
    alike = np.flatnonzero(np.diff(codes[order]) == 0)
    return order[alike], order[alike + 1]


def _agreement(codes: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How often pairs of rows agree in each column, of some of them."""
    some = np.random.default_rng(0).permutation(len(pairs[0]))[: FIRST[-1]]
    return (codes[pairs[0][some]] == codes[pairs[1][some]]).mean(0) if len(some) else np.zeros(codes.shape[1])


def _settled(codes: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], same: np.ndarray) -> list[int]:
    """The columns in which all pairs of rows agree, though they do by chance only as often as `same` says."""
    order = np.random.default_rng(0).permutation(len(pairs[0]))
    some, more, _ = np.split(order, FIRST)  # most columns fail on the first pairs
    left = np.flatnonzero((codes[pairs[0][some]] == codes[pairs[1][some]]).all(0))
    worth = -len(order) * np.log(np.clip(same[left], 1e-300, 1.0))
    left = left[worth >= SURE + 3 * math.log(codes.shape[1])]
    left = left[(codes[np.ix_(pairs[0][more], left)] == codes[np.ix_(pairs[1][more], left)]).all(0)]
    return [b for b in left.tolist() if (codes[pairs[0], b] == codes[pairs[1], b]).all()]


def _holds(x: np.ndarray, of: tuple[int, ...], column: int) -> bool:
    """Whether all rows of the table that agree in some columns agree in another."""
    if len(x) <= MOST_ROWS:
        return True
    order = np.lexsort([x[:, j] for j in of])
    kept = x[order][:, [*of, column]]
    alike = (kept[1:] == kept[:-1]) | (np.isnan(kept[1:]) & np.isnan(kept[:-1]))
    return bool((alike[:, -1] | ~alike[:, :-1].all(1)).all())
