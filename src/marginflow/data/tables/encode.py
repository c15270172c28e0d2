"""The rows of a file as a schema keeps them: one float64 number a column, NaN where it is blank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.labels import place_of
from marginflow.base.names import hint_at, listed
from marginflow.base.overrides import of_column
from marginflow.data.schema import CONTINUOUS, LEVELLED, Column, Schema
from marginflow.data.tables.cells import TRUTH, pc
from marginflow.data.tables.contradictions import contradiction, held_in
from marginflow.data.tables.levels import POOL
from marginflow.data.tables.text_values import values_of
from marginflow.data.tables.types import value_type
from marginflow.data.tables.values import NANOSECONDS, TEMPORAL, Values

_NAMES = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
SHOWN = 50  # problems, each in a line
UNKNOWN = 100  # labels that are looked at once more


def encoded(
    columns: Mapping[str, Any],
    schema: Schema,
    path: Path = Path("table"),
    first: int = 0,
    read: Callable[[Any, Column, int], np.ndarray | str] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The rows of a file by a schema.

    Args:
        columns: by name, as `read` and `chunks` give them; others than the schema's are passed over.
        schema: of the rows.
        path: of the file, for messages.
        first: the number of their first row in the file.
        read: gives the numbers of a column, or says what is wrong with it; by default `numbers_of`.

    Returns:
        The modelled columns (N, D), the columns of the context (N, C) and the weights of the rows (N,), float64; None
        for a context or weights of which the file, or the schema, has no column.

    Raises:
        DataError: where columns are missing, and for values that do not fit: levels that are not known, numbers between
            the steps of a grid, blanks where there may be none; of each column the first, with its row.

    Examples:
        >>> from marginflow.data.tables.draft import drafted
        >>> columns = {"size": pa.array(["S", "M", None, "M"]), "price": np.array([1.5, 2.25, 1.5, 1.5])}
        >>> x, context, weights = encoded(columns, drafted(columns))
        >>> x[:3].tolist()
        [[1.0, 150.0], [0.0, 225.0], [nan, 150.0]]
    """
    context = schema.given if any(each.name in columns for each in schema.given) else ()
    weighing = [each for each in schema.columns if each.weighs and each.name in columns]
    wanted = [*schema.modelled, *context, *weighing]
    missing = [each.name for each in wanted if each.name not in columns]
    if missing:
        hint = hint_at(missing[0], columns, " ").strip()
        raise DataError(
            [f"{path} lacks {listed(missing)}; it has {listed(list(columns))}{f': {hint}' if hint else ''}"]
        )
    found, problems = {}, []
    for column in wanted:
        row = (read or numbers_of)(columns[column.name], column, first)
        if isinstance(row, str):
            problems.append(f"column {column.name!r} {row}")
        else:
            found[column.name] = torch.from_numpy(row)
    if problems:
        raise _refused(problems, path)
    x = torch.stack([found[each.name] for each in schema.modelled], 1)
    given = torch.stack([found[each.name] for each in context], 1) if context else None
    return x, given, found[weighing[0].name] if weighing else None


def _refused(problems: Sequence[str], path: Path) -> DataError:
    if len(problems) == 1:
        return DataError([f"{path}: {problems[0]}"])
    more = [f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    heading = f"{path}: {len(problems)} columns do not fit the schema (rows are counted from 0):"
    return DataError([heading, *(f"  {each.replace(' (counted from 0)', '')}" for each in problems[:SHOWN]), *more])


def numbers_of(given: Any, column: Column, first: int) -> np.ndarray | str:
    """A column's numbers (N,); or what is wrong with it, as a verb and what follows."""
    values = values_of(given, like(column)).from_row(first)
    found = of_different(values, column)
    if isinstance(found, str):
        return found
    row = np.append(found, np.nan)[values.codes]
    blank = values.codes < 0
    if blank.any() and not column.blank:
        where = f"in row {first + int(blank.argmax())} (counted from 0)"
        remedy = of_column(column.name, {"blank": True})
        return f"has no value {where}, where the schema has none missing: leave it out, or train with {remedy}"
    return row


def of_different(values: Values, column: Column) -> np.ndarray | str:
    """The number of each of the different values of a column; or what is wrong with it."""
    return _of_levels(values, column) if column.kind in LEVELLED else _of_numbers(values, column)


def like(column: Column) -> str:
    """The type by which text is read: that of the column, or of what its kind asks of it."""
    if column.kind in (*CONTINUOUS, "integer", "decimal", "weight"):
        kind = value_type(column.type)
        return "double" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else column.type
    return column.type


def _of_levels(values: Values, column: Column) -> np.ndarray | str:
    """The place of each of the different values among the levels."""
    if values.misfit is not None or values.family == "nested":
        return contradiction(values, column.kind) or "holds no levels"
    labels, places = places_among(values, column)
    wrong = np.isnan(places)
    if wrong.any() and not column.pooled:
        known = ", ".join(column.levels[:10]) + (", ..." if len(column.levels) > 10 else "")
        label = labels[int(values.codes[values.row_of(wrong)])].as_py()
        near = hint_at(label, column.levels, " ").strip()
        pool = f"train with {of_column(column.name, {'pool': POOL})}"
        other = f"write it as {' or '.join(column.levels)}" if is_truth(column, label) else pool
        remedy = near or f"leave it out, or {other}"
        return f"{held_in(values, wrong)}, none of the levels {known}: {remedy}"
    return np.where(wrong, len(column.levels) - 1, places)


def is_truth(column: Column, label: str) -> bool:
    """Whether a label that is none of a column's levels is a truth value, which the column has in other words."""
    return column.kind == "boolean" or (len(column.levels) == 2 and label.lower() in TRUTH)


def places_among(values: Values, column: Column) -> tuple[pa.Array, np.ndarray]:
    """The different values as labels, and their places among the levels, NaN of what is none."""
    labels = values.labels().cast(pa.string())
    found = pc.index_in(labels, pa.array(column.levels)).cast(pa.float64()).to_numpy(zero_copy_only=False)
    places = np.array(found)
    for i in np.flatnonzero(np.isnan(places))[:UNKNOWN]:  # in another form, as 1.0 for 1
        place = place_of(labels[int(i)].as_py(), column.levels)
        places[i] = np.nan if place is None else place
    return labels, places


def _of_numbers(values: Values, column: Column) -> np.ndarray | str:
    """The different values as numbers of a row."""
    if not len(values.distinct) and values.misfit is None:
        return np.empty(0)
    asked = column.kind if column.kind != "integer" else "decimal"  # what is not whole is off the grid
    wrong = contradiction(values, asked)
    if wrong is not None:
        return wrong
    if column.grid is None:
        return values.array.astype(np.float64)
    steps = steps_of(values, column)
    off = ~(steps == np.rint(steps))
    if off.any():
        return f"{held_in(values, off)}, between the steps of its grid, {step_in_words(column)} apart"
    return steps


def steps_of(values: Values, column: Column) -> np.ndarray:
    """The different values as steps of the column's grid, whole where they lie on it."""
    assert column.grid is not None
    return column.grid.steps(_in_unit(values, column) if column.kind in TEMPORAL else values.array)


def _in_unit(values: Values, column: Column) -> np.ndarray:
    """Dates and times in the unit of the schema's own type; those between its units as float64."""
    kind = value_type(column.type)
    own = NANOSECONDS[getattr(kind, "unit", "ms" if pa.types.is_date64(kind) else "day")]
    units = values.array
    if values.unit >= own:
        return units * (values.unit // own)
    whole, rest = np.divmod(units, own // values.unit)
    return whole if not rest.any() else whole + rest / (own // values.unit)


def step_in_words(column: Column) -> str:
    """The size of a step of a column on a grid.

    >>> from marginflow.data.grid import Grid
    >>> step_in_words(Column("day", "date", "date32[day]", grid=Grid(7)))
    '7 days'
    """
    assert column.grid is not None
    if column.kind not in TEMPORAL:
        return f"{column.grid.size:g}"
    kind = value_type(column.type)
    seconds = column.grid.step * NANOSECONDS[getattr(kind, "unit", "ms" if pa.types.is_date64(kind) else "day")] / 1e9
    size, name = next((seconds / size, name) for size, name in _NAMES if seconds % size == 0 or size == 1)
    return f"{size:g} {name}{'s' if size != 1 else ''}"
