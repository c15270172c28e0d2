"""Columns of a file that need not fit into memory: chunk after chunk of rows, with the same checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, feather, parquet

from marginflow.data.tables.read import (
    EMPTY_IS_NULL,
    listed,
    of_array,
    one_line,
    require_claims,
    require_feather,
    require_file,
    require_names,
)
from marginflow.storage.limits import array_of

ROWS = 2**16  # of a chunk at most,
NUMBERS = 2**22  # in it
BYTES = 2**20  # of a .csv file at least, read at once; some of them wait in memory
BYTES_OF_COLUMN = 2**12

Open = Callable[[Path, str, Sequence[str], Mapping[str, pa.DataType]], tuple[list[str], Iterator[pa.RecordBatch]]]


def chunks(
    path: Path, delimiter: str, numbers: Sequence[str], others: Mapping[str, pa.DataType] | None = None
) -> Iterator[dict[str, Any]]:
    """The columns of a file by name, as `read` gives them, in chunks of 65,536 rows, or fewer of many columns.

    Of columns that are neither `numbers` nor `others`, and where one of the numbers is missing of all, there is the
    name alone. A .feather file is read batch after batch, which are as large as its writer made them.

    Args:
        path: the file.
        delimiter: between the values of a .csv file.
        numbers: columns that hold numbers throughout, whatever they look like at first.
        others: columns that are read besides, and as what those of a .csv file are read.

    Yields:
        The columns of each chunk by name.

    Raises:
        ValueError: where the file is not what its name says, or has no rows.
    """
    ending = require_file(path, delimiter)
    rows, others = _rows(numbers), others or {}
    if ending == ".npy":
        yield from _of_array(path, rows)
        return
    opened: dict[str, Open] = {".csv": _csv, ".parquet": _parquet, ".feather": _feather}
    with one_line(path):
        names, batches = opened[ending](path, delimiter, numbers, others)
    require_names(names, path, delimiter)
    if not set(numbers) <= set(names):
        yield dict.fromkeys(names)
        return
    empty = True
    for table in of_equal_size(_checked(batches, path, names), rows):
        empty = False
        yield {name: table[name] if name in table.column_names else None for name in names}
    if empty:
        raise ValueError(f"{path} has no rows, only the names {listed(names)}")


def _rows(numbers: Sequence[str]) -> int:
    """How many rows a chunk has."""
    return max(1, min(ROWS, NUMBERS // max(1, len(numbers))))


def _checked(batches: Iterator[pa.RecordBatch], path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches that hold what they say, or an error of one line."""
    while True:
        with one_line(path):
            try:
                batch = next(batches, None)
            except pa.ArrowInvalid as error:
                raise ValueError(_with_name(str(error), names)) from error
            if batch is None:
                return
            if path.suffix.lower() != ".csv":
                batch.validate(full=True)
        yield batch


def _with_name(message: str, names: Sequence[str]) -> str:
    """Arrow's message on a value, with the name of its column and what to do."""
    found = re.search(r"CSV column #(\d+)", message)
    if found is None or int(found[1]) >= len(names):
        return message
    return f"column {names[int(found[1])]!r} changes its kind, remove or correct what does not fit ({message})"


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


def _columns_read(names: Sequence[str], numbers: Sequence[str], others: Mapping[str, pa.DataType]) -> list[str]:
    return [name for name in names if name in numbers or name in others]


def _csv(
    path: Path, delimiter: str, numbers: Sequence[str], others: Mapping[str, pa.DataType]
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Read with the types that the first rows show, but for numbers: what begins whole may continue with fractions."""
    at_once = max(BYTES, BYTES_OF_COLUMN * len(numbers))
    reading, parsing = csv.ReadOptions(block_size=at_once), csv.ParseOptions(delimiter=delimiter)
    with csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=EMPTY_IS_NULL) as reader:
        schema = reader.schema
    kinds = {field.name: field.type for field in schema}
    real = [
        name
        for name in numbers
        if name in kinds and (pa.types.is_integer(kinds[name]) or pa.types.is_null(kinds[name]))
    ]
    if set(numbers) <= set(kinds):
        kinds = {name: kinds[name] for name in _columns_read(schema.names, numbers, others)}
    options = csv.ConvertOptions(
        strings_can_be_null=True,
        include_columns=list(kinds),
        column_types={**kinds, **dict.fromkeys(real, pa.float64()), **others},
    )
    reader = csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=options)
    return schema.names, iter(reader)


def _parquet(
    path: Path, delimiter: str, numbers: Sequence[str], others: Mapping[str, pa.DataType]
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BYTES)  # buffered before, the whole file would stay
    require_claims(file, path)
    names = file.schema_arrow.names
    return names, file.iter_batches(_rows(numbers), columns=_columns_read(names, numbers, others))


def _feather(
    path: Path, delimiter: str, numbers: Sequence[str], others: Mapping[str, pa.DataType]
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
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
