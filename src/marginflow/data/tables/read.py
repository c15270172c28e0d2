"""Columns of a file: read by its ending, checked one by one, each mistake named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, feather, parquet

from marginflow.data.arrow_limits import claimed_by_feather
from marginflow.storage.limits import array_of, require_claim

FORMATS = (".csv", ".parquet", ".feather", ".npy")
EMPTY_IS_NULL = csv.ConvertOptions(strings_can_be_null=True)
LARGEST = 1e19  # of a value: its square, which densities take, is still a number in float32


def read(path: Path, delimiter: str = ",") -> dict[str, Any]:
    """The columns of a file by name: arrow columns, or arrays. ValueError where it is not what its name says."""
    ending = require_file(path, delimiter)
    with one_line(path):
        if ending == ".npy":
            return of_array(array_of(path))
        if ending == ".csv":
            found = csv.read_csv(
                path, parse_options=csv.ParseOptions(delimiter=delimiter), convert_options=EMPTY_IS_NULL
            )
        elif ending == ".parquet":
            with parquet.ParquetFile(path) as file:
                require_claims(file, path)
                found = file.read()
        else:
            require_feather(path)
            found = feather.read_table(path)
        if ending != ".csv":
            found.validate(full=True)
        names = found.column_names
    require_names(names, path, delimiter)
    if found.num_rows == 0:
        raise ValueError(f"{path} has no rows, only the names {listed(names)}")
    return dict(zip(names, found.columns, strict=True))


def require_file(path: Path, delimiter: str) -> str:
    """The ending of a table's file; ValueError for another, FileNotFoundError where there is none."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{path} must end in {', '.join(FORMATS)}; got {path.suffix or 'no ending'!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file")
    if len(delimiter) != 1:
        raise ValueError(f"the delimiter must be one character; got {delimiter!r}")
    return ending


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """What a damaged file raises inside becomes a ValueError of one line."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read as {path.suffix.lower()}: {reason}") from error


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
    """Refuse a table without a line of names, with one name twice, or separated by something else."""
    require_distinct(names, path)
    if path.suffix.lower() == ".csv" and all(_is_number(name) for name in names):
        raise ValueError(f"{path}: the first line must name the columns; it holds numbers ({listed(names)})")
    other = [each for each in (";", "\t", "|", ",") if each != delimiter and each in names[0]]
    if len(names) == 1 and other:
        raise ValueError(
            f"{path}: its only column is {names[0]!r}: set data.delimiter to {other[0]!r} if that is what separates it"
        )


def require_distinct(names: Sequence[str], path: Path) -> None:
    """ValueError where a name stands for several columns."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: {listed(twice)} stands for several columns: give each its own name, once")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(names: Sequence[str]) -> str:
    """Names for a message, not too many of them."""
    shown = ", ".join(repr(name) for name in list(names)[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def matrix(content: dict[str, Any], names: Sequence[str], path: Path, first: int = 0) -> np.ndarray:
    """Some columns side by side, (N, columns), float64, or float32 where all of them are; ValueError for no numbers.

    first: the number of their first row in the file.
    """
    columns = [_numbers(content[name], name, path, first) for name in names]
    single = all(column.dtype == np.float32 for column in columns)
    x = np.empty((len(columns[0]), len(columns)), np.float32 if single else np.float64)
    for i, column in enumerate(columns):
        x[:, i] = column
    broken = ~(np.abs(x) < LARGEST)
    if broken.any():
        row, i = (int(each[0]) for each in broken.nonzero())
        raise ValueError(
            f"{path}: column {names[i]!r} holds {x[row, i]} in row {first + row} (counted from 0), {int(broken.sum())} "
            f"missing, infinite or huge values in the {len(x)} rows from row {first} on: remove or fill them"
        )
    return x


def _numbers(column: Any, name: str, path: Path, first: int) -> np.ndarray:
    """A column as numbers; ValueError for text, dates and whatever else is none."""
    if isinstance(column, np.ndarray):
        return column
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ValueError(f"{path}: {_why_no_number(column, name, first)}")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(
            f"{path}: column {name!r} has no value in row {first + row} (counted from 0), {column.null_count} missing "
            f"in the {len(column)} rows from row {first} on: remove or fill them"
        )
    if pa.types.is_floating(kind):
        return column.to_numpy()
    return column.cast(pa.float64(), safe=False).to_numpy()  # whole numbers beyond 2^53 are rounded


def _why_no_number(column: Any, name: str, first: int) -> str:
    """What a column that is none of numbers holds instead, and what to do."""
    remedy = f"leave it out (data.drop = {name!r}), or if it names classes say so (data.labels = {name!r})"
    if column.null_count == len(column):
        return f"column {name!r} has no values: {remedy}"
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
        return f"column {name!r} holds {kind}, not numbers: {remedy}"
    texts = ((i, v) for i, v in enumerate(column.to_pylist()) if v is not None and not _is_number(str(v)))
    row, text = next(texts, (None, None))
    if row is None:
        return f"column {name!r} holds numbers stored as text: convert it, or {remedy}"
    return f"column {name!r} holds text, {text!r} in row {first + row} (counted from 0): {remedy}"


def classes(column: Any, name: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of labels as codes (N,) and the names of the classes in order; ValueError where it is none."""
    codes, found = codes_of(column, name, path)
    if len(found) > min(1000, max(len(codes) // 2, 1)):
        raise ValueError(
            f"{path}: column {name!r} of labels has {len(found)} different values in {len(codes)} rows: name a column "
            "of classes"
        )
    return codes, found


def codes_of(column: Any, name: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values of a column as codes (N,) and their names in order; ValueError where some are missing."""
    values = column.to_numpy(zero_copy_only=False) if not isinstance(column, np.ndarray) else column
    if any(value is None or value != value for value in values):
        raise ValueError(f"{path}: column {name!r} of labels has missing values: remove or fill them")
    found, codes = np.unique(values, return_inverse=True)
    return codes, tuple(str(each) for each in found)
