"""A user's own table: .csv, .parquet, .feather or .npy, checked column by column and split by a seed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv, feather, parquet
from torch import Tensor
from torch.nn import functional

from marginflow.data.dataset import DataSet, DataSpec, DataWarning, Split, check_seed

FORMATS = (".csv", ".parquet", ".feather", ".npy")


def table(
    path: str,
    columns: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = (),
    labels: str | None = None,
    delimiter: str = ",",
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> DataSet:
    """A table of numbers, one row an observation: x (N, columns).

    path: a .csv file whose first line names the columns, a .parquet or .feather file, or an array (N, D) in a .npy
        file, whose columns are x0, x1, ... columns: which ones to use, all by default. drop: which ones not to use.
    labels: a column of classes, as text or whole numbers, that becomes the one-hot context.
    delimiter: between the values of a .csv file.
    validation, test: parts of the rows that are held out, drawn by `seed`.

    Values keep the file's precision. A constant column, and one whose spread float32 cannot hold, come with a warning.
    ValueError that names the column for text, dates, missing or infinite values; for an unknown column; and for
    a file that is damaged or not of the kind that its name says.

    >>> import numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/heights.npy"
    >>> np.save(path, np.random.randn(100, 2))
    >>> data = table(path)
    >>> data.train.x.shape, data.columns
    (torch.Size([80, 2]), ('x0', 'x1'))
    """
    if min(validation, test) <= 0 or validation + test >= 1:
        raise ValueError(f"validation and test must be positive, together below 1; got {validation} and {test}")
    content = read(Path(path), delimiter)
    without = [*_listing(drop), *([] if labels is None else [labels])]
    names = _chosen(list(content), None if columns is None else _listing(columns), without, path)
    x = _matrix(content, names, path)
    for name, column in zip(names, x.T, strict=True):
        _warn_of(name, column)
    context, classes = (None, ()) if labels is None else _one_hot(_column(content, labels, path), labels, path)
    num_rows = len(x)
    sizes = [round(num_rows * part) for part in (test, validation)]
    if min(*sizes, num_rows - sum(sizes)) < 2:
        raise ValueError(f"{path}: {num_rows} rows are too few to split into training, validation and test rows")
    order = torch.from_numpy(np.random.default_rng(check_seed(seed)).permutation(num_rows))
    whole = Split(torch.from_numpy(x), context)
    cuts = np.cumsum([0, *sizes, num_rows - sum(sizes)])
    test_rows, validation_rows, train_rows = (Split(*whole.take(order[start:stop])) for start, stop in pairwise(cuts))
    return DataSet(Path(path).stem, train_rows, validation_rows, test_rows, columns=tuple(names), labels=classes)


def rows_for(spec: DataSpec, path: str, delimiter: str = ",") -> Tensor:
    """All rows of a table, for a model of rows of this kind: its columns, in its order.

    ValueError that names the columns where some are missing; those that the model does not know come with a warning.
    """
    content = read(Path(path), delimiter)
    check_columns(spec.columns, list(content), path)
    return torch.from_numpy(_matrix(content, list(spec.columns), path))


def check_columns(expected: Sequence[str], found: Sequence[str], source: str) -> None:
    """Refuse columns among which some of the model's are missing; warn of those that are left out."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing:
        others = f", and has {_listed(extra)} instead" if extra else ""
        raise ValueError(
            f"{source} has other columns than the model: it lacks {_listed(missing)}{others}: the model takes "
            f"{_listed(expected)}"
        )
    if extra:
        warnings.warn(f"{source}: {_listed(extra)} left out, not known to the model", DataWarning, stacklevel=3)


def read(path: Path, delimiter: str = ",") -> dict[str, Any]:
    """The columns of a file by name: arrow columns, or arrays. ValueError where it is not what its name says."""
    if path.suffix not in FORMATS:
        raise ValueError(f"{path} must end in {', '.join(FORMATS)}; got {path.suffix or 'no ending'!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file")
    try:
        if path.suffix == ".npy":
            return _array_columns(np.load(path, allow_pickle=False), path)
        if path.suffix == ".csv":
            options = csv.ParseOptions(delimiter=delimiter)
            found = csv.read_csv(path, parse_options=options)
        else:
            found = parquet.read_table(path) if path.suffix == ".parquet" else feather.read_table(path)
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read as {path.suffix}: {reason}") from error
    _check_names(found.column_names, path, delimiter)
    return dict(zip(found.column_names, found.columns, strict=True))


def _array_columns(array: np.ndarray, path: Path) -> dict[str, Any]:
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(f"an array of numbers (rows, columns) is needed; got {array.dtype} of shape {array.shape}")
    return {f"x{i}": column for i, column in enumerate(array.T)}


def _check_names(names: Sequence[str], path: Path, delimiter: str) -> None:
    """Refuse a table without a line of names, with one name twice, or separated by something else."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: {_listed(twice)} stands for several columns: give each its own name")
    if path.suffix == ".csv" and all(_is_number(name) for name in names):
        raise ValueError(f"{path}: the first line must name the columns; it holds numbers ({_listed(names)})")
    other = (
        [each for each in (";", "\t", "|", ",") if each != delimiter and each in names[0]] if len(names) == 1 else []
    )
    if other:
        raise ValueError(
            f"{path}: its only column is {names[0]!r}: set data.delimiter to {other[0]!r} if that is what separates it"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listing(names: str | Sequence[str]) -> list[str]:
    """Names in a list, also where there is one alone."""
    return [names] if isinstance(names, str) else list(names)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def _chosen(found: list[str], columns: Sequence[str] | None, without: Sequence[str], path: str) -> list[str]:
    """The names of the columns to use; ValueError for one that is not there, or where none is left."""
    unknown = [name for name in [*(columns or ()), *without] if name not in found]
    if unknown:
        raise ValueError(f"{path} has no column {_listed(unknown)}; it has {_listed(found)}")
    names = [name for name in (found if columns is None else columns) if name not in without]
    if not names:
        raise ValueError(f"{path}: no column is left of {_listed(found)}")
    return names


def _column(content: dict[str, Any], name: str, path: str) -> Any:
    if name not in content:
        raise ValueError(f"{path} has no column {name!r}; it has {_listed(list(content))}")
    return content[name]


def _matrix(content: dict[str, Any], names: list[str], path: str) -> np.ndarray:
    """The columns side by side, (N, columns), float64, or float32 where all of them are."""
    columns = [_numbers(content[name], name, path) for name in names]
    single = all(column.dtype == np.float32 for column in columns)
    x = np.empty((len(columns[0]), len(columns)), np.float32 if single else np.float64)
    for i, column in enumerate(columns):
        x[:, i] = column
    broken = ~np.isfinite(x)
    if broken.any():
        row, i = (int(each[0]) for each in broken.nonzero())
        raise ValueError(
            f"{path}: column {names[i]!r} holds {x[row, i]} in row {row} (counted from 0), {int(broken.sum())} "
            "missing or infinite values in all: remove or fill them"
        )
    return x


def _numbers(column: Any, name: str, path: str) -> np.ndarray:
    """A column as numbers; ValueError for text, dates and whatever else is none."""
    if isinstance(column, np.ndarray):
        return column
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        remedy = f"leave it out (data.drop = {name!r}), or if it names classes say so (data.labels = {name!r})"
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
            row, text = next((i, v) for i, v in enumerate(column.to_pylist()) if v is not None and not _is_number(v))
            raise ValueError(f"{path}: column {name!r} holds text, {text!r} in row {row} (counted from 0): {remedy}")
        raise ValueError(f"{path}: column {name!r} holds {kind}, not numbers: {remedy}")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(
            f"{path}: column {name!r} has no value in row {row} (counted from 0), {column.null_count} missing in all: "
            "remove or fill them"
        )
    return column.cast(pa.float64()).to_numpy() if not pa.types.is_floating(kind) else column.to_numpy()


def _warn_of(name: str, column: np.ndarray) -> None:
    """Warn of a column that no density, or none in float32, can describe."""
    low, high = column.min(), column.max()
    if low == high:
        warnings.warn(
            f"column {name!r} is constant ({low:g}): its density has no bound, drop it", DataWarning, stacklevel=3
        )
    elif column.std() < 1e3 * np.finfo(np.float32).eps * max(abs(low), abs(high)):
        warnings.warn(
            f"column {name!r} varies little beside its size ({low:.9g} ... {high:.9g}), which float32 cannot hold: "
            "subtract an offset, or set train.precision to 64-true",
            DataWarning,
            stacklevel=3,
        )


def _one_hot(column: Any, name: str, path: str) -> tuple[Tensor, tuple[str, ...]]:
    """Classes as a one-hot context, and their names in order."""
    values = column.to_numpy(zero_copy_only=False) if not isinstance(column, np.ndarray) else column
    if any(value is None or value != value for value in values):
        raise ValueError(f"{path}: column {name!r} of labels has missing values: remove or fill them")
    classes, codes = np.unique(values, return_inverse=True)
    if len(classes) > min(1000, len(values) // 2):
        raise ValueError(
            f"{path}: column {name!r} of labels has {len(classes)} different values in {len(values)} rows: name a "
            "column of classes"
        )
    return functional.one_hot(torch.from_numpy(codes)).float(), tuple(str(each) for each in classes)
