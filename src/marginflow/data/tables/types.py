"""The types of a file's columns as text that a schema keeps, and from which they are made anew."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

_PARAMETRISED = {
    r"timestamp\[(s|ms|us|ns)\]": lambda found: pa.timestamp(found[1]),
    r"timestamp\[(s|ms|us|ns), tz=(.+)\]": lambda found: pa.timestamp(found[1], found[2]),
    r"(time32|time64|duration)\[(s|ms|us|ns)\]": lambda found: getattr(pa, found[1])(found[2]),
    r"date32\[day\]": lambda found: pa.date32(),
    r"date64\[ms\]": lambda found: pa.date64(),
    r"decimal(32|64|128|256)\((\d+), (-?\d+)\)": lambda found: getattr(pa, f"decimal{found[1]}")(
        int(found[2]), int(found[3])
    ),
    r"fixed_size_binary\[(\d+)\]": lambda found: pa.binary(int(found[1])),
    r"dictionary<values=(.+), indices=(.+), ordered=([01])>": lambda found: pa.dictionary(
        type_of(found[2]), type_of(found[1]), found[3] == "1"
    ),
}


def type_of(text: str) -> pa.DataType:
    """The arrow type that writes itself so; ValueError where it is none that a column of data has.

    >>> type_of("timestamp[us, tz=UTC]"), type_of("dictionary<values=string, indices=int8, ordered=1>").ordered
    (TimestampType(timestamp[us, tz=UTC]), True)
    """
    for pattern, make in _PARAMETRISED.items():
        found = re.fullmatch(pattern, text)
        if found:
            return make(found)
    return pa.type_for_alias(text)


_CELLS = "text|string|large_string|string_view"


@dataclass(frozen=True)
class TextType:
    """What text stands for, and how it is written.

    Args:
        value: what it stands for, as arrow writes its type.
        form: of dates and times as of `dates.Form`; of numbers as %.2f or %05d, where all are written so, or
            %r where all have a point, as 2.0 has; of truth
            values the words for false and true, with a bar between; "" where nothing is to be said.
        decimal: the mark between whole and fraction.
        thousands: the mark between groups of three digits; "" where there are none.
        cells: "text" in a text table, else the type of the column of text.

    Examples:
        >>> text = str(TextType("double", "%.2f", ",", "."))
        >>> text, TextType.of(text).thousands, TextType.of("double")
        ("text double %.2f decimal=',' thousands='.'", '.', None)
    """

    value: str
    form: str = ""
    decimal: str = "."
    thousands: str = ""
    cells: str = "text"

    def __str__(self) -> str:
        form = f" {self.form}" if self.form else ""
        decimal = f" decimal='{self.decimal}'" if self.decimal != "." else ""
        thousands = f" thousands='{self.thousands}'" if self.thousands else ""
        return f"{self.cells} {self.value}{form}{decimal}{thousands}"

    @classmethod
    def of(cls, text: str) -> TextType | None:
        """What `str` wrote; None for the type of a column that is no text."""
        pattern = rf"({_CELLS}) (\S+)(?: (.*?))??(?: decimal='(.)')?(?: thousands='(.)')?"
        found = re.fullmatch(pattern, text, re.DOTALL)
        return cls(found[2], found[3] or "", found[4] or ".", found[5] or "", found[1]) if found else None


def value_type(text: str) -> pa.DataType:
    """The arrow type of the values of a column, of text what it stands for, of a dictionary what it holds."""
    written = TextType.of(text)
    kind = type_of(text if written is None else written.value)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def of_units(units: pa.Array, kind: pa.DataType) -> pa.Array:
    """Dates and times from whole numbers of their unit.

    >>> of_units(pa.array([19723]), pa.date32()).to_pylist()
    [datetime.date(2024, 1, 1)]
    """
    narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    return units.cast(pa.int32() if narrow else pa.int64()).cast(kind)
