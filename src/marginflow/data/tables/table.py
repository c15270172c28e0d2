"""A user's own table: .csv, .parquet, .feather or .npy, split by a seed, and other rows for its models."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from marginflow.base.arguments import shown
from marginflow.base.data_warning import DataWarning
from marginflow.base.settings import as_path, as_real
from marginflow.data.columns import warn_of_repeating_values
from marginflow.data.dataset import DataSet, DataSpec, Split
from marginflow.data.tables.read import classes, codes_of, listed, matrix, read, require_distinct
from marginflow.data.tables.split import split
from marginflow.data.tables.stream import chunks


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

    Values keep the file's precision. Columns whose values repeat, as constants and whole numbers do, come with a
    warning.

    Args:
        path: a .csv file whose first line names the columns, a .parquet or .feather file, or an array (N, D) in a .npy
            file, whose columns are x0, x1, ...
        columns: which columns to use, all by default.
        drop: which columns not to use.
        labels: a column of classes, as text or whole numbers, that becomes the one-hot context. A mixture over them
            weighs each by its share of the training rows.
        delimiter: between the values of a .csv file.
        validation: share of the rows for validation.
        test: share of the rows for test.
        seed: by which the splits are drawn.

    Returns:
        A `DataSet` under the name of the file, with the names of its columns and labels.

    Raises:
        ValueError: for text, dates, missing or infinite values, and for an unknown column, each with the name of the
            column; for a file that is damaged or not of the kind that its name says; for shares that are not positive
            or leave nothing to train on; for too few rows to split.
        FileNotFoundError: where there is no such file.

    Examples:
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/heights.npy"
        >>> np.save(path, np.random.randn(100, 2))
        >>> data = table(path)
        >>> data.train.x.shape, data.columns
        (torch.Size([80, 2]), ('x0', 'x1'))
    """
    validation, test = as_real(validation, "validation"), as_real(test, "test")
    if min(validation, test) <= 0 or validation + test >= 1:
        raise ValueError(f"validation and test must be positive, together below 1; got {validation} and {test}")
    file = as_path(path, "path")
    content = read(file, delimiter)
    without = [*_listing(drop), *([] if labels is None else _listing(labels))]
    names = _chosen(list(content), None if columns is None else _listing(columns), without, file)
    x = matrix(content, names, file)
    warn_of_repeating_values(torch.from_numpy(x), names)
    codes, label_names = (None, ()) if labels is None else classes(content[labels], labels, file)
    whole = Split(torch.from_numpy(x), None if codes is None else _one_hot(codes, len(label_names)))
    train_rows, validation_rows, test_rows = split(whole, validation, test, seed, file)
    shares = () if train_rows.context is None else tuple(train_rows.context.double().mean(0).tolist())
    return DataSet(
        file.stem,
        train_rows,
        validation_rows,
        test_rows,
        columns=tuple(names),
        labels=label_names,
        label_shares=shares,
        fingerprint=_fingerprint(x, codes),
    )


def _fingerprint(x: np.ndarray, codes: np.ndarray | None) -> str:
    """What tells whether a table is still the one that a run was trained on: of its values, and of its labels."""
    parts = [x] if codes is None else [x, codes.astype(np.int64)]
    return "-".join(hashlib.blake2b(np.ascontiguousarray(part).data, digest_size=16).hexdigest() for part in parts)


def chunks_for(
    spec: DataSpec, path: str, delimiter: str = ",", labels: str | None = None, rows: int | None = None
) -> Iterator[Split]:
    """The rows of a table, chunk after chunk, for a model of rows of this kind.

    Its columns, in its order, and its labels where they are. The table need not fit into memory. Columns that the
    model does not know come with a warning.

    Args:
        spec: of the rows that the model takes.
        path: the file.
        delimiter: between the values of a .csv file.
        labels: the column of labels.
        rows: only the first so many.

    Yields:
        The rows of each chunk, with their labels as context.

    Raises:
        ValueError: where columns are missing, or for a label that the model does not know, with their names.
    """
    file, names = Path(path), spec.column_names
    known = labels if spec.labels else None
    first = 0
    for content in chunks(file, delimiter, names, {} if known is None else {known: _kind_of(spec.labels)}):
        if first == 0:
            require_same_columns(names, [name for name in content if name != labels], path)
        x = torch.from_numpy(matrix(content, names, file, first))
        context = None
        if known is not None and known in content:
            context = _known_labels(content[known], known, spec, file)
        left = len(x) if rows is None else rows - first
        first += len(x)
        yield Split(*Split(x, context).take(slice(left)))
        if left <= len(x) and rows is not None:
            return


def _kind_of(labels: Sequence[str]) -> pa.DataType:
    """As what a column of such labels was read, by their names."""
    if set(labels) <= {"True", "False"}:
        return pa.bool_()
    for kind, of_text in ((pa.int64(), int), (pa.float64(), float)):
        with suppress(ValueError):
            if [str(of_text(each)) for each in labels] == list(labels):
                return kind
    return pa.string()


def _known_labels(column: Any, name: str, spec: DataSpec, file: Path) -> torch.Tensor:
    """A column of labels as one-hot vectors of the classes that a model knows; ValueError for others."""
    codes, found = codes_of(column, name, file)
    unknown = [each for each in found if each not in spec.labels]
    if unknown:
        raise ValueError(
            f"{file}: column {name!r} has the label {listed(unknown)}, which the model does not know; it knows "
            f"{listed(spec.labels)}"
        )
    places = np.array([spec.labels.index(each) for each in found])
    return _one_hot(places[codes], len(spec.labels))


def require_same_columns(expected: Sequence[str], found: Sequence[str], source: str) -> None:
    """Refuse columns among which some of the model's are missing; warn of those that are left out."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing:
        others = f", and has {listed(extra)} instead" if extra else ""
        raise ValueError(
            f"{source} has other columns than the model: it lacks {listed(missing)}{others}: the model takes "
            f"{listed(expected)}"
        )
    if extra:
        warnings.warn(f"{source}: {listed(extra)} left out, not known to the model", DataWarning, stacklevel=3)


def _listing(names: str | Sequence[str]) -> list[str]:
    """Names in a list, also where there is one alone; ValueError for what is neither."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"columns are named by text, one or a list; got {shown(names)}")
    return list(listed)


def _chosen(found: list[str], columns: Sequence[str] | None, without: Sequence[str], file: Path) -> list[str]:
    """The names of the columns to use; ValueError for one that is not there or named twice, or where none is left."""
    unknown = [name for name in [*(columns or ()), *without] if name not in found]
    if unknown:
        raise ValueError(f"{file} has no column {listed(unknown)}; it has {listed(found)}")
    names = [name for name in (found if columns is None else columns) if name not in without]
    if not names:
        raise ValueError(f"{file}: no column is left of {listed(found)}")
    require_distinct(names, file)
    return names


def _one_hot(codes: np.ndarray, num_classes: int) -> torch.Tensor:
    return functional.one_hot(torch.from_numpy(codes), num_classes).float()
