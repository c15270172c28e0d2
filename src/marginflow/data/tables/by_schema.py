"""A table whose columns are of any kind: its schema, its rows by it, and their split."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.base.names import hint_at, listed
from marginflow.data.column_options import ColumnOptions
from marginflow.data.dataset import Batch, DataSet, Split
from marginflow.data.schema import Schema
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.findings import findings
from marginflow.data.tables.formats import stem_of
from marginflow.data.tables.read import Content
from marginflow.data.tables.split import ASIDE, by_different_rows, by_groups, by_time, without_validation
from marginflow.data.tables.statistics import fitted
from marginflow.data.tables.text_values import values_of

TIMES = ("date", "timestamp")  # kinds of columns by which rows can be split in time


@dataclass(frozen=True)
class Parts:
    """How the rows of a table are split.

    Attributes:
        validation: share of the rows; 0 trains on all but the test rows.
        test: share of the rows.
        seed: by which rows are drawn.
        how: "rows"; "time", by the only column of dates; or the name of a column that rises with time.
        group: a column whose rows of one value stay together; None without one.
    """

    validation: float
    test: float
    seed: int
    how: str = "rows"
    group: str | None = None


def by_schema(
    content: Content,
    file: Path,
    options: Mapping[str, ColumnOptions] | Schema | None,
    parts: Parts,
    *,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    context: Sequence[str] = (),
    weights: str | None = None,
) -> DataSet:
    """The rows of a file as numbers of a schema, split; what is suspicious in them comes as warnings.

    Args:
        content: of the file.
        file: its path.
        options: what the user says of columns, by name; a schema, by which rows are read as they were before; None
            where all but those of the context are real numbers.
        parts: how it is split.
        columns: which to use, all by default.
        drop: which to leave out.
        context: given which the others are modelled.
        weights: of the rows; rows of weight 0 are left out.

    Returns:
        A `DataSet` with its schema.

    Raises:
        DataError: for all that does not fit.
    """
    found = content.columns
    if isinstance(options, Schema):
        whole = Split(*encoded(found, options, file))
        return _data_set(file, options, whole, _split(found, options, _every(whole), parts, file), parts)
    weighing = [] if weights is None else [weights]
    named = [*context, *weighing, *([] if parts.group is None else [parts.group]), *(columns or ())]
    _require_known([*named, *([] if parts.how in ("rows", "time") else [parts.how])], found, file)
    left = [] if columns is None else [name for name in found if name not in (*columns, *context, *weighing)]
    left += [] if parts.group is None or parts.group in context else [parts.group]
    chosen = replace(content, columns={name: column for name, column in found.items() if name not in left})
    schema, whole = drafted_rows(chosen, file, options, drop=drop, context=context, weights=weights, meant=named)
    split = _split(found, schema, _every(whole), parts, file)
    schema = with_statistics(schema, whole, whole.take(_of_weight(whole, split[0])), file)
    return _data_set(file, schema, whole, split, parts)


def drafted_rows(
    content: Content,
    file: Path,
    options: Mapping[str, ColumnOptions] | None,
    *,
    drop: Sequence[str] = (),
    context: Sequence[str] = (),
    weights: str | None = None,
    meant: Sequence[str] = (),
) -> tuple[Schema, Split]:
    """A schema from the columns of a table, without statistics of its rows, and all rows by it.

    Args:
        content: of the table.
        file: its path, for messages.
        options: what the user says of columns; None where all but those of the context are real numbers.
        drop: columns to leave out.
        context: columns given which the others are modelled.
        weights: the column of weights.
        meant: columns that the user names besides, which are no row numbers.

    Returns:
        The schema and the rows, with their context and weights.

    Raises:
        DataError: for all that does not fit.
    """
    found, weighing = content.columns, [] if weights is None else [weights]
    _require_known([*context, *weighing], found, file)
    named = [*context, *weighing, *meant]
    about: dict[str, Any] = {"path": file, "given": context, "drop": drop, "meant": named, "index": content.index}
    asked = options if options is not None else _numbers(_all_but_the_context(found, about))
    asked = {**asked, **{name: ColumnOptions(kind="weight") for name in weighing}}
    try:
        schema = drafted(found, asked, **about)
    except DataError as error:
        others = [("or model columns of any kind", {"schema": {}})] if options is None else []
        raise DataError(error.lines, [*error.remedies, *others]) from None
    return schema, Split(*encoded(found, schema, file))


def with_statistics(schema: Schema, whole: Split, train: Batch, file: Path) -> Schema:
    """The schema with what training rows tell; what is suspicious in the table comes as warnings."""
    schema = fitted(schema, train.x, train.context, train.weight, all_rows=cast(Tensor, whole.x))
    for sentence in findings(schema, cast(Tensor, whole.x), whole.context):
        warnings.warn(f"{file}: {sentence}", DataWarning, stacklevel=5)
    return schema


def _every(whole: Split) -> Tensor:
    """The rows behind their context."""
    x = cast(Tensor, whole.x)
    return x if whole.context is None else torch.cat([whole.context, x], 1)


def _of_weight(whole: Split, rows: Tensor) -> Tensor:
    """Those of some rows that count."""
    return rows if whole.weight is None else rows[whole.weight[rows] > 0]


def _data_set(file: Path, schema: Schema, whole: Split, split: Sequence[Tensor], parts: Parts) -> DataSet:
    train, validation, test = (Split(*whole.take(_of_weight(whole, rows))) for rows in split)
    hashed = _every(whole) if whole.weight is None else torch.cat([_every(whole), whole.weight[:, None]], 1)
    return DataSet(
        stem_of(file),
        train,
        validation,
        test,
        columns=tuple(schema.names),
        fingerprint=hashlib.blake2b(np.ascontiguousarray(hashed.numpy()).data, digest_size=16).hexdigest(),
        schema=schema,
        trains_on_validation=not parts.validation,
    )


def _all_but_the_context(found: Mapping[str, Any], about: dict[str, Any]) -> list[str]:
    """The columns that are no context and number no rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said when the schema is made
        return drafted(found, **about).names


def _numbers(names: Sequence[str]) -> dict[str, ColumnOptions]:
    """Options by which columns are real numbers, as a flow takes them: none is missing."""
    return {name: ColumnOptions(kind="real", blank=False) for name in names}


def _require_known(names: Sequence[str], found: Mapping[str, object], file: Path) -> None:
    wrong = [name for name in dict.fromkeys(names) if name not in found]
    if wrong:
        hint = hint_at(wrong[0], found, " ").strip()
        raise DataError(
            [f"{file} has no column {listed(wrong)}; it has {listed(list(found))}{f': {hint}' if hint else ''}"]
        )


def _split(found: Mapping[str, object], schema: Schema, rows: Tensor, parts: Parts, file: Path) -> list[Tensor]:
    """The numbers of the training, validation and test rows."""
    rows_of_parts = _all_parts(found, schema, rows, parts, file)
    return rows_of_parts if parts.validation else without_validation(rows_of_parts)


def _all_parts(found: Mapping[str, object], schema: Schema, rows: Tensor, parts: Parts, file: Path) -> list[Tensor]:
    """The same, with validation rows that are not trained on."""
    shares = parts.validation or ASIDE, parts.test
    if parts.group is not None:
        if parts.how != "rows":
            raise ValueError(f"rows are split by group or in time; got group={parts.group!r} and split={parts.how!r}")
        return by_groups(_codes(found[parts.group]), *shares, parts.seed, file)
    if parts.how == "rows":
        return by_different_rows(rows.numpy(), *shares, parts.seed, file)
    name = parts.how if parts.how != "time" else _only_time(schema, file)
    return by_time(_codes(found[name]), *shares, file, name)


def _codes(column: object) -> np.ndarray:
    """A column as numbers, whatever becomes of it in a row: its values by their order, NaN where blank."""
    values = values_of(column)
    places = np.full(len(values.distinct) + 1, np.nan)
    places[np.argsort(values.array, kind="stable")] = np.arange(len(values.distinct))
    return places[values.codes]


def _only_time(schema: Schema, file: Path) -> str:
    names = [column.name for column in schema.columns if column.kind in TIMES]
    if len(names) != 1:
        which = "no column of dates" if not names else f"several columns of dates, {listed(names)}"
        raise DataError([f"{file} has {which}: name the one that it is split by, split = 'NAME'"])
    return names[0]
