"""A schema from a file's columns: what each is, its grid or levels; what training rows tell is found later."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marginflow.base.data_error import DataError, Options
from marginflow.base.data_warning import DataWarning
from marginflow.base.literal import literal
from marginflow.base.names import hint_at, listed
from marginflow.base.overrides import of_column
from marginflow.data.column_options import ColumnOptions
from marginflow.data.date_formats import kind_in
from marginflow.data.grid import Grid
from marginflow.data.schema import CONTINUOUS, GRIDDED, LEVELLED, Column, Kind, Schema
from marginflow.data.tables.contradictions import NUMERIC, TOO_MANY, contradiction, held_in
from marginflow.data.tables.kinds import Told, kind_of
from marginflow.data.tables.left_out import NO_USE, Use, use_of, warn_of_left_out
from marginflow.data.tables.levels import levels_of, pool_for
from marginflow.data.tables.limits import limits_of, settled
from marginflow.data.tables.row_numbers import counters, row_numbers
from marginflow.data.tables.steps import EXACT, digits_of, grid_for, grid_of_step
from marginflow.data.tables.text_values import values_of
from marginflow.data.tables.values import Values
from marginflow.data.tables.weights import ALL_ZERO
from marginflow.data.warp import Warp

REQUESTED = "left out on request"
LEFT_OUT = ("identifier", "constant", "text")
_TYPES = {"date": "date32[day]", "timestamp": "timestamp[s]", "time": "time32[s]"}  # as what text is read


@dataclass(frozen=True)
class Draft:
    """A column of a schema, and what is to be said of it.

    Attributes:
        column: None where something is wrong.
        problems: each a verb and what follows.
        blanks: texts that were taken for missing values.
        readings: the formats of dates, of which day and month cannot be told apart.
        use: how a column that is left out can be used.
        pool: how many rows a level must have for there not to be too many.
    """

    column: Column | None
    problems: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    use: Use = NO_USE
    pool: int | None = None


def drafted(
    columns: Mapping[str, Any],
    options: Mapping[str, ColumnOptions] | None = None,
    *,
    path: Path = Path("table"),
    given: Sequence[str] = (),
    weights: str | None = None,
    drop: Sequence[str] = (),
    meant: Sequence[str] = (),
    index: tuple[str, ...] = (),
) -> Schema:
    """The schema of a file's columns: kinds, grids, levels, blanks, and all that is asked for; no statistics.

    What is left out is said in a `DataWarning`, and so are texts such as ? that are taken for missing values.

    Args:
        columns: by name, as `read` gives them.
        options: by name, what the user says of them.
        path: of the file, for messages.
        given: columns of the context.
        weights: the column of weights of the rows.
        drop: columns to leave out.
        meant: columns that the user names, which are no row numbers.
        index: columns that pandas notes as the index of its data frame.

    Returns:
        The schema, in which training rows are to find warps, atoms and bounds where none are asked for.

    Raises:
        DataError: for all that does not fit: columns that are not there, kinds that values contradict, grids that they
            miss, bounds that contradict each other.

    Examples:
        >>> schema = drafted({"size": np.array([0, 1, 0, 1]), "price": np.array([1.5, 2.25, 1.5, 1.5])})
        >>> [(each.name, each.kind) for each in schema.columns], schema["price"].grid
        ([('size', 'boolean'), ('price', 'decimal')], Grid(step=1, origin=0, digits=2))
    """
    options = dict(options or {})
    _require_known([*options, *given, *drop, *([] if weights is None else [weights])], columns, path)
    left_out = {name: what for name, what in row_numbers(columns, index) if name not in meant}
    left_out |= {name: "counts the rows" for name in counters(columns) if name not in (*meant, *left_out)}
    drafts = {}
    for name, column in columns.items():
        asked = options.get(name, ColumnOptions())
        if name == weights:
            asked = asked.model_copy(update={"kind": "weight"})
        told = Told("identifier", left_out[name]) if name in left_out and asked.kind is None else None
        drafts[name] = _draft(name, column, asked, told, given=name in given, drop=name in drop, meant=name in meant)
    return _schema(drafts, path, drop)


def _require_known(names: Sequence[str], columns: Mapping[str, Any], path: Path) -> None:
    wrong = [name for name in dict.fromkeys(names) if name not in columns]
    if wrong:
        hint = hint_at(wrong[0], columns, " ").strip()
        raise DataError(
            [f"{path} has no column {listed(wrong)}; it has {listed(list(columns))}{f': {hint}' if hint else ''}"]
        )


def _draft(
    name: str, column: Any, asked: ColumnOptions, told: Told | None, *, given: bool, drop: bool, meant: bool
) -> Draft:
    """One column."""
    values = values_of(column)
    if asked.format is not None and not drop:
        found = _dated(values, column, asked)
        if isinstance(found, str):
            return Draft(None, (found,))
        values = found
    elif asked.kind in _TYPES and values.readings:
        return Draft(None, (f"may be day or month first: give {_either(name, values.readings)}",))
    elif asked.kind is not None and asked.kind not in LEFT_OUT and values.family == "text":
        like = "double" if asked.kind in NUMERIC else _TYPES.get(asked.kind)
        values = values if like is None else values_of(column, like)
    kind, reason = told or (_asked_kind(asked, values) or kind_of(values, name, meant=meant or given))
    if asked.kind is None and kind == "category" and "ordered=1" in values.type:
        kind = "ordered"
    if drop or asked.kind in LEFT_OUT:
        reason = REQUESTED
    if reason:
        said = (f"cannot be given, it is left out: {reason}",) if given and not drop else ()
        column = Column(name, kind, values.type, reason, blank=values.num_blank > 0)
        use = NO_USE if reason == REQUESTED else use_of(name, column, values)
        return Draft(None if said else column, said, readings=() if drop or asked.kind else values.readings, use=use)
    wrong = contradiction(values, kind)
    if wrong is not None:
        return Draft(None, (wrong if asked.kind is None else f"cannot be of kind {kind!r}: it {wrong}",))
    if kind == "weight" and not values.array.any():
        return Draft(None, (ALL_ZERO,))
    if kind == "weight":
        return Draft(Column(name, kind, values.type))
    return _modelled(name, column, values, kind, asked, given)


def _dated(values: Values, column: Any, asked: ColumnOptions) -> Values | str:
    """The dates or times in text of a given format; or what is wrong, as a verb and what follows."""
    assert asked.format is not None
    kind = kind_in(asked.format)
    if asked.kind not in (None, kind):
        return f"is to be of kind {asked.kind!r}, and {asked.format!r} is the format of a {kind}"
    if not values.is_text:
        return f"holds no text, but {values.type}, which has no format: leave format out"
    found = values_of(column, f"text {_TYPES[kind]} {asked.format}", strict=True)
    if found.misfit is not None:
        row = f"in row {found.misfit.row} (counted from 0)"
        return f"holds {found.misfit.text!r} {row}, which is not written as format = {asked.format!r}"
    return found


def _either(name: str, readings: Sequence[str]) -> str:
    return " or ".join(of_column(name, {"format": each}) for each in readings)


def _asked_kind(asked: ColumnOptions, values: Values) -> Told | None:
    """The kind that options ask for, by their names or by what they mean."""
    if asked.kind is not None:
        return Told(asked.kind)
    if asked.levels is not None or asked.pool is not None:
        return Told("category")
    if asked.step is not None and values.family in ("whole", "number"):
        return Told("integer" if values.family == "whole" and asked.step == int(asked.step) else "decimal")
    return None


def _modelled(name: str, column: Any, values: Values, kind: Kind, asked: ColumnOptions, given: bool) -> Draft:
    """A column that has a factor, or is part of the context."""
    problems, grid, levels, pooled = [], None, (), False
    if asked.blank is False and values.num_blank:
        row = int(np.flatnonzero(values.codes < 0)[0])
        problems.append(
            f"has no value in row {row} (counted from 0), {values.num_blank:,} in all, where none may be missing"
        )
    if kind in LEVELLED:
        levels, pooled, wrong = levels_of(values, column, kind, asked)
        problems += wrong
    elif kind in GRIDDED:
        found = grid_for(values, kind) if asked.step is None else grid_of_step(asked.step, values, kind)
        if isinstance(found, Grid):
            grid = found
            problems += _off(grid, values)
        else:
            problems.append(found or "lies on no grid of at most 15 digits")
    if asked.step is not None and kind not in GRIDDED:
        problems.append(f"is of kind {kind!r}, which has no step")
    limits, wrong = limits_of(values, kind, grid, asked)
    problems += wrong
    if problems:
        return Draft(None, tuple(problems), pool=pool_for(values) if len(levels) > TOO_MANY else None)
    blank = asked.blank if asked.blank is not None else values.num_blank > 0
    warp = None if asked.transform is None else Warp(asked.transform)  # whose numbers training rows tell
    digits = digits_of(values) if kind in CONTINUOUS and asked.kind is None else None
    made = Column(
        name, kind, values.type, "", given, blank, levels, pooled, grid, *limits, warp,
        settled=settled(asked), digits=digits,
    )  # fmt: skip
    return Draft(made, (), values.blanks, values.readings)


def _off(grid: Grid, values: Values) -> list[str]:
    """What value the grid misses."""
    steps = grid.steps(values.array)
    wrong = steps != np.rint(steps)
    if wrong.any():
        return [f"{held_in(values, wrong)}, between the steps of its grid, {grid.size:g} apart"]
    if np.abs(steps).max() >= EXACT:
        return [f"takes {np.abs(steps).max():.0g} steps of its grid, more than float64 tells apart: round it"]
    return []


def _schema(drafts: Mapping[str, Draft], path: Path, drop: Sequence[str]) -> Schema:
    """All columns as a schema, with a warning of what is left out; or what is wrong with them."""
    wrong = {name: draft.problems for name, draft in drafts.items() if draft.problems}
    columns = [draft.column for draft in drafts.values() if draft.column is not None]
    weighing = [column.name for column in columns if column.kind == "weight"]
    if len(weighing) > 1:
        wrong[weighing[-1]] = (f"is a second column of weights, beside {weighing[0]!r}",)
    if wrong:
        lines = [f"column {name!r} {what}" for name, problems in wrong.items() for what in problems]
        heading = [f"{path}: {len(lines)} problems with its columns:"] if len(lines) > 1 else []
        lines = [f"  {line}" for line in lines] if heading else [f"{path}: {lines[0]}"]
        raise DataError([*heading, *lines], _remedies(list(wrong), drafts, drop))
    if not any(column.is_modelled for column in columns):
        reasons = [f"  {column.name!r}: {column.reason or 'given, or the weight'}" for column in columns[:20]]
        raise DataError([f"{path}: no column is left to be modelled:", *reasons])
    drawn = [(draft.column, draft.use) for draft in drafts.values() if draft.column is not None]
    warn_of_left_out([each for each in drawn if each[0].reason not in ("", REQUESTED)], path)
    blanks = {name: draft.blanks for name, draft in drafts.items() if draft.blanks}
    if blanks:
        words = sorted({each for found in blanks.values() for each in found})
        message = f"{path}: {listed(words)} taken for missing values in {listed(list(blanks))}"
        warnings.warn(message, DataWarning, stacklevel=3)
    for name, draft in drafts.items():
        if draft.readings:
            message = f"{path}: {literal(repr(name))} may be day or month first, and is taken for text: for dates give"
            warnings.warn(f"{message} {_either(name, draft.readings)}", DataWarning, stacklevel=3)
    return Schema(tuple(columns))


def _remedies(wrong: Sequence[str], drafts: Mapping[str, Draft], drop: Sequence[str]) -> list[tuple[str, Options]]:
    if len({*wrong, *drop}) == len(drafts):
        return []
    pooled = {name: {"pool": drafts[name].pool} for name in wrong if drafts[name].pool is not None}
    pooling: list[tuple[str, Options]] = [("pool rare levels", {"schema": pooled})] if pooled else []
    out = f"correct that, or leave {'it' if len(wrong) == 1 else 'them'} out"
    return [*pooling, (out, {"drop": [*drop, *wrong]})]
