"""Columns of a file that need not fit into memory: some rows after the others, with the same checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, feather, parquet

from marginflow.data.columns import (
    EMPTY_IS_NULL,
    check_claims,
    check_feather,
    check_file,
    check_names,
    listed,
    of_array,
    one_line,
)
from marginflow.guarded import array_of

ROWS = 2**16  # of a block
BYTES = 2**20  # of a .csv file, read at once; some of them wait in memory

Open = Callable[[Path, str, Sequence[str], Sequence[str]], tuple[list[str], Iterator[pa.RecordBatch]]]


def blocks(path: Path, delimiter: str, numbers: Sequence[str], others: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The columns of a file by name, as `read` gives them, for 65,536 rows after the others; the last may be fewer.

    numbers: columns that hold numbers throughout, whatever they look like at first. others: columns that are looked at
    besides. Of more columns, and where one of the numbers is missing of all, there is the name alone.

    ValueError where the file is not what its name says, or has no rows.
    """
    ending = check_file(path, delimiter)
    if ending == ".npy":
        yield from _of_array(path)
        return
    opened: dict[str, Open] = {".csv": _csv, ".parquet": _parquet, ".feather": _feather}
    with one_line(path):
        names, batches = opened[ending](path, delimiter, numbers, others)
    check_names(names, path, delimiter)
    if not set(numbers) <= set(names):
        yield dict.fromkeys(names)
        return
    empty = True
    for table in of_equal_size(_checked(batches, path)):
        empty = False
        yield {name: table[name] if name in table.column_names else None for name in names}
    if empty:
        raise ValueError(f"{path} has no rows, only the names {listed(names)}")


def _checked(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """Batches that hold what they say, or an error of one line."""
    while True:
        with one_line(path):
            batch = next(batches, None)
            if batch is None:
                return
            if path.suffix.lower() != ".csv":
                batch.validate(full=True)
        yield batch


def of_equal_size(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of `ROWS`, but for the last."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= ROWS:
            cut = ROWS - count
            yield pa.Table.from_batches([*waiting, batch.slice(0, cut)]).unify_dictionaries()
            batch, waiting, count = batch.slice(cut), [], 0
        if batch.num_rows:
            waiting.append(batch)
            count += batch.num_rows
    if waiting:
        yield pa.Table.from_batches(waiting).unify_dictionaries()


def _looked_at(names: Sequence[str], numbers: Sequence[str], others: Sequence[str]) -> list[str]:
    return [name for name in names if name in numbers or name in others]


def _csv(
    path: Path, delimiter: str, numbers: Sequence[str], others: Sequence[str]
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Read with the types that the first rows show, but for numbers: what begins whole may go on with fractions."""
    reading, parsing = csv.ReadOptions(block_size=BYTES), csv.ParseOptions(delimiter=delimiter)
    with csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=EMPTY_IS_NULL) as reader:
        schema = reader.schema
    kinds = {field.name: field.type for field in schema}
    real = [
        name
        for name in numbers
        if name in kinds and (pa.types.is_integer(kinds[name]) or pa.types.is_null(kinds[name]))
    ]
    if set(numbers) <= set(kinds):
        kinds = {name: kinds[name] for name in _looked_at(schema.names, numbers, others)}
    options = csv.ConvertOptions(
        strings_can_be_null=True,
        include_columns=list(kinds),
        column_types={**kinds, **dict.fromkeys(real, pa.float64())},
    )
    reader = csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=options)
    return schema.names, iter(reader)


def _parquet(
    path: Path, delimiter: str, numbers: Sequence[str], others: Sequence[str]
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    file = parquet.ParquetFile(path)
    check_claims(file, path)
    names = file.schema_arrow.names
    return names, file.iter_batches(ROWS, columns=_looked_at(names, numbers, others))


def _feather(
    path: Path, delimiter: str, numbers: Sequence[str], others: Sequence[str]
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    check_feather(path)
    try:
        reader = pa.ipc.open_file(pa.OSFile(str(path)))
    except pa.ArrowInvalid:  # of the first version, which has one batch
        table = feather.read_table(path)
        return table.column_names, iter(table.to_batches())
    return reader.schema.names, (reader.get_batch(i) for i in range(reader.num_record_batches))


def _of_array(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """The rows of an array; the file is opened for each block, so that no more of it stays in memory."""
    with one_line(path):
        columns = of_array(array_of(path))
    num_rows = len(next(iter(columns.values()), ()))
    if num_rows == 0:
        raise ValueError(f"{path} has no rows, or no columns")
    for start in range(0, num_rows, ROWS):
        yield of_array(np.array(array_of(path)[start : start + ROWS]))
