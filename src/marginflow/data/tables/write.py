"""Rows to files: a table or an array; chunk after chunk, and whole or not at all."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from csv import writer as csv_writer
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from torch import Tensor

from marginflow.data.dataset import DataSpec
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.formats import FORMATS, ending_of, is_text
from marginflow.data.tables.lines import lines
from marginflow.data.tables.stream import of_equal_size
from marginflow.storage.files import write_whole

ROWS = 2**16  # of a part of a table
LEVEL = 6  # of gzip, as its own program takes: 9 takes three times as long for a hundredth less


def require_output(output: Path, formats: Sequence[str] = FORMATS) -> None:
    """Refuse an ending that is none of the formats, and a folder that does not exist."""
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a directory: name a file in it")
    if ending_of(output) not in formats:
        got, such = ending_of(output) or "no ending", output.with_suffix(".csv")
        raise ValueError(f"{output} must end in {', '.join(formats)}; got {got!r}: give one such as {such}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"the folder {output.parent} does not exist: make it first")


def write(chunks: Iterable[Tensor], spec: DataSpec, output: Path) -> None:
    """Write rows of raw data, chunk after chunk, in the format of the file's ending, whole or not at all.

    A table has one column a feature, under the names of the data's columns, or x0, x1, ... An array in .npy has the
    shape (N, *event). Rows of a schema become the columns of its file, with their types.
    """
    if spec.schema is not None and ending_of(output) != ".npy":
        ending, schema = ending_of(output), spec.schema
        tables = (decoded(chunk, schema, as_written=is_text(ending)) for chunk in chunks)
        batches = (batch for table in tables for batch in table.combine_chunks().to_batches())
        write_whole(output, lambda file: _table(of_equal_size(batches, ROWS), schema.names, file, ending))
    elif ending_of(output) == ".npy":
        write_whole(output, lambda file: _array(chunks, file))
    else:
        write_columns((chunk.flatten(1) for chunk in chunks), spec.column_names, output)


def write_columns(chunks: Iterable[Tensor], names: Sequence[str], output: Path) -> None:
    """Write rows (N, columns), chunk after chunk, as a table in the format of the ending, whole or not at all."""
    ending = ending_of(output)
    if ending == ".npy":
        write_whole(output, lambda file: _array(chunks, file))
    else:
        write_whole(output, lambda file: _table(of_equal_size(_named(chunks, names), ROWS), names, file, ending))


def write_tables(tables: Iterator[pa.Table], names: Sequence[str], output: Path | BinaryIO) -> None:
    """Write tables with the same columns one below the other: to a file, whole or not at all, or as text to a stream.

    An array in .npy is (N, columns), float64, truth values as 1 and 0.
    """
    if not isinstance(output, Path):
        _text(tables, names, output, ",")
    elif ending_of(output) == ".npy":
        write_whole(output, lambda file: _array(map(_numbers, tables), file))
    else:
        write_whole(output, lambda file: _table(tables, names, file, ending_of(output)))


def _numbers(table: pa.Table) -> Tensor:
    """A table of numbers as a tensor, (N, columns); NaN where one is missing."""
    columns = [column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column for column in table.columns]
    return torch.from_numpy(np.stack([column.cast(pa.float64()).to_numpy() for column in columns], 1))


def _named(chunks: Iterable[Tensor], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows as batches of columns."""
    for chunk in chunks:
        columns = np.ascontiguousarray(chunk.cpu().numpy().T)
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=list(names))


def _table(tables: Iterator[pa.Table], names: Sequence[str], file: BinaryIO, ending: str) -> None:
    first = next(tables)
    if is_text(ending):
        with (
            gzip.GzipFile(fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0)
            if ending.endswith(".gz")
            else nullcontext(file) as text
        ):
            _text(chain([first], tables), names, cast(BinaryIO, text), "," if ending.startswith(".csv") else "\t")
        return
    if ending == ".parquet":
        sink = parquet.ParquetWriter(file, first.schema)
    else:
        sink = pa.ipc.new_file(file, first.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
    with sink:
        for table in chain([first], tables):
            sink.write_table(table)


def _text(tables: Iterable[pa.Table], names: Sequence[str], file: BinaryIO, delimiter: str) -> None:
    """A line of names, quoted only where needed, and a line a row."""
    header = io.StringIO()
    csv_writer(header, lineterminator="\n", delimiter=delimiter).writerow(names)
    file.write(header.getvalue().encode())
    for table in tables:
        file.write(lines(table, delimiter))


def _array(chunks: Iterable[Tensor], file: BinaryIO) -> None:
    """An array in the format of numpy, whose header is written once more at the end, when its length is known."""
    count, rest, kind = 0, (), np.dtype(np.float32)
    for chunk in chunks:
        array = np.ascontiguousarray(chunk.cpu().numpy())
        if count == 0:
            rest, kind = array.shape[1:], array.dtype
            _header(file, (0, *rest), kind)
        file.write(array.data)
        count += len(array)
    file.seek(0)
    _header(file, (count, *rest), kind)
    file.seek(0, io.SEEK_END)


def _header(file: BinaryIO, shape: tuple[int, ...], kind: np.dtype) -> None:
    """The header of numpy's format, which leaves room for a first dimension of any size."""
    about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
