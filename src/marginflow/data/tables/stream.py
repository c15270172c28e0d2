"""Columns of a file that need not fit into memory: chunk after chunk of rows, with the same checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

from marginflow.base.names import listed
from marginflow.data.tables.dialect import Dialect
from marginflow.data.tables.formats import is_text, require_file
from marginflow.data.tables.read import (
    in_words,
    of_array,
    one_line,
    require_claims,
    require_distinct,
    require_feather,
)
from marginflow.data.tables.text_rows import batches as batches_of_text
from marginflow.storage.limits import array_of

ROWS = 2**16  # of a chunk at most,
NUMBERS = 2**22  # in it
BYTES = 2**20  # of a text table at least, read at once; some of them wait in memory
BYTES_OF_COLUMN = 2**12


def chunks(
    path: Path, numbers: Sequence[str], more: Sequence[str] = (), dialect: Dialect | None = None
) -> Iterator[dict[str, Any]]:
    """The columns of a file by name, as `read` gives them, in chunks of 65,536 rows, or fewer of many columns.

    Of columns that are neither `numbers` nor `more`, and where one of the numbers is missing of all, there is the
    name alone. A .feather file is read batch after batch, which are as large as its writer made them.

    Args:
        path: the file.
        numbers: columns of numbers that are read.
        more: columns that are read besides, where they are there, as those of labels and weights.
        dialect: how a text table is written.

    Yields:
        The columns of each chunk by name.

    Raises:
        ValueError: where the file is not what its name says, or has no rows.
    """
    ending = require_file(path)
    rows = _rows(len(numbers))
    if ending == ".npy":
        yield from _of_array(path, rows)
        return
    wanted = {*numbers, *more}
    if is_text(ending):
        assert dialect is not None
        names, batches = _text(path, wanted, dialect)
    else:
        with one_line(path):
            names, batches = (_parquet if ending == ".parquet" else _feather)(path, wanted)
    require_distinct(names, path)
    if not set(numbers) <= set(names):
        yield dict.fromkeys(names)
        return
    empty = True
    for table in of_equal_size(_checked(batches, path, dialect is None), rows):
        empty = False
        found = (
            dict(zip(table.column_names, table.columns, strict=True)) if dialect is None else in_words(table, dialect)
        )
        yield {name: found.get(name) for name in names}
    if empty:
        raise ValueError(f"{path} has no rows, only the names {listed(names)}")


def names_of(path: Path, dialect: Dialect | None = None) -> list[str]:
    """The names of a file's columns; ValueError where it is not what its name says, or one stands for several.

    dialect: how a text table is written.
    """
    ending = require_file(path)
    if dialect is not None:
        return list(dialect.names)
    with one_line(path):
        if ending == ".npy":
            return list(of_array(array_of(path)))
        names, _ = (_parquet if ending == ".parquet" else _feather)(path, set())
    require_distinct(names, path)
    return names


def _rows(num_columns: int) -> int:
    """How many rows a chunk has."""
    return max(1, min(ROWS, NUMBERS // max(1, num_columns)))


def _checked(batches: Iterator[pa.RecordBatch], path: Path, binary: bool) -> Iterator[pa.RecordBatch]:
    """Batches that hold what they say, or an error of one line."""
    while True:
        with one_line(path):
            batch = next(batches, None)
            if batch is None:
                return
            if binary:
                batch.validate(full=True)
        yield batch


def of_equal_size(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many, but for the last."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            cut = rows - count
            yield pa.Table.from_batches([*waiting, batch.slice(0, cut)]).unify_dictionaries()
            batch, waiting, count = batch.slice(cut), [], 0
        if batch.num_rows:
            waiting.append(batch)
            count += batch.num_rows
    if waiting:
        yield pa.Table.from_batches(waiting).unify_dictionaries()


def _text(path: Path, wanted: Set[str], dialect: Dialect) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    names = list(dialect.names)
    at_once = max(BYTES, BYTES_OF_COLUMN * len(names))
    return names, batches_of_text(path, dialect, [name for name in names if name in wanted], at_once)


def _parquet(path: Path, wanted: Set[str]) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BYTES)  # buffered before, the whole file would stay
    require_claims(file, path)
    names = file.schema_arrow.names
    return names, file.iter_batches(_rows(len(wanted)), columns=[name for name in names if name in wanted])


def _feather(path: Path, wanted: Set[str]) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    require_feather(path)
    try:
        reader = pa.ipc.open_file(pa.OSFile(str(path)))
    except pa.ArrowInvalid:  # of the first version, which has one batch
        table = feather.read_table(path)
        return table.column_names, iter(table.to_batches())
    return reader.schema.names, (reader.get_batch(i) for i in range(reader.num_record_batches))


def _of_array(path: Path, rows: int) -> Iterator[dict[str, np.ndarray]]:
    """The rows of an array; the file is opened for each chunk, so that no more of it stays in memory."""
    with one_line(path):
        columns = of_array(array_of(path))
    num_rows = len(next(iter(columns.values()), ()))
    if num_rows == 0:
        raise ValueError(f"{path} has no rows, or no columns")
    for start in range(0, num_rows, rows):
        yield of_array(np.array(array_of(path)[start : start + rows]))
