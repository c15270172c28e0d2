"""Columns of a file: read by its ending, checked one by one, all mistakes named."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

from marginflow.base.data_error import DataError
from marginflow.base.names import listed
from marginflow.data.arrow_limits import claimed_by_feather
from marginflow.data.tables.cells import Texts, numbers
from marginflow.data.tables.dialect import Asked, Dialect, sniffed
from marginflow.data.tables.formats import ending_of, is_text, require_file
from marginflow.data.tables.numbers import Problem, as_numbers
from marginflow.data.tables.problems import refused
from marginflow.data.tables.row_numbers import pandas_index
from marginflow.data.tables.text_rows import batches
from marginflow.storage.limits import array_of, require_claim

AT_ONCE = 2**22  # bytes of a text table


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        columns: by name: arrow columns, arrays, or cells of text.
        dialect: how its text is written; None for other files.
        index: the names of the columns that pandas says are the index of its data frame.
    """

    columns: dict[str, Any]
    dialect: Dialect | None = None
    index: tuple[str, ...] = ()


def read(path: Path, asked: Asked = Asked()) -> Content:  # noqa: B008 - it is frozen
    """The columns of a file. ValueError where it is not what its name says."""
    ending = require_file(path)
    if is_text(ending):
        return _of_text(path, asked)
    with one_line(path):
        if ending == ".npy":
            return Content(of_array(array_of(path)))
        if ending == ".parquet":
            with parquet.ParquetFile(path) as file:
                require_claims(file, path)
                found = file.read()
        else:
            require_feather(path)
            found = feather.read_table(path)
        found.validate(full=True)
    require_distinct(found.column_names, path)
    if found.num_rows == 0:
        raise ValueError(f"{path} has no rows, only the names {listed(found.column_names)}")
    return Content(dict(zip(found.column_names, found.columns, strict=True)), None, pandas_index(found.schema))


def _of_text(path: Path, asked: Asked) -> Content:
    """The cells of a text table."""
    dialect = dialect_of(path, asked)
    with one_line(path):
        parts = list(batches(path, dialect, dialect.names, AT_ONCE))
    if not sum(part.num_rows for part in parts):
        raise ValueError(f"{path} has no rows, only the names {listed(dialect.names)}")
    return Content(in_words(pa.Table.from_batches(parts), dialect), dialect)


def dialect_of(path: Path, asked: Asked) -> Dialect:
    """How a text table is written; ValueError where it is none, or where a name stands for several columns."""
    with one_line(path):
        dialect = sniffed(path, asked)
    require_names(dialect.names, path, dialect.delimiter)
    return dialect


def holds_numbers(path: Path, dialect: Dialect, names: Sequence[str]) -> bool:
    """Whether the first rows of some columns are numbers when the text is read so."""
    with one_line(path):
        part = next(batches(path, dialect, names, AT_ONCE), None)
    if part is None:
        return True
    columns = in_words(pa.Table.from_batches([part]), dialect)
    return all(numbers(column)[1] is None for column in columns.values())


def in_words(table: pa.Table, dialect: Dialect) -> dict[str, Texts]:
    """Columns of text, with the marks that their numbers use."""
    columns = zip(table.column_names, table.columns, strict=True)
    return {name: Texts(cells, dialect.decimal, dialect.thousands) for name, cells in columns}


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """What a damaged file raises inside becomes a ValueError of one line."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, OverflowError, zlib.error) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read as {ending_of(path)}: {reason}") from error


def require_feather(path: Path) -> None:
    """Refuse a feather file whose compressed parts claim to become far more; the first version compresses none."""
    with path.open("rb") as file:
        if file.read(6) == b"ARROW1":
            require_claim(path, claimed_by_feather(path))


def require_claims(file: parquet.ParquetFile, path: Path) -> None:
    """Refuse a parquet file, whose runs of one value can claim to be any number of rows, for claiming too many."""
    about = file.metadata
    groups = (about.row_group(i) for i in range(about.num_row_groups))
    require_claim(path, max(8 * about.num_rows * about.num_columns, sum(group.total_byte_size for group in groups)))


def of_array(array: np.ndarray) -> dict[str, Any]:
    """The columns x0, x1, ... of an array; ValueError where it is none of numbers (rows, columns)."""
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(f"an array of numbers (rows, columns) is needed; got {array.dtype} of shape {array.shape}")
    return {f"x{i}": column for i, column in enumerate(array.T)}


def require_names(names: Sequence[str], path: Path, delimiter: str) -> None:
    """Refuse a text table with one name twice, or cut at another mark than what separates its values."""
    require_distinct(names, path)
    other = [each for each in (";", "\t", "|", ",") if each != delimiter and each in names[0]]
    if len(names) == 1 and other:
        raise DataError(
            [f"{path}: its only column is {names[0]!r}"],
            [(f"if {other[0]!r} is what separates it", {"delimiter": other[0]})],
        )


def require_distinct(names: Sequence[str], path: Path) -> None:
    """ValueError where a name stands for several columns."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{path}: {listed(twice)} stands for several columns: give each its own name, once")


def matrix(
    content: Mapping[str, Any],
    names: Sequence[str],
    path: Path,
    first: int = 0,
    read: Callable[[Any, str, int], np.ndarray | Problem] = as_numbers,
    **about: Any,
) -> np.ndarray:
    """Some columns side by side, (N, columns), float64, or float32 where all of them are; ValueError for no numbers.

    first: the number of their first row in the file. read: gives the numbers of a column, or says what is wrong with
    it. about: what `refused` takes, for the remedies.
    """
    found = [read(content[name], name, first) for name in names]
    problems = [each for each in found if isinstance(each, Problem)]
    if problems:
        raise refused(problems, len(names), path, **about)
    columns = [each for each in found if not isinstance(each, Problem)]
    single = all(column.dtype == np.float32 for column in columns)
    x = np.empty((len(columns[0]), len(columns)), np.float32 if single else np.float64)
    for i, column in enumerate(columns):
        x[:, i] = column
    return x
