"""What is said of columns that are left out for what they hold, and how to use them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marginflow.base.data_warning import DataWarning, LeftOut
from marginflow.base.literal import literal
from marginflow.base.overrides import of_column
from marginflow.data.schema import Column
from marginflow.data.tables.levels import POOL
from marginflow.data.tables.units import unit_in
from marginflow.data.tables.values import Values

SHOWN = 20  # columns in the line


class Use(NamedTuple):
    """How a column that is left out can be used.

    Attributes:
        option: that takes it as it stands, as it is typed; "" where none makes sense.
        correction: what must be done to its cells, where these are wrong; "" where nothing is.
    """

    option: str = ""
    correction: str = ""


NO_USE = Use()


def use_of(name: str, column: Column, values: Values) -> Use:
    """How a column that is left out can be used.

    Whole numbers that count rows are numbers; text whose levels have rows is a category; text that is another in nearly
    each row is nothing that a model could learn.

    Examples:
        >>> from marginflow.data.tables.values import of_arrow
        >>> use_of("id", Column("id", "identifier"), of_arrow(np.arange(30))).option
        '--set schema.id.kind=integer'
    """
    if values.family == "text" and (unit := unit_in(values)) is not None:
        return Use(correction=f"strip that, in pandas {literal(unit.stripped_in_pandas(name))}")
    if values.family == "text" and values.misfit is not None:
        return Use(correction="correct these cells, or empty them")
    if column.kind == "text" and values.family == "text" and (values.counts >= POOL).sum() > 1:
        return Use(f"{of_column(name, {'pool': POOL})}, the rows that a level needs")
    if column.kind == "identifier" and values.family == "whole" and np.ptp(values.array) < 2**53:
        return Use(of_column(name, {"kind": "integer"}))
    return NO_USE


def warn_of_left_out(out: Sequence[tuple[Column, Use]], path: Path) -> None:
    """Say in one line which columns are left out for what they are, and of each whose cells are wrong in its own."""
    wrong = [(column, use) for column, use in out if use.correction]
    others = [(column, use) for column, use in out if not use.correction]
    for column, use in wrong:
        message = f"{path}: left out {_said(column)}; to use it {use.correction}"
        warnings.warn(DataWarning(message), stacklevel=5)
    if others:
        said = ", ".join(_said(column) for column, _ in others[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        option = next((use.option for _, use in others if use.option), "")
        to_use = f"; to use one give {option}" if option else ""
        warnings.warn(LeftOut(f"{path}: left out {said}{more}{to_use}"), stacklevel=5)


def _said(column: Column) -> str:
    return f"{literal(repr(column.name))} ({column.kind}: {column.reason})"
