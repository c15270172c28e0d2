"""What a column is by its values: the kind that a schema gives it, or why it is left out."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from marginflow.base.literal import literal
from marginflow.data.grid import grid_of
from marginflow.data.schema import Kind
from marginflow.data.tables.row_numbers import may_count_rows
from marginflow.data.tables.steps import EXACT, is_whole
from marginflow.data.tables.units import unit_in
from marginflow.data.tables.values import Values

MOST_LEVELS = 1000  # of text, and
ROWS_A_LEVEL = 2  # at least on average; a column with others is left out unless its rare levels are pooled
FEW = 10  # levels may have fewer, in tables of as few rows
FEWEST_ROWS = 20  # by which whole numbers without a gap number the rows
_ALL = 0.9  # of the values are different where they name rows
_WORDS = re.compile(r"\S+\s+\S+\s+\S+")
POINTS_A_ROW = 10  # of a grid, at most, for rows to meet some of them more than once
_SKEWED = 0.5


class Told(NamedTuple):
    """A kind, and why such a column is left out; "" where it is not."""

    kind: Kind
    reason: str = ""


def kind_of(values: Values, name: str = "", *, meant: bool = False) -> Told:
    """The kind of a column by its values.

    Args:
        values: of the column.
        name: of the column.
        meant: whether it is asked for by name, so that whole numbers are numbers even where they seem to count rows.

    Returns:
        The kind and the reason.

    Examples:
        >>> from marginflow.data.tables.text_values import values_of
        >>> kind_of(values_of(np.array([0.25, 0.5, 0.25, 1.75]))), kind_of(values_of(np.array([7, 7])))
        (Told(kind='decimal', reason=''), Told(kind='constant', reason='always 7'))
    """
    num_different = len(values.distinct)
    if not num_different:
        return Told("constant", "no values")
    if values.family == "nested":
        return Told("text", f"holds {values.distinct[0]}, no values that are told apart")
    if num_different == 1 and not values.num_blank:
        return Told("constant", f"always {literal(values.labels()[0])}")
    if num_different == 1:
        return Told("category")
    if values.family == "text":
        return _of_text(values)
    if values.family == "truth":
        return Told("boolean")
    if values.family in ("whole", "number"):
        return _of_numbers(values, name, meant)
    if values.family == "timestamp" and _are_days(values):
        return Told("date")
    return Told(values.family)


def _of_text(values: Values) -> Told:
    num_different, num_given = len(values.distinct), len(values) - values.num_blank
    if num_different <= min(MOST_LEVELS, max(num_given // ROWS_A_LEVEL, FEW)) and num_different < num_given:
        return Told("category")
    counts = f"{num_different:,} different values in {num_given:,} rows"
    if (unit := unit_in(values)) is not None:
        around = literal(repr(unit.text))
        return Told("text", f"numbers with {around} around them in {unit.count:,} of {unit.given:,} cells")
    if values.misfit is not None:
        cells = f"{values.misfit.count:,} such cell{'s' if values.misfit.count > 1 else ''}"
        text = literal(repr(values.misfit.text[:40]))
        return Told("text", f"numbers but for text, {text} in row {values.misfit.row} (counted from 0), {cells}")
    sample = values.distinct[: min(num_different, 1000)].to_pylist()
    sentences = 2 * sum(bool(_WORDS.search(each)) for each in sample) > len(sample)
    if num_different >= _ALL * num_given and not sentences:
        return Told("identifier", f"text, {counts}")
    return Told("text", f"free text, {counts}" if sentences else counts)


def _of_numbers(values: Values, name: str, meant: bool) -> Told:
    numbers = values.array
    if len(numbers) == 2 and set(numbers.tolist()) == {0, 1}:
        return Told("boolean")
    if is_whole(values):
        if not meant and _names_rows(values, name):
            return Told("identifier", "whole numbers, each once")
        return Told("integer") if _is_exact(values) else Told("identifier", "whole numbers of too many digits")
    if _repeats(values):
        return Told("decimal")
    finite = bool(np.isfinite(numbers).all())
    return Told("positive") if finite and numbers.min() > 0 and _is_skewed(values) else Told("real")


def _is_exact(values: Values) -> bool:
    """Whether float64 holds every whole number from the least to the largest, counted from the least."""
    return int(values.array.max()) - int(values.array.min()) < EXACT


def _names_rows(values: Values, name: str) -> bool:
    """Whether whole numbers stand there once each, and are called, or lie, as numbers of rows do."""
    numbers = values.array
    if len(numbers) < max(len(values), 3):
        return False
    return may_count_rows(name) or (
        len(numbers) >= FEWEST_ROWS and int(numbers.max()) - int(numbers.min()) == len(numbers) - 1
    )


def _repeats(values: Values) -> bool:
    """Whether numbers lie on a grid of which they meet points more than once: as cents do, not a rounded real."""
    numbers, num_given = values.array, len(values) - values.num_blank
    if not np.isfinite(numbers).all():
        return False
    declared = values.type.startswith("decimal")
    grid = grid_of(numbers, 15 if declared else 6)
    if grid is None:
        return False
    points = (numbers.max() - numbers.min()) / grid.size
    return points < EXACT and (declared or 2 * len(numbers) < num_given or points < POINTS_A_ROW * num_given)


def _is_skewed(values: Values) -> bool:
    """Whether positive numbers are skewed, and their logarithms less so."""
    weights = values.counts / values.counts.sum()

    def skew(x: np.ndarray) -> float:
        centred = x - weights @ x
        return float(weights @ centred**3 / max(weights @ centred**2, 1e-300) ** 1.5)

    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values.array / values.array.max()
        return skew(scaled) > max(_SKEWED, abs(skew(np.log(scaled))))


def _are_days(values: Values) -> bool:
    """Whether timestamps are all at midnight."""
    return bool((values.array % (86_400 * 10**9 // values.unit) == 0).all())
