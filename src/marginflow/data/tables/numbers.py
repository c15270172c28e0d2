"""A column of any kind as numbers, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.data.tables.cells import MISSING, Texts, first_of, grouping_of, numbers, pc, what_is

COUNTED = " (counted from 0)"  # in which way a row's number is meant
LARGEST, SMALLEST = 1e150, 1e-150  # of values: their squares, of which deviations are made, are numbers in float64
LARGEST_SINGLE = 1e38  # of those in float32


@dataclass(frozen=True)
class Problem:
    """What is wrong with a column.

    Attributes:
        column: its name.
        what: a verb and what follows, such as "holds text, 'b' in row 0 (counted from 0)".
        classes: how many classes it may name, 0 where it names none.
        option: the option of reading that mends it, and its value; None where there is none.
    """

    column: str
    what: str
    classes: int = 0
    option: tuple[str, str] | None = None


def as_numbers(column: Any, name: str, first: int) -> np.ndarray | Problem:
    """A column as numbers, in float32 or float64; or what is wrong with it.

    first: the number of its first row in the file.
    """
    if isinstance(column, Texts):
        return _of_texts(column, name, first)
    if isinstance(column, np.ndarray):
        return _within_bounds(column, name, first)
    return _of_arrow(column, name, first)


def _of_texts(column: Texts, name: str, first: int) -> np.ndarray | Problem:
    found, wrong = numbers(column)
    if wrong is not None:
        if pc.sum(wrong).as_py() == len(found) - pc.sum(_none(column)).as_py():
            counted = ""  # all of them
        else:
            counted = f", {_count(pc.sum(wrong).as_py(), len(found), first)}"
        row = first_of(wrong)
        text = column.cells[row].as_py().strip()
        kind = what_is(text, column.decimal)
        option = None
        if kind == "numbers with a decimal comma":
            option = ("decimal", ",")
        elif kind == "numbers with marks between thousands" and (mark := grouping_of(text)):
            option = ("thousands", mark)
        shown = repr(text if len(text) <= 60 else f"{text[:60]}...")
        what = f"holds {kind}, {shown} in row {first + row}{COUNTED}{counted}"
        return Problem(name, what, _classes(column.cells) if kind == "text" else 0, option)
    if found.null_count:
        return _missing(found, name, first)
    return _within_bounds(found.to_numpy(), name, first)


def _none(column: Texts) -> Any:
    """Which cells are empty."""
    return pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column.cells)), 0)


def _of_arrow(column: Any, name: str, first: int) -> np.ndarray | Problem:
    """Of what a file of typed columns holds: dictionaries as what they stand for."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if column.null_count == len(column):
        return Problem(name, "has no values")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return _no_numbers(column, name, first)
    if column.null_count:
        return _missing(column, name, first)
    if pa.types.is_floating(kind):
        return _within_bounds(column.to_numpy(), name, first)
    whole = column.cast(pa.float64(), safe=False).to_numpy()  # whole numbers beyond 2^53 are rounded
    return _within_bounds(whole, name, first)


def _no_numbers(column: Any, name: str, first: int) -> Problem:
    """What a column holds whose kind is none of numbers."""
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return Problem(name, f"holds {kind}, not numbers")
    _, wrong = numbers(Texts(column.cast(pa.string())))
    if wrong is None:
        return Problem(name, "holds numbers stored as text: convert it", _classes(column))
    row = first_of(wrong)
    text = column[row].as_py()
    shown = repr(text if len(text) <= 60 else f"{text[:60]}...")
    return Problem(name, f"holds {what_is(text)}, {shown} in row {first + row}{COUNTED}", _classes(column))


def _classes(cells: pa.ChunkedArray) -> int:
    """How many classes text may name: some different values, each of several rows, and none missing."""
    different = pc.unique(cells)
    if not 1 < len(different) <= min(1000, len(cells) // 2) or different.null_count:
        return 0
    missing = pc.any(pc.is_in(pc.utf8_trim_whitespace(different), pa.array(MISSING))).as_py()
    return 0 if missing else len(different)


def _missing(column: Any, name: str, first: int) -> Problem:
    count = column.null_count
    if count == len(column) and not first:
        return Problem(name, "has no values")
    row = first_of(pc.is_null(column))
    where = f"in row {first + row}{COUNTED}"
    return Problem(name, f"has no value {where}, {count} missing in {_rows(len(column), first)}")


def _within_bounds(column: np.ndarray, name: str, first: int) -> np.ndarray | Problem:
    """The column, where each value is a number of which a density can take the square."""
    column = column.astype(np.float32) if column.dtype == np.float16 else column
    with np.errstate(invalid="ignore"):
        broken = ~(np.abs(column) < (LARGEST_SINGLE if column.dtype == np.float32 else LARGEST))
    if not broken.any():
        most = float(np.abs(column).max()) if len(column) else 0.0
        if 0 < most < SMALLEST:
            return Problem(name, f"holds {most:g} at most, whose square is 0 in float64 (multiply it)")
        return column
    row = int(broken.argmax())
    where = f"in row {first + row}{COUNTED}"
    rows = _rows(len(column), first)
    if np.isfinite(column[broken]).all():
        many = "s" if broken.sum() > 1 else ""
        count = f"{int(broken.sum())} value{many} too large in {rows}, whose squares are infinite (divide it)"
    else:
        count = f"{int(broken.sum())} missing, infinite or huge values in {rows}"
    return Problem(name, f"holds {column[row]} {where}, {count}")


def _rows(num_rows: int, first: int) -> str:
    return f"the {num_rows} rows" if not first else f"the {num_rows} rows from row {first} on"


def _count(count: int, num_rows: int, first: int) -> str:
    return f"{count} such value{'s' if count > 1 else ''} in {_rows(num_rows, first)}"
