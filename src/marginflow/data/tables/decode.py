"""Rows of a schema as a table with the file's own columns, types and spellings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from marginflow.data.grid import Grid
from marginflow.data.schema import LEVELLED, Column, Schema
from marginflow.data.tables.cells import pc
from marginflow.data.tables.spell import spelt
from marginflow.data.tables.steps import EXACT
from marginflow.data.tables.types import TextType, of_units, type_of, value_type
from marginflow.data.tables.values import TEMPORAL


def decoded(x: Tensor | np.ndarray, schema: Schema, *, as_written: bool = False) -> pa.Table:
    """Rows as a table of the file that the schema is of.

    Args:
        x: rows (N, D) of the modelled columns.
        schema: of the rows.
        as_written: whether they are for a text: the columns of a text table are text as it writes them, such as
            31.12.2024 or 1.50, rather than dates and numbers, and times of any zone are in UTC.

    Returns:
        The modelled columns under their names, with the types of the file: labels of levels, dates, decimals with their
        digits, none where a number is NaN. What a type cannot hold becomes the nearest value that it can.

    Examples:
        >>> from marginflow.data.tables.draft import drafted
        >>> columns = {"size": pa.array(["S", "M", "S", "M"]), "price": np.array([1.5, 2.25, 1.5, 1.5])}
        >>> decoded(np.array([[0.0, 225.0]]), drafted(columns)).to_pylist()
        [{'size': 'M', 'price': 2.25}]
    """
    rows = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if rows.ndim != 2 or rows.shape[1] != len(schema.modelled):
        raise ValueError(f"rows of {len(schema.modelled)} columns are needed; got shape {rows.shape}")
    every = [
        _column(np.ascontiguousarray(row, np.float64), each, as_written)
        for row, each in zip(rows.T, schema.modelled, strict=True)
    ]
    return pa.table(every, names=schema.names)


def as_written(value: float, column: Column) -> str:
    """A number of a row as the file writes it.

    >>> as_written(1.0, Column("size", "category", levels=("S", "M")))
    'M'
    """
    alone = Schema((replace(column, given=False, reason="", atoms=(), lower=None, upper=None),))
    found = decoded(np.array([[value]]), alone, as_written=True).column(0)[0].as_py()
    return "" if found is None else str(found)


def _column(row: np.ndarray, column: Column, as_written: bool) -> pa.Array:
    blank = np.isnan(row)
    if column.kind in LEVELLED:
        return _of_levels(row, blank, column, as_written)
    kind, written = value_type(column.type), TextType.of(column.type)
    found = (
        _of_reals(_rounded(row, column), blank, kind)
        if column.grid is None
        else _on_grid(row, blank, column.grid, column, kind)
    )
    if written is not None and (as_written or written.cells != "text"):
        return spelt(found, written)
    return found.cast(_in_text(kind, column.grid)) if as_written and pa.types.is_timestamp(kind) else found


def _in_text(kind: Any, grid: Grid | None) -> pa.DataType:
    """The type of times in a text: in UTC, whose Z any reader knows, and of six digits where no more are needed."""
    is_fine = grid is None or grid.step % 1000 or grid.origin % 1000
    return pa.timestamp("us" if kind.unit == "ns" and not is_fine else kind.unit, kind.tz and "UTC")


def _of_levels(row: np.ndarray, blank: np.ndarray, column: Column, as_written: bool) -> pa.Array:
    codes = pa.array(np.where(blank, 0, row).astype(np.int64), mask=blank)
    written, labels = TextType.of(column.type), pa.array(column.levels)
    if column.pooled and not _is_text(value_type(column.type)):
        labels = pa.array([*column.levels[:-1], None])  # no number stands for the others
    if written is not None:
        values = _cast_labels(labels, type_of(written.value))
        if as_written or written.cells != "text":
            return spelt(values, written).take(codes)
        return values.take(codes)
    kind = type_of(column.type)
    if str(kind) in ("string_view", "binary_view"):  # of which arrow takes no rows
        return labels.take(codes).cast(pa.string() if str(kind) == "string_view" else pa.binary()).cast(kind)
    values = _cast_labels(labels, value_type(column.type))
    if not pa.types.is_dictionary(kind):
        return values.take(codes)
    return pa.DictionaryArray.from_arrays(
        codes.cast(_wide_enough(kind.index_type, len(labels))), values, ordered=kind.ordered
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def _cast_labels(labels: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_duration(kind):
            return of_units(labels.cast(pa.int64()), kind)
        if pa.types.is_time(kind):
            return pc.binary_join_element_wise("1970-01-01", labels, " ").cast(pa.timestamp(kind.unit)).cast(kind)
        return labels.cast(pa.float64()).cast(kind) if pa.types.is_float16(kind) else labels.cast(kind)
    except pa.ArrowInvalid:  # of a schema made by hand, whose type says nothing
        return labels


def _wide_enough(index: pa.DataType, count: int) -> pa.DataType:
    """The type of a dictionary's places, or a wider one where more levels are to be told apart."""
    return index if count <= 2 ** (index.bit_width - 1) else pa.int32()


def _rounded(row: np.ndarray, column: Column) -> np.ndarray:
    """Real numbers with the decimals of the file; what would come to lie on an end without a spike stays inside."""
    if column.digits is None:
        return row
    step = 10.0**-column.digits
    found = np.where(np.abs(row) < EXACT * step, np.round(row, column.digits), row)
    lower = 0.0 if column.kind == "positive" and column.lower is None else column.lower
    for end, inward in ((lower, step), (column.upper, -step)):
        if end is not None and end not in column.atoms:
            found = np.where((found - end) * inward <= 0, np.where((row - end) * inward > 0, end + inward, row), found)
    return found


def _of_reals(row: np.ndarray, blank: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind):
        return _of_units(np.rint(np.where(blank, 0, row) * 10.0**kind.scale), blank, kind)
    found = pa.array(row, mask=blank)
    return found.cast(kind) if pa.types.is_floating(kind) else found  # whole numbers that are modelled as real


def _on_grid(row: np.ndarray, blank: np.ndarray, grid: Grid, column: Column, kind: pa.DataType) -> pa.Array:
    units = grid.whole_values(np.rint(np.where(blank, 0, row)))
    if pa.types.is_decimal(kind):
        return _of_units(units * 10.0 ** (kind.scale - grid.digits), blank, kind)
    if column.kind in TEMPORAL:
        return _of_times(units, blank, kind)
    if pa.types.is_integer(kind) and not grid.digits:
        least, most = np.iinfo(kind.to_pandas_dtype()).min, min(np.iinfo(kind.to_pandas_dtype()).max, 2**63 - 1)
        return pa.array(np.clip(units, least, most), mask=blank).cast(kind)
    if pa.types.is_boolean(kind):
        return pa.array(units > 0, mask=blank)
    found = pa.array(units / 10.0**grid.digits, mask=blank)
    return found.cast(kind) if pa.types.is_floating(kind) else found


def _of_units(units: np.ndarray, blank: np.ndarray, kind: Any) -> pa.Array:
    """Decimals from whole numbers of their last digit."""
    most = 10.0 ** min(kind.precision, 18) - 1
    low = np.clip(np.rint(units), -most, most).astype(np.int64)
    words = np.stack([low, low >> 63], 1)  # the 128 bits of each
    mask = pa.array(~blank).buffers()[1]
    wide = pa.decimal128(38, kind.scale)
    return pa.Array.from_buffers(wide, len(low), [mask, pa.py_buffer(words.tobytes())]).cast(kind)


def _of_times(units: np.ndarray, blank: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_time(kind):
        most = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        units = np.clip(units, 0, most - 1)
    return of_units(pa.array(units, mask=blank), kind)
