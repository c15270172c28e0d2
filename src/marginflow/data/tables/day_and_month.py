"""Files that write the dates of a column with day and month in the other order than the model's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.base.data_warning import DataWarning
from marginflow.base.literal import literal
from marginflow.data.schema import Schema
from marginflow.data.tables.cells import Texts, pc
from marginflow.data.tables.dates import Form
from marginflow.data.tables.types import TextType


@dataclass
class _Count:
    """How many cells fit the model's form alone, the other alone, and both; and one that fits the other alone."""

    own: int = 0
    other: int = 0
    both: int = 0
    example: str = ""


class DayAndMonth:
    """Counts in which order a file writes day and month, chunk after chunk, and warns where it is not the model's.

    One cell, such as 03/04/2024, does not tell; many do: where some fit the other order only and none fits the model's
    only, those that fit both are read with day and month exchanged.

    Args:
        schema: of the model.
    """

    def __init__(self, schema: Schema | None) -> None:
        types = {} if schema is None else {column.name: TextType.of(column.type) for column in schema.columns}
        forms = {name: Form(each.form) for name, each in types.items() if each is not None and each.form}
        self._forms = {name: form for name, form in forms.items() if {"d", "m"} <= {*form.tokens}}
        self._forms = {name: form for name, form in self._forms.items() if form.tokens[0] != "Y"}
        self._counts = {name: _Count() for name in self._forms}

    def count(self, columns: Mapping[str, Any]) -> None:
        """Count the cells of a chunk."""
        for name in self._forms.keys() & columns.keys():
            cells = columns[name].cells if isinstance(columns[name], Texts) else columns[name]
            kind = getattr(cells, "type", None)
            if kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                _add(self._counts[name], self._forms[name], cells)

    def warn(self, path: Path, stacklevel: int = 2) -> None:
        """Warn of each column that is written in the other order."""
        for name, found in self._counts.items():
            if found.other and not found.own:
                message = _in_words(name, self._forms[name], found)
                warnings.warn(DataWarning(f"{path}: {message}"), stacklevel=stacklevel)


@contextmanager
def telling(schema: Schema | None, path: Path, stacklevel: int = 2) -> Iterator[DayAndMonth]:
    """Gives what counts the chunks of a file, and warns in the end, also where a chunk could not be read."""
    order = DayAndMonth(schema)
    try:
        yield order
    finally:
        order.warn(path, stacklevel + 2)


def _add(count: _Count, form: Form, cells: Any) -> None:
    found = pc.value_counts(pc.utf8_trim_whitespace(cells.cast(pa.string())).drop_null())
    texts, rows = found.field("values"), found.field("counts").to_numpy()
    own, other = (~np.isnan(each.read(texts)) for each in (form, form.other_order))
    count.own += int(rows[own & ~other].sum())
    count.other += int(rows[other & ~own].sum())
    count.both += int(rows[other & own].sum())
    if not count.example and (other & ~own).any():
        count.example = texts[int((other & ~own).argmax())].as_py()


def _in_words(name: str, form: Form, found: _Count) -> str:
    shown, own, other = literal(repr(name)), *(_plain(each) for each in (form, form.other_order))
    exchanged = f", and day and month are exchanged in {_cells(found.both)} that can be either" if found.both else ""
    return (
        f"column {shown} seems to hold dates as {other}, where the model has {own}: {_cells(found.other)}, such as "
        f"{found.example!r}, can only be {other}, none can only be {own}{exchanged}; write them as 2024-04-24, in "
        f"pandas table[{shown}] = pd.to_datetime(table[{shown}], format={other!r})"
    )


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"


def _plain(form: Form) -> str:
    """A form as strftime has it everywhere."""
    return re.sub(r"%[-0-9]", "%", form.text)
