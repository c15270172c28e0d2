"""Bounds and atoms that a user gives a column, in the unit of its rows."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

import numpy as np

from marginflow.data.column_options import ColumnOptions
from marginflow.data.grid import Grid
from marginflow.data.schema import LEVELLED, Kind
from marginflow.data.tables.contradictions import held_in
from marginflow.data.tables.values import NANOSECONDS, TEMPORAL, Values

_DURATION = re.compile(r"(?:(\d+) days?,? )?(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?")
Limits = tuple[float | None, float | None, tuple[float, ...]]


def limits_of(values: Values, kind: Kind, grid: Grid | None, asked: ColumnOptions) -> tuple[Limits, list[str]]:
    """Lower and upper bound and atoms of a column as they are asked for, and what is wrong with them.

    Args:
        values: of the column.
        kind: of it.
        grid: of it.
        asked: what the user says.

    Returns:
        The bounds and atoms, in steps of the grid where there is one; and problems.
    """
    nothing: Limits = (None, None, ())
    if kind in LEVELLED:
        wrong = [each for each in ("lower", "upper", "atoms", "transform") if getattr(asked, each) is not None]
        return nothing, [f"is of kind {kind!r}, which has no {each}" for each in wrong]
    problems: list[str] = []
    said = [None if is_none(each) else each for each in (asked.lower, asked.upper)]
    lower, upper = (
        _in_rows(each, name, values, kind, grid, problems) for each, name in zip(said, ("lower", "upper"), strict=True)
    )
    atoms = [_in_rows(each, "atoms", values, kind, grid, problems) for each in asked.atoms or ()]
    if problems:
        return nothing, problems
    if lower is not None and upper is not None and lower >= upper:
        return nothing, [f"has the bound lower = {asked.lower}, which must be below upper = {asked.upper}"]
    numbers = values.array.astype(np.float64) if grid is None else grid.steps(values.array)
    for name, wrong in (
        ("lower", lower is not None and numbers < lower),
        ("upper", upper is not None and numbers > upper),
    ):
        if np.any(wrong):
            side = "below" if name == "lower" else "above"
            problems.append(f"{held_in(values, np.asarray(wrong))}, {side} {name} = {getattr(asked, name)}")
    for said, atom in zip(asked.atoms or (), atoms, strict=True):
        if atom is not None and not (-np.inf if lower is None else lower) <= atom <= (
            np.inf if upper is None else upper
        ):
            problems.append(f"has the atom {said}, beyond the bounds lower = {asked.lower}, upper = {asked.upper}")
    return (lower, upper, tuple(sorted({each for each in atoms if each is not None}))), problems


def is_none(given: Any) -> bool:
    """Whether a bound is said to be none.

    >>> is_none("None"), is_none(None), is_none(0)
    (True, False, False)
    """
    return isinstance(given, str) and given.strip().lower() == "none"


def settled(asked: ColumnOptions) -> tuple[str, ...]:
    """Which bounds and atoms a user has said, also that there are none."""
    return tuple(each for each in ("lower", "upper", "atoms") if getattr(asked, each) is not None)


def _in_rows(given: Any, name: str, values: Values, kind: Kind, grid: Grid | None, problems: list[str]) -> float | None:
    """A number or date in the unit of rows; None where there is none, or where it is a problem."""
    if given is None:
        return None
    number = _units(given, kind, values.unit) if kind in TEMPORAL else _number(given)
    if number is None:
        what = (
            "a number"
            if kind not in TEMPORAL
            else {"date": "a date", "timestamp": "a date and time"}.get(kind, "a time")
        )
        problems.append(f"has {name} = {given!r}, which is not {what}")
        return None
    if grid is None:
        return float(number)
    steps = float(grid.steps(np.array([number]))[0])
    if steps != round(steps):
        problems.append(f"has {name} = {given}, between the steps of its grid, {grid.size:g} apart")
    return steps


def _number(given: Any) -> float | int | None:
    if isinstance(given, str):
        try:
            return float(given)
        except ValueError:
            return None
    return given if isinstance(given, int | float) and not isinstance(given, bool) else None


def _units(given: Any, kind: Kind, unit: int) -> int | None:
    """A date or time as TOML has it, or as text, in units since 1970 or midnight; of a duration also seconds."""
    if kind in ("time", "duration"):
        seconds = _seconds(given)
        return None if seconds is None else round(seconds * NANOSECONDS["s"]) // unit
    if not isinstance(given, str | date):
        return None
    try:
        moment = np.datetime64(str(given).strip().replace(" ", "T").removesuffix("Z").removesuffix("+00:00"), "us")
    except ValueError:
        return None
    return int(moment.astype(np.int64)) * NANOSECONDS["us"] // unit


def _seconds(given: Any) -> float | None:
    if isinstance(given, int | float):
        return given
    found = _DURATION.fullmatch(given.isoformat() if isinstance(given, time) else str(given))
    if found is None or isinstance(given, datetime):
        return None
    days, hours, minutes, seconds = (float(each or 0) for each in found.groups())
    return 86_400 * days + 3600 * hours + 60 * minutes + seconds
