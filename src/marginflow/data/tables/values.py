"""A column of any file as its different values, and which of them each row has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from marginflow.data.tables.cells import pc
from marginflow.data.tables.types import TextType, of_units, value_type

Family = Literal["whole", "number", "truth", "text", "date", "timestamp", "time", "duration", "nested"]
TEMPORAL = ("date", "timestamp", "time", "duration")
NANOSECONDS = {"day": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True)
class Misfit:
    """The cells that are not what the others of a column are.

    Args:
        row: the number of the first, counted from 0.
        text: that it holds.
        rows: the numbers of all.
        expected: how a cell that fits is written, as a preposition and what follows; "" where that needs no word.
    """

    row: int
    text: str
    rows: np.ndarray
    expected: str = ""

    @property
    def count(self) -> int:
        """Of such cells."""
        return len(self.rows)


@dataclass(frozen=True)
class Values:
    """A column as its different values.

    Args:
        family: what they are.
        type: of the column, as a schema keeps it.
        distinct: the different values, none missing: int64, of dates and times in the type's own unit; float64; truth
            values; text.
        codes: the place of each row's value among them, (N,); -1 where it is blank.
        unit: of dates and times, in nanoseconds.
        first: the number of its first row in the file.
        blanks: texts that are taken for missing values, and stand for them in some files only.
        readings: the formats of text that holds dates, of which day and month cannot be told apart.
        misfit: what is none of the family; such cells are blank here.
    """

    family: Family
    type: str
    distinct: Any
    codes: np.ndarray
    unit: int = 0
    blanks: tuple[str, ...] = ()
    misfit: Misfit | None = None
    readings: tuple[str, ...] = ()
    first: int = 0

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each of the different values stands there."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.distinct))

    @property
    def is_text(self) -> bool:
        """Whether its cells are text, whatever that stands for."""
        return self.family == "text" or TextType.of(self.type) is not None

    @property
    def num_blank(self) -> int:
        """How many rows have no value."""
        return int((self.codes < 0).sum())

    @cached_property
    def array(self) -> np.ndarray:
        """The different values of numbers, dates and times, as numpy has them."""
        return self.distinct.to_numpy(zero_copy_only=False)

    def labels(self) -> pa.Array:
        """The different values as text, alike in every format: 1 for 1.0, true for TRUE."""
        if self.family == "text":
            return self.distinct
        if self.family == "truth":
            return pc.if_else(self.distinct, "true", "false")
        if self.family in TEMPORAL:
            kind = value_type(self.type)
            return (self.distinct if self.family == "duration" else of_units(self.distinct, kind)).cast(pa.string())
        if self.family == "number" and np.array_equal(self.array, np.rint(self.array)) and self.is_small:
            return self.distinct.cast(pa.int64()).cast(pa.string())
        return self.distinct.cast(pa.string())

    @property
    def is_small(self) -> bool:
        """Whether its numbers are small enough for float64 to tell whole ones apart."""
        return bool((np.abs(self.array) <= 2.0**53).all())

    def row_of(self, wrong: np.ndarray) -> int:
        """The first of these rows with one of the different values that are wrong."""
        return int(np.flatnonzero(np.append(wrong, False)[self.codes])[0])

    def from_row(self, first: int) -> Values:
        """The same, of a chunk of a file that begins at this row."""
        return replace(self, first=first)


def of_arrow(column: Any) -> Values:
    """The values of a column of arrow, or of an array.

    Args:
        column: such as files other than text hold.

    Returns:
        The `Values`.

    Examples:
        >>> found = of_arrow(np.float32([0.1, np.nan, 2.0, 0.1]))
        >>> found.family, found.type, found.array, found.codes
        ('number', 'float', array([0.1, 2. ]), array([ 0, -1,  1,  0], dtype=int32))
    """
    if isinstance(column, np.ndarray):
        column = pa.array(column.astype(column.dtype.newbyteorder("=")))
    return _of_arrow(pa.chunked_array([column]) if isinstance(column, pa.Array) else column)


def different(column: Any) -> tuple[Any, np.ndarray]:
    """The different values that are not missing, and the place of each row's among them."""
    distinct = pc.unique(column).drop_null()
    codes = pc.fill_null(pc.index_in(column, distinct), -1).to_numpy()
    return distinct, codes


def merged(values: Any, codes: np.ndarray) -> tuple[Any, np.ndarray]:
    """The same where values that were different have become one, or missing."""
    distinct = pc.unique(values).drop_null()
    places = pc.fill_null(pc.index_in(values, distinct), -1).to_numpy()
    return distinct, np.append(places, -1).astype(np.int32)[codes]


def _of_arrow(column: Any) -> Values:
    kind, written = column.type, str(column.type)
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if str(kind) in ("string_view", "binary_view"):  # which arrow cannot search
        column = column.cast(pa.string() if str(kind) == "string_view" else pa.binary())
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            column, kind = column.cast(pa.string()), pa.string()
        except pa.ArrowInvalid:
            pass
    family = _family(kind)
    if family == "nested":
        codes = np.where(pc.is_null(column).to_numpy(), -1, 0).astype(np.int32)
        return Values("nested", written, pa.array([str(kind)]), codes)
    distinct, codes = different(column.cast(pa.float32()) if pa.types.is_float16(kind) else column)
    if family == "text":
        return Values(family, written, *merged(*_without_blanks(distinct.cast(pa.string()), codes)))
    if family == "truth":
        return Values(family, written, distinct, codes)
    if family == "number":
        return Values(family, written, *merged(_as_float64(distinct), codes))
    if pa.types.is_uint64(kind) and len(distinct) and pc.max(distinct).as_py() >= 2**63:
        return Values("number", written, *merged(distinct.cast(pa.float64(), safe=False), codes))
    whole = distinct.cast(pa.int32()) if pa.types.is_date32(kind) or pa.types.is_time32(kind) else distinct
    unit = NANOSECONDS[getattr(kind, "unit", "ms" if pa.types.is_date64(kind) else "day")] if family != "whole" else 0
    return Values(family, written, whole.cast(pa.int64()), codes, unit)


def _family(kind: pa.DataType) -> Family:
    is_a = pa.types
    if is_a.is_integer(kind):
        return "whole"
    if is_a.is_floating(kind) or is_a.is_decimal(kind):
        return "number"
    if is_a.is_boolean(kind) or is_a.is_null(kind):
        return "truth" if is_a.is_boolean(kind) else "text"
    if is_a.is_string(kind) or is_a.is_large_string(kind) or str(kind) == "string_view":
        return "text"
    if is_a.is_date(kind):
        return "date"
    if is_a.is_timestamp(kind):
        return "timestamp"
    if is_a.is_time(kind):
        return "time"
    return "duration" if is_a.is_duration(kind) else "nested"


def _without_blanks(distinct: Any, codes: np.ndarray) -> tuple[Any, np.ndarray]:
    """Text that a data frame holds in place of nothing is missing, too."""
    gone = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(distinct)), 0)
    return pc.if_else(gone, pa.scalar(None, distinct.type), distinct), codes


def _as_float64(distinct: Any) -> Any:
    """The float64 that is written like each number: 0.1, not the float32 nearest to it."""
    if not pa.types.is_float64(distinct.type):
        distinct = distinct.cast(pa.string()).cast(pa.float64())
    found = distinct.to_numpy(zero_copy_only=False) + 0.0  # of 0.0 and -0.0 the first
    return pa.array(found, from_pandas=True)  # NaN is missing
