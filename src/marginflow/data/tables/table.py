"""A user's own table: text, .parquet, .feather or .npy, split by a seed, and other rows for its models."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from marginflow.base.arguments import shown
from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.base.labels import place_of, unknown
from marginflow.base.names import hint_at, listed
from marginflow.base.settings import as_path, as_real
from marginflow.data.column_options import options_in
from marginflow.data.columns import warn_of_repeating_values
from marginflow.data.dataset import DataSet, DataSpec, Split
from marginflow.data.schema import Schema
from marginflow.data.tables.by_schema import Parts, by_schema
from marginflow.data.tables.dialect import Asked, Dialect, told
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.formats import is_text, require_file, stem_of
from marginflow.data.tables.labels import classes, codes_of
from marginflow.data.tables.read import Content, dialect_of, holds_numbers, matrix, read, require_distinct
from marginflow.data.tables.row_numbers import counters, is_no_data, row_numbers
from marginflow.data.tables.split import split as split_rows
from marginflow.data.tables.stream import chunks
from marginflow.data.tables.weights import weights_of, weights_of_all


def table(
    path: str,
    columns: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = (),
    labels: str | None = None,
    delimiter: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    skip: int | None = None,
    context: str | Sequence[str] = (),
    group: str | None = None,
    split: str = "rows",
    schema: Mapping[str, Any] | Schema | None = None,
    weights: str | None = None,
) -> DataSet:
    """A table, one row an observation: x (N, columns).

    Without a `schema` all columns are real numbers, in the file's precision. With one, which may be empty, they may be
    of any kind: rows are as `Schema` says, copies of a row stay in one part of the split, and what is suspicious comes
    as warnings.

    Without a schema columns whose values repeat, as constants and whole numbers do, come with a
    warning. How a text table is written, its first rows tell where no option does; what is not the custom comes with a
    warning. Row numbers that a library of data frames wrote are left out, with a warning, unless `columns` names them.

    Args:
        path: a text table (.csv, .tsv, .txt, .dat, also with .gz), a .parquet or .feather file, or an array (N, D) in a
            .npy file, whose columns are x0, x1, ..., as those of a text without header.
        columns: which columns to use, all by default; names in a list, or in one text with commas between.
        drop: which columns not to use.
        labels: a column of classes, as text or whole numbers, that becomes the one-hot context. A mixture over them
            weighs each by its share of the training rows.
        delimiter: between the values of a text; a blank stands for any number of blanks and tabs.
        validation: share of the rows for validation.
        test: share of the rows for test.
        seed: by which the splits are drawn.
        decimal: "." or ",", between whole and fraction of numbers in a text.
        thousands: between groups of three digits in a text; such numbers are refused unless it is given.
        encoding: of a text, such as "utf-8", "cp1252" or "utf-16".
        header: whether a line of a text names the columns.
        skip: lines of a text above its header, or above its first row.
        context: columns of any kind given which the others are modelled.
        group: a column whose rows of one value stay together in the split; it is left out of the rows.
        split: "rows"; "time", by the only column of dates, the last rows being test rows; or a column that rises with
            time.
        schema: what the user says of columns, by name, see `ColumnOptions`, or a schema that was made before, by which
            rows are read; None for a table of real numbers.
        weights: a column of weights, 0 or more, by which losses, statistics and means count the rows; those of weight 0
            are left out.

    Returns:
        A `DataSet` under the name of the file, with the names of its columns and labels.

    Raises:
        ValueError: for text, dates, missing or infinite values, of all columns at once, with the options that leave
            them out; for an unknown column; for a file that is damaged or not of the kind that its name says; for
            shares that are not positive or leave nothing to train on; for too few rows to split.
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
    content = read(file, Asked(delimiter, decimal, thousands, encoding, header, skip))
    named = _listing(context, list(content.columns))
    if schema is not None or named or group is not None or split != "rows":
        if labels is not None:
            raise DataError(["labels are for tables of real numbers"], [("give in their place", {"context": [labels]})])
        _warn(None if content.dialect is None else told(content.dialect, file))
        parts = Parts(validation, test, seed, split, group)
        about: dict[str, Any] = {"context": named, "drop": _listing(drop, list(content.columns))}
        about["columns"] = None if columns is None else _listing(columns, list(content.columns))
        about["weights"] = weights
        options = options_in(schema) if isinstance(schema, Mapping) else schema
        return by_schema(content, file, options, parts, **about)
    weight = None if weights is None else weights_of_all(content.columns, weights, file)
    dropped = drop if weights is None else [*_listing(drop, list(content.columns)), weights]
    names, without = _chosen(content, columns, dropped, labels, file)
    x = matrix(content.columns, names, file, dropped=without, labels=labels)
    warn_of_repeating_values(torch.from_numpy(x), names)
    codes, label_names = (None, ()) if labels is None else classes(content.columns[labels], labels, file)
    whole = Split(torch.from_numpy(x), None if codes is None else _one_hot(codes, len(label_names)), weight)
    if weight is not None:
        whole = Split(*whole.take(weight > 0))
    train_rows, validation_rows, test_rows = split_rows(whole, validation, test, seed, file)
    shares = () if train_rows.context is None else _shares(train_rows.context.double(), train_rows.weight)
    return DataSet(
        stem_of(file),
        train_rows,
        validation_rows,
        test_rows,
        columns=tuple(names),
        labels=label_names,
        label_shares=shares,
        fingerprint=_fingerprint(x, codes, weight),
    )


def _shares(one_hot: torch.Tensor, weight: torch.Tensor | None) -> tuple[float, ...]:
    """The share of each label in some rows."""
    return tuple((one_hot.mean(0) if weight is None else weight @ one_hot / weight.sum()).tolist())


def _fingerprint(x: np.ndarray, codes: np.ndarray | None, weight: torch.Tensor | None) -> str:
    """What tells whether a table is still the one that a run was trained on: of its values, labels and weights."""
    parts = [x] if codes is None else [x, codes.astype(np.int64)]
    parts += [] if weight is None else [weight.numpy()]
    return "-".join(hashlib.blake2b(np.ascontiguousarray(part).data, digest_size=16).hexdigest() for part in parts)


def chunks_for(
    spec: DataSpec,
    path: str,
    asked: Asked | None = None,
    labels: str | None = None,
    rows: int | None = None,
    weights: str | None = None,
) -> Iterator[Split]:
    """The rows of a table, chunk after chunk, for a model of rows of this kind.

    Its columns, in its order, and its labels and weights where they are. The table need not fit into memory. Columns
    that the model does not know come with a warning, and so do weights that are not there.

    Args:
        spec: of the rows that the model takes.
        path: the file.
        asked: how the text that the model was trained on is written as far as its user said. It holds for this one
            where it makes numbers of the model's columns; otherwise the text tells itself.
        labels: the column of labels.
        rows: only the first so many.
        weights: the column of weights; that of a schema is known.

    Yields:
        The rows of each chunk, with their labels as context, and their weights, which may all be 0.

    Raises:
        ValueError: where columns are missing, or for a label that the model does not know, with their names.
    """
    file, names = Path(path), spec.column_names
    if spec.schema is not None:
        names = [column.name for column in spec.schema.columns if column.is_modelled or column.given]
        weights = next((column.name for column in spec.schema.columns if column.weighs), None)
    known = labels if spec.labels else None
    dialect = _dialect_for(file, asked or Asked(), names, spec.schema is None)
    more = [name for name in (known, weights) if name is not None]
    first = 0
    for content in chunks(file, names, more, dialect):
        if first == 0:
            found = [name for name in content if name not in (labels, weights)]
            require_same_columns(names, found, path, spec.schema)
            if weights is not None and weights not in content:
                _warn(f"{path} lacks {weights!r}, the weights of the model's training rows: all rows count the same")
        x, context = _rows(content, spec, names, file, first)
        weight = None if weights not in content else weights_of(content, weights, file, first)
        if known is not None and known in content:
            context = _known_labels(content[known], known, spec, file, first)
        left = len(x) if rows is None else rows - first
        first += len(x)
        yield Split(*Split(x, context, weight).take(slice(left)))
        if left <= len(x) and rows is not None:
            return


def _rows(
    content: Mapping[str, Any], spec: DataSpec, names: Sequence[str], file: Path, first: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows and context of a chunk of a file, for a model of rows of this kind."""
    if spec.schema is None:
        return torch.from_numpy(matrix(content, names, file, first, free=False)), None
    x, context, _ = encoded({name: content[name] for name in names}, spec.schema, file, first)
    return x, context


def _dialect_for(file: Path, asked: Asked, names: Sequence[str], are_numbers: bool) -> Dialect | None:
    """How a text table is written that has the columns of a model; None for other files."""
    if not is_text(require_file(file)):
        return None
    if asked != Asked():
        with suppress(ValueError):
            dialect = dialect_of(file, asked)
            if set(names) <= set(dialect.names) and not (are_numbers and not holds_numbers(file, dialect, names)):
                return dialect
    dialect = dialect_of(file, Asked())
    _warn(told(dialect, file))
    return dialect


def _known_labels(column: Any, name: str, spec: DataSpec, file: Path, first: int) -> torch.Tensor:
    """A column of labels as one-hot vectors of the classes that a model knows; ValueError for others."""
    codes, found = codes_of(column, name, file, first)
    places = [place_of(each, spec.labels) for each in found]
    if None in places:
        others = [each for each, place in zip(found, places, strict=True) if place is None]
        raise ValueError(unknown(others, spec.labels, f"{file}: column {name!r} has the label "))
    return _one_hot(np.array(places, np.int64)[codes], len(spec.labels))


def require_same_columns(
    expected: Sequence[str], found: Sequence[str], source: str, schema: Schema | None = None
) -> None:
    """Refuse columns among which some of the model's are missing; warn of those that are left out."""
    missing = [name for name in expected if name not in found]
    known = {*expected, *(() if schema is None else (column.name for column in schema.columns))}
    extra = [name for name in found if name not in known and not is_no_data(name)]
    if missing:
        others = f", and has {listed(extra)} instead" if extra else ""
        raise ValueError(
            f"{source} has other columns than the model: it lacks {listed(missing)}{others}: the model takes "
            f"{listed(expected)}"
        )
    if extra:
        warnings.warn(f"{source}: {listed(extra)} left out, not known to the model", DataWarning, stacklevel=3)


def _listing(names: str | Sequence[str], found: Sequence[str]) -> list[str]:
    """Names in a list; one text is a name, or where no column has it names with commas between."""
    if not isinstance(names, str):
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"columns are named by text, one or a list; got {shown(names)}")
        return list(names)
    if names in found or "," not in names:
        return [names]
    return [each if each in found else each.strip() for row in csv.reader(io.StringIO(names)) for each in row]


def _chosen(
    content: Content, columns: str | Sequence[str] | None, drop: str | Sequence[str], labels: str | None, file: Path
) -> tuple[list[str], list[str]]:
    """The names of the columns to use, and of those left out; ValueError for one that is not there or named twice."""
    found = list(content.columns)
    asked, without = None if columns is None else _listing(columns, found), _listing(drop, found)
    unknown_names = [
        name for name in [*(asked or ()), *without, *([] if labels is None else [labels])] if name not in found
    ]
    if unknown_names:
        hint = hint_at(unknown_names[0], found, " ").strip()
        raise ValueError(
            f"{file} has no column {listed(unknown_names)}; it has {listed(found)}{f': {hint}' if hint else ''}"
        )
    _warn(None if content.dialect is None else told(content.dialect, file))
    no_data = _no_data(content, {*without, labels}, file) if asked is None else []
    names = [name for name in (asked or found) if name not in (*without, *no_data, labels)]
    if not names:
        raise ValueError(f"{file}: no column is left of {listed(found)}")
    require_distinct(names, file)
    for name in counters({name: content.columns[name] for name in names}) if asked is None else ():
        _warn(f"{file}: column {name!r} counts the rows: drop it unless it is a property of them")
    return names, without


def _no_data(content: Content, without: set[str | None], file: Path) -> list[str]:
    """The columns that number or name the rows, each left out with a warning."""
    left_out = {name: what for name, what in row_numbers(content.columns, content.index) if name not in without}
    for name, what in left_out.items():
        _warn(f"{file}: column {name!r} left out, {what}: name it in columns to use it")
    return list(left_out)


def _warn(message: str | None) -> None:
    if message is not None:
        warnings.warn(message, DataWarning, stacklevel=2)


def _one_hot(codes: np.ndarray, num_classes: int) -> torch.Tensor:
    return functional.one_hot(torch.from_numpy(codes), num_classes).float()
