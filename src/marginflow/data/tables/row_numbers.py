"""Columns that number or name the rows, as libraries of data frames write them: they are no data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.data.tables.cells import MISSING, Texts, pc

# names that libraries give: "" and "Unnamed: 0" pandas and R in .csv, __index_level_0__ pandas in .parquet, ...1 readr,
_OF_LIBRARIES = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__|\.\.\.\d+")
# and those that a column of row numbers is given, or keeps from a row index
_OF_PEOPLE = re.compile(
    r"(index|level_\d+|X(\.\d+)?|V1|row[ ._]?(names?|num(ber)?s?|nr|no|id|index)?|rn|obs|_c0|#)", re.I
)
_OF_ROWS = re.compile(r"(.*[ _.-])?(id|nr|no|key|case|number|num)|[A-Za-z]+I[dD]", re.I)  # that may count rows, or not
LARGEST_NOTE = 2**24  # characters of what pandas writes of a table


def row_numbers(content: Mapping[str, Any], index: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The names of columns that are no data, each with what it is.

    A column is one by its name and its values: the name is that of a library, and the values are all different whole
    numbers or text; or the name is a usual one, and the values count the rows.

    Args:
        content: the columns by name.
        index: the names of those that pandas says are its index.

    Yields:
        Pairs of name and description.
    """
    for i, (name, column) in enumerate(content.items()):
        if name in index:
            yield name, "the index of a pandas data frame"
        elif _OF_LIBRARIES.fullmatch(name):
            if _is_empty(column):
                yield name, "a column without name and values"
            elif _names_rows(column, first=i == 0 or name.startswith("__")):
                yield name, "row numbers or names"
        elif _OF_PEOPLE.fullmatch(name) and _counts(column):
            yield name, "row numbers"


def counters(content: Mapping[str, Any]) -> Iterator[str]:
    """The names of columns that may be meant, and count the rows."""
    return (name for name, column in content.items() if _OF_ROWS.fullmatch(name) and _counts(column))


def may_count_rows(name: str) -> bool:
    """Whether a column of this name may number the rows, where its values are all different."""
    return bool(_OF_LIBRARIES.fullmatch(name) or _OF_PEOPLE.fullmatch(name) or _OF_ROWS.fullmatch(name))


def is_no_data(name: str) -> bool:
    """Whether a column of this name may be left out without a word, where a model does not know it."""
    return bool(_OF_LIBRARIES.fullmatch(name))


def pandas_index(schema: pa.Schema) -> tuple[str, ...]:
    """The columns that pandas notes as the index of its data frame."""
    note = (schema.metadata or {}).get(b"pandas", b"")
    if len(note) > LARGEST_NOTE:
        return ()
    try:
        columns = json.loads(note or b"{}")["index_columns"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(each for each in columns if isinstance(each, str)) if isinstance(columns, list) else ()


def _is_empty(column: Any) -> bool:
    if isinstance(column, Texts):
        return bool(pc.all(pc.is_in(pc.utf8_trim_whitespace(column.cells), pa.array(MISSING))).as_py())
    return not isinstance(column, np.ndarray) and column.null_count == len(column)


def _whole(column: Any) -> np.ndarray | None:
    """The values of a column where they are whole numbers, none of them missing."""
    if isinstance(column, Texts):
        cells = pc.utf8_trim_whitespace(column.cells)
        if not pc.all(pc.match_substring_regex(cells, r"^\d{1,18}$")).as_py():
            return None
        return cells.cast(pa.int64()).to_numpy()
    if isinstance(column, np.ndarray):
        values = column
    elif pa.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy()
    elif pa.types.is_floating(column.type) and not column.null_count:
        values = column.to_numpy()
    else:
        return None
    with np.errstate(invalid="ignore"):
        return values if np.array_equal(values, np.floor(values)) else None


def _counts(column: Any) -> bool:
    """Whether the values are 0, 1, 2, ... or 1, 2, 3, ..."""
    whole = _whole(column)
    return whole is not None and len(whole) > 1 and whole[0] in (0, 1) and bool((np.diff(whole) == 1).all())


def _names_rows(column: Any, *, first: bool) -> bool:
    """Whether the values are whole numbers or text, each once."""
    whole = _whole(column)
    if whole is not None:
        return len(np.unique(whole)) == len(whole)
    if not first or isinstance(column, np.ndarray):
        return False
    if isinstance(column, Texts):
        cells = pc.utf8_trim_whitespace(column.cells)
        text = not pc.any(pc.match_substring_regex(cells, r"^[+-]?[\d.,]+(?:[eE][+-]?\d+)?$")).as_py()
    else:
        cells, text = column, pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return text and pc.count_distinct(cells).as_py() == len(cells)
