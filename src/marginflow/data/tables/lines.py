"""The rows of a table as the lines of a text table, with quotation marks only where they are needed."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from marginflow.data.tables.cells import pc

_WIDE = pa.large_string()  # a chunk of lines may be long
_TEXT = partial(pa.scalar, type=_WIDE)


def lines(table: pa.Table, delimiter: str) -> memoryview:
    """A line a row; what is missing is empty.

    Args:
        table: of numbers, dates and text.
        delimiter: between cells.

    Returns:
        UTF-8, each line with its end.

    Examples:
        >>> table = pa.table({"size": ["S", "5,5", None], "price": [1.5, None, 2.0]})
        >>> print(bytes(lines(table, ",")).decode(), end="")
        S,1.5
        "5,5",
        ,2
    """
    texts = [_is_text(kind) for kind in table.schema.types]
    if not any(texts) and len(texts) > 1:  # nothing to quote
        sink = pa.BufferOutputStream()
        csv.write_csv(table, sink, csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none"))
        return memoryview(sink.getvalue())
    structural = f'[{re.escape(delimiter)}"\r\n]|^$'  # an empty text is not missing
    missing = _TEXT("" if len(texts) > 1 else '""')  # an empty line would be no row
    cells = [
        pc.fill_null(_quoted(text, structural) if is_text else text, missing)
        for is_text, text in zip(texts, (column.combine_chunks().cast(_WIDE) for column in table.columns), strict=True)
    ]
    ended = pc.binary_join_element_wise(pc.binary_join_element_wise(*cells, _TEXT(delimiter)), _TEXT(""), _TEXT("\n"))
    _, offsets, text = ended.buffers()
    return memoryview(text)[: int(np.frombuffer(offsets, np.int64)[len(ended)])]


def _is_text(kind: pa.DataType) -> bool:
    value: Any = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(value) or pa.types.is_large_string(value) or str(value) == "string_view"


def _quoted(text: Any, structural: str) -> Any:
    """Text in quotation marks where something in it has a meaning of its own in a table."""
    mark = _TEXT('"')
    wrapped = pc.binary_join_element_wise(mark, pc.replace_substring(text, '"', '""'), mark, _TEXT(""))
    return pc.if_else(pc.match_substring_regex(text, structural), wrapped, text)
