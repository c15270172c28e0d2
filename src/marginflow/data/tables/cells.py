"""Cells of a text table as numbers: what is a number, what stands for a missing one, and what others are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

pc: Any = compute  # its functions are made when it is imported, which type checkers do not see

# what stands for no value anywhere,
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-NaN", "-nan", "NULL",
           "null", "NaT", "-1.#IND", "1.#IND", "-1.#QNAN", "1.#QNAN", "\\N")  # fmt: skip
# and among numbers
MISSING_NUMBERS = (*MISSING, "None", "none", "Null", "-", "--", "?", ".", "..", "*", "Nan", "na", "#VALUE!", "#DIV/0!")
TRUTH = {"true": 1.0, "false": 0.0}
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
_INFINITE = r"[+-]?(?i:inf|infinity)"
_DATE = re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([ T].*)?|[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}([,.' \u00a0\u202f])[0-9]{3}(\1[0-9]{3})*([.,][0-9]+)?")
_AMOUNT = r"[+-]?\s?(?:[0-9][0-9.,]*|\.[0-9]+)"
_MONEY = "[$\u20ac\u00a3\u00a5\u20b9]"
UNIT = re.compile(
    rf"(?:{_MONEY}|[A-Z]{{2,3}} )\s?{_AMOUNT}|[+-]{_MONEY}{_AMOUNT}|{_AMOUNT}\s?(?!(?:st|nd|rd|th)$)"
    rf"(?:[%\u2030]|{_MONEY}|\u00b0[CF]?|[^\W\d_]{{1,5}}(?:/[^\W\d_]{{1,3}})?[23\u00b2\u00b3]?)"
)


@dataclass(frozen=True)
class Texts:
    """A column of a text file as it stands there, and the marks that its numbers use.

    Attributes:
        cells: the text of each cell.
        decimal: between whole and fraction.
        thousands: between groups of three digits; "" where there are none.
    """

    cells: pa.ChunkedArray
    decimal: str = "."
    thousands: str = ""

    def __len__(self) -> int:
        return len(self.cells)


def part_of(column: Any, first: int, count: int) -> Any:
    """Cells of a column that follow on each other: of `Texts`, of an array, or of Arrow."""
    if isinstance(column, Texts):
        return replace(column, cells=column.cells.slice(first, count))
    return column[first : first + count] if isinstance(column, np.ndarray) else column.slice(first, count)


def number(decimal: str = ".", thousands: str = "") -> str:
    """The pattern of a whole cell that is a number."""
    point = re.escape(decimal)
    whole = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+)" if thousands else r"[0-9]+"
    return rf"^(?:[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+){_EXPONENT}|{_INFINITE})$"


def numbers(texts: Texts) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
    """The numbers in cells, float64, none where a value is missing; and which cells are neither, None where none is."""
    cells = pc.utf8_trim_whitespace(texts.cells)
    given = pc.if_else(pc.is_in(cells, pa.array(MISSING_NUMBERS)), pa.scalar(None, pa.string()), cells)
    if texts.decimal == "." and not texts.thousands:
        try:
            return given.cast(pa.float64()), None
        except pa.ArrowInvalid:
            pass
    plain = pc.replace_substring(given, "\u2212", "-")  # the minus of typesetters
    fits = pc.match_substring_regex(plain, number(texts.decimal, texts.thousands))
    plain = pc.if_else(fits, plain, pa.scalar(None, pa.string()))
    if texts.thousands:
        plain = pc.replace_substring(plain, texts.thousands, "")
    if texts.decimal != ".":
        plain = pc.replace_substring(plain, texts.decimal, ".")
    return _with_truth(given, plain.cast(pa.float64()), pc.invert(fits))


def _with_truth(
    given: pa.ChunkedArray, found: pa.ChunkedArray, wrong: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
    """True and false as 1 and 0, where there are no other numbers beside them."""
    wrong = pc.fill_null(wrong, False)
    small = pc.utf8_lower(given)
    truth = pc.fill_null(pc.is_in(small, pa.array(list(TRUTH))), False)
    if pc.any(truth).as_py() and pc.all(pc.is_in(found, pa.array([0.0, 1.0, None])), skip_nulls=True).as_py():
        found = pc.if_else(truth, pc.equal(small, "true").cast(pa.float64()), found)
        wrong = pc.and_(wrong, pc.invert(truth))
    return found, wrong if pc.any(wrong).as_py() else None


def what_is(text: str, decimal: str = ".") -> str:
    """What a cell that is no number holds."""
    text = text.strip()
    if _DATE.fullmatch(text) and not re.fullmatch(r"[0-9]+\.[0-9]+", text):
        return "dates"
    if decimal == "." and re.fullmatch(number(","), text) and not _GROUPED.fullmatch(text):
        return "numbers with a decimal comma"
    if _GROUPED.fullmatch(text):
        return "numbers with marks between thousands"
    if decimal == "," and re.fullmatch(number("."), text):
        return "numbers with a decimal point beside decimal commas"
    if UNIT.fullmatch(text):
        return "numbers with units"
    return "text"


def grouping_of(text: str) -> str | None:
    """The mark between thousands in a cell; None where there is none."""
    found = _GROUPED.fullmatch(text.strip())
    return found[1] if found else None


def first_of(mask: Any) -> int:
    """The place of the first that is true."""
    return pc.index(mask, pa.scalar(True)).as_py()


def typed(texts: Texts) -> pa.ChunkedArray:
    """Cells as whole numbers, numbers, truth values or text, whichever fits all of them."""
    cells = pc.utf8_trim_whitespace(texts.cells)
    given = pc.if_else(pc.is_in(cells, pa.array(MISSING)), pa.scalar(None, pa.string()), cells)
    for kind in _kinds(given):
        try:
            return given.cast(kind)
        except pa.ArrowInvalid:
            continue
    found, wrong = numbers(Texts(given, texts.decimal, texts.thousands))
    return found if wrong is None and found.null_count == given.null_count else given


def _kinds(given: pa.ChunkedArray) -> Iterator[pa.DataType]:
    """As what cells may be tried."""
    if given.null_count == len(given):
        return
    if pc.all(pc.match_substring_regex(given, r"^[+-]?[0-9]+$")).as_py():
        yield pa.int64()
    elif pc.all(pc.is_in(pc.utf8_lower(given), pa.array([*TRUTH, None])), skip_nulls=True).as_py():
        yield pa.bool_()
