"""Whether runs can be compared: the same held-out rows, and log p of the same thing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from marginflow.base.overrides import of_column, typed
from marginflow.data import Column
from marginflow.data.schema import CONTINUOUS
from marginflow.data.tables.dialect import Asked
from marginflow.runs.run import Run

# options of data that leave the held-out rows what they are; of tables, the columns that are left are compared
OF_TRAINING = {"noise", "labels", "flips", "columns", "drop", "context", "validation"}
OF_TRAINING |= {each.name for each in fields(Asked)}


def require_comparable(runs: Sequence[Run]) -> None:
    """Refuse runs whose log p are no two measures of one thing: ValueError with what differs, and how to mend it."""
    first, *others = runs
    for other in others:
        found = [*_of_columns(first, other), *_of_kinds(first, other), *_of_rows(first, other)]
        if found:
            raise ValueError(f"{first.path} and {other.path} cannot be compared: {'; '.join(found)}")


def _of_columns(one: Run, other: Run) -> Iterator[str]:
    """What the densities are of, and given what."""
    given, others = (() if each.spec.schema is None else _names(each.spec.schema.given) for each in (one, other))
    if given != others:
        a, b = (f"given {', '.join(map(repr, each))}" if each else "of all columns" for each in (given, others))
        yield f"the one's log p is {a}, the other's {b}: train both with the same --context"
        return
    ours, theirs = one.spec.columns, other.spec.columns
    if ours != theirs:
        alone = [f"{run.path} alone has {_listed(mine, its)}" for run, mine, its in (
            (one, ours, theirs), (other, theirs, ours)) if set(mine) - set(its)]  # fmt: skip
        what = "; ".join(alone) or f"their order is {', '.join(ours)} in one and {', '.join(theirs)} in the other"
        yield f"they are of different columns, {what}: train both on the same columns, by --drop or --columns"
    elif one.spec.event_shape != other.spec.event_shape:
        yield f"the shape is {one.spec.event_shape} in one and {other.spec.event_shape} in the other"


def _of_kinds(one: Run, other: Run) -> Iterator[str]:
    """Columns of which one has a probability, or one at some values, and the other a density."""
    ours, theirs = _by_name(one), _by_name(other)
    differ = [name for name in [*ours, *(theirs.keys() - ours)] if _kind(ours.get(name)) != _kind(theirs.get(name))]
    if not differ or one.spec.columns != other.spec.columns:
        return
    told = [f"column {name!r} has {_said(ours.get(name))} in one and {_said(theirs.get(name))} in the other"
            for name in differ[:3]]  # fmt: skip
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    run, columns = (one, ours) if one.spec.schema is not None else (other, theirs)
    options = [_as_real(columns[name]) for name in differ if name in columns]
    options = " ".join(each for each in options if each)
    remedy = f", such as {run.path} with {options}" if options else ""
    yield (
        f"{', '.join(told)}{more}; a probability of values is no density of real numbers, nor that of other values: "
        f"train again with the same kinds{remedy}"
    )


def _of_rows(one: Run, other: Run) -> Iterator[str]:
    """Options and values that decide on the test rows."""
    if one.spec.columns != other.spec.columns or _kinds(one) != _kinds(other):
        return
    ours, theirs = _what_decides(one), _what_decides(other)
    for what in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(what), theirs.get(what)
        if a != b:
            remedy = f": train one again with --set {shlex.quote(f'{what}={typed(a)}')}" if a is not None else ""
            remedy = "" if what == "the table's hash" else remedy
            yield f"{what} is {a!r} in one and {b!r} in the other, so their test rows differ{remedy}"
            return


def _what_decides(run: Run) -> dict[str, Any]:
    """What decides on the test rows of a run."""
    options = {f"data.{key}": each for key, each in run.experiment.data.model_dump().items() if key not in OF_TRAINING}
    return {**options, "the table's hash": run.spec.fingerprint.partition("-")[0]}  # without the labels


def _by_name(run: Run) -> dict[str, Column]:
    return {} if run.spec.schema is None else {column.name: column for column in run.spec.schema.modelled}


def _kinds(run: Run) -> dict[str, Any]:
    return {name: _kind(column) for name, column in _by_name(run).items() if _kind(column) is not None}


def _kind(column: Column | None) -> tuple[Any, ...] | None:
    """What a column has probabilities of; None where it has a density alone."""
    if column is None or (column.kind in CONTINUOUS and not column.atoms):
        return None
    if column.kind in CONTINUOUS:
        return ("spikes", *column.atoms)
    return (column.kind, *(column.levels if column.pooled else ()))


def _said(column: Column | None) -> str:
    if column is None or _kind(column) is None:
        return "a density (real)"
    if column.kind in CONTINUOUS:
        return f"a density with spikes ({len(column.atoms)})"
    return f"probabilities ({column.kind}{', rare levels pooled' if column.pooled else ''})"


def _as_real(column: Column) -> str:
    """The options that leave a column a density alone; empty where levels have none."""
    if column.levels:
        return ""
    about = {} if column.kind in CONTINUOUS else {"kind": "real"}
    return of_column(column.name, {**about, "atoms": []})


def _names(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _listed(mine: Sequence[str], its: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in mine if name not in its)
