"""A user's own table: text, .parquet, .feather or .npy, split by a seed."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marginflow.base.arguments import shown
from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning, LeftOut
from marginflow.base.names import hint_at, listed
from marginflow.base.settings import as_real
from marginflow.data.column_options import options_in
from marginflow.data.columns import warn_of_repeating_values
from marginflow.data.dataset import DataSet, Split
from marginflow.data.schema import Schema
from marginflow.data.tables.by_schema import Parts, by_schema
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.formats import stem_of
from marginflow.data.tables.labels import classes, one_hot
from marginflow.data.tables.notes import told
from marginflow.data.tables.paths import all_of, files_of, name_of
from marginflow.data.tables.read import Content, matrix, read, require_distinct
from marginflow.data.tables.row_numbers import counters, row_numbers
from marginflow.data.tables.several import together
from marginflow.data.tables.split import split as split_rows
from marginflow.data.tables.weights import weights_of_all


def table(
    path: str | Sequence[str],
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
            .npy file, whose columns are x0, x1, ..., as those of a text without header. Several in a list, or in a
            pattern such as "year-*.csv", are one table, rows behind rows; they have the same columns, in any order.
        columns: which columns to use, all by default; names in a list, or in one text with commas between.
        drop: which columns not to use.
        labels: a column of classes, as text or whole numbers, that becomes the one-hot context. A mixture over them
            weighs each by its share of the training rows.
        delimiter: between the values of a text; a blank stands for any number of blanks and tabs.
        validation: share of the rows for validation; 0 trains on all but the test rows, some of which stand as
            validation rows: for a training whose length is settled.
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
        FileNotFoundError: where there is no such file, or none that a pattern fits.

    Examples:
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/heights.npy"
        >>> np.save(path, np.random.randn(100, 2))
        >>> data = table(path)
        >>> data.train.x.shape, data.columns
        (torch.Size([80, 2]), ('x0', 'x1'))
    """
    validation, test = as_real(validation, "validation"), as_real(test, "test")
    if validation < 0 or test <= 0 or validation + test >= 1:
        raise ValueError(f"test must be positive, validation 0 or more, together below 1; got {validation} and {test}")
    files = files_of(path)
    asked = Asked(delimiter, decimal, thousands, encoding, header, skip)
    parts = Parts(validation, test, seed, split, group)
    roles = _Roles(columns, drop, labels, context, weights)
    if len(files) == 1:
        return _made(read(files[0], asked), files[0], roles, parts, schema)
    content, several = together(files, asked, partial(_wanted, roles=roles, parts=parts, schema=schema))
    with several.naming_rows():
        data = _made(content, all_of(files), roles, parts, schema)
    return replace(data, name=name_of(files))


@dataclass(frozen=True)
class _Roles:
    """What columns are for, as `table` is told."""

    columns: str | Sequence[str] | None
    drop: str | Sequence[str]
    labels: str | None
    context: str | Sequence[str]
    weights: str | None


def _wanted(
    found: list[str], roles: _Roles, parts: Parts, schema: Mapping[str, Any] | Schema | None
) -> tuple[set[str] | None, set[str]]:
    """Of the columns that several files have, those that each must have, None for all, and those that are left out."""
    others = [roles.labels, roles.weights, parts.group, parts.how if parts.how in found else None]
    only = None if roles.columns is None else _listing(roles.columns, found)
    if isinstance(schema, Schema):
        only = [each.name for each in schema.columns if each.is_modelled or each.given or each.weighs]
    if only is not None:
        only += [*_listing(roles.context, found), *(name for name in others if name is not None)]
    return None if only is None else set(only), set(_listing(roles.drop, found))


def _made(
    content: Content, file: Path, roles: _Roles, parts: Parts, schema: Mapping[str, Any] | Schema | None
) -> DataSet:
    """The data set of what a file holds, or several."""
    columns, drop, labels, weights = roles.columns, roles.drop, roles.labels, roles.weights
    named = _listing(roles.context, list(content.columns))
    if schema is not None or named or parts.group is not None or parts.how != "rows":
        if labels is not None:
            raise DataError(["labels are for tables of real numbers"], [("give in their place", {"context": [labels]})])
        _warn(None if content.dialect is None else told(content.dialect, file))
        about: dict[str, Any] = {"context": named, "drop": _listing(drop, list(content.columns))}
        about["columns"] = None if columns is None else _listing(columns, list(content.columns))
        about["weights"] = weights
        options = options_in(schema) if isinstance(schema, Mapping) else schema
        return by_schema(content, file, options, parts, **about)
    weight = None if weights is None else weights_of_all(content.columns, weights, file)
    dropped = drop if weights is None else [*_listing(drop, list(content.columns)), weights]
    names, without = _chosen(content, columns, dropped, labels, file)
    x = matrix(content.columns, names, file, dropped=without, labels=labels)
    warn_of_repeating_values(torch.from_numpy(x), names, dropped=_listing(drop, list(content.columns)))
    codes, label_names = (None, ()) if labels is None else classes(content.columns[labels], labels, file)
    whole = Split(torch.from_numpy(x), None if codes is None else one_hot(codes, len(label_names)), weight)
    if weight is not None:
        whole = Split(*whole.take(weight > 0))
    train_rows, validation_rows, test_rows = split_rows(whole, parts.validation, parts.test, parts.seed, file)
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
        trains_on_validation=not parts.validation,
    )


def _shares(one_hot: torch.Tensor, weight: torch.Tensor | None) -> tuple[float, ...]:
    """The share of each label in some rows."""
    return tuple((one_hot.mean(0) if weight is None else weight @ one_hot / weight.sum()).tolist())


def _fingerprint(x: np.ndarray, codes: np.ndarray | None, weight: torch.Tensor | None) -> str:
    """What tells whether a table is still the one that a run was trained on: of its values, labels and weights."""
    parts = [x] if codes is None else [x, codes.astype(np.int64)]
    parts += [] if weight is None else [weight.numpy()]
    return "-".join(hashlib.blake2b(np.ascontiguousarray(part).data, digest_size=16).hexdigest() for part in parts)


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
        _warn(DataWarning(f"{file}: column {name!r} counts the rows: drop it unless it is a property of them"))
    return names, without


def _no_data(content: Content, without: set[str | None], file: Path) -> list[str]:
    """The columns that number or name the rows, each left out with a warning."""
    left_out = {name: what for name, what in row_numbers(content.columns, content.index) if name not in without}
    for name, what in left_out.items():
        _warn(LeftOut(f"{file}: column {name!r} left out, {what}: name it in columns to use it"))
    return list(left_out)


def _warn(message: DataWarning | None) -> None:
    if message is not None:
        warnings.warn(message, stacklevel=2)
