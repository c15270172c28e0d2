"""The values that some columns of rows are given, as they are typed, in a file, or in a data frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.literal import literal
from marginflow.base.names import did_you_mean, listed
from marginflow.data.dataset import DataSpec
from marginflow.data.schema import Column
from marginflow.data.tables.cells import Texts, part_of
from marginflow.data.tables.decode import as_written
from marginflow.data.tables.encode import numbers_of
from marginflow.data.tables.numbers import Problem, as_numbers

_FIRST_ROW = " in row 0 (counted from 0)"


@dataclass(frozen=True)
class GivenRows:
    """Rows of which some columns are given.

    Attributes:
        x: (M, D), float64, as the model takes them; 0 in columns that are not given.
        given: which columns are, (D,).
        context: (M, C), where all its columns are given, too; None without one.
        names: of the columns of the model that are given, in the order of a row.
    """

    x: Tensor
    given: tuple[bool, ...]
    context: Tensor | None
    names: tuple[str, ...]

    def beside(self, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows and contexts, as many of both: where there is one of either, it stands for all.

        Raises:
            ValueError: where there are several of both, and not as many.
        """
        if context is None or len(context) == len(self.x):
            return self.x, context
        if min(len(self.x), len(context)) > 1:
            raise ValueError(
                f"{len(self.x)} rows have given values, and there are {len(context)} contexts: give as many, or one"
            )
        most = max(len(self.x), len(context))
        return self.x.expand(most, -1), context.expand(most, -1)


def typed_values(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Values as they are typed, as the columns of a text of one row; an empty one is blank."""
    return {name: Texts(pa.chunked_array([[text]])) for name, text in pairs.items()}


def given_rows(columns: Mapping[str, Any], spec: DataSpec, source: str) -> GivenRows:
    """Rows with some columns of a model's, all that is wrong with them at once.

    Args:
        columns: by name, as `read` gives them, all of one length; those of the context among them.
        spec: of the rows that the model takes.
        source: where the values come from, for messages, such as "--given".

    Returns:
        The rows.

    Raises:
        DataError: for columns that the model does not know or has left out, a context of which a part is missing,
            values outside of bounds or of unknown levels, and where every column is given.
    """
    names, contexts = _names(spec), () if spec.schema is None else spec.schema.given
    of_context = {each.name for each in contexts}
    problems = [_unknown(name, spec) for name in columns if name not in names and name not in of_context]
    missing = [each.name for each in contexts if each.name not in columns]
    if contexts and len(missing) < len(contexts) and missing:
        problems.append(f"the model needs its whole context: {listed(missing)} too")
    if all(name in columns for name in names):
        problems.append("every column is given, and nothing is left to draw: leave one out")
    length = max((len(each) for each in columns.values()), default=0)
    found: dict[str, np.ndarray] = {}
    for name in [each for each in columns if each in names or each in of_context]:
        values = _numbers(columns[name], name, spec)
        if isinstance(values, str):
            alone = values.replace(_FIRST_ROW, "") if length == 1 else values
            problems.append(f"column {literal(repr(name))} {alone}")
        else:
            found[name] = values
    if problems:
        several = [f"{source}:", *(f"  {each}" for each in problems)]
        raise DataError([f"{source}: {problems[0]}"] if len(problems) == 1 else several)
    x = np.stack([found.get(name, np.zeros(length)) for name in names], 1)
    context = np.stack([found[each.name] for each in contexts], 1) if contexts and not missing else None
    own = tuple(name for name in names if name in found)
    given = tuple(name in found for name in names)
    return GivenRows(torch.from_numpy(x), given, None if context is None else torch.from_numpy(context), own)


def _names(spec: DataSpec) -> list[str]:
    return spec.column_names if spec.schema is None else spec.schema.names


def _unknown(name: str, spec: DataSpec) -> str:
    """Why a column cannot be given."""
    known = {each.name: each for each in ([] if spec.schema is None else spec.schema.columns)}
    shown = literal(repr(name))
    if name in known:
        column = known[name]
        return f"column {shown} is left out of the model, {column.reason or f'a column of the kind {column.kind!r}'}"
    others = [*_names(spec), *(each.name for each in known.values() if each.given)]
    return f"the model has no column {shown}{did_you_mean(name, others)}; it has {listed(others)}"


def _numbers(column: Any, name: str, spec: DataSpec) -> np.ndarray | str:
    """The numbers of a column; or what is wrong with it, as a verb and what follows."""
    if spec.schema is None:
        values = as_numbers(column, name, 0)
        return values.what if isinstance(values, Problem) else values.astype(np.float64)
    own = spec.schema[name]
    values = numbers_of(column, own, 0)
    return values if isinstance(values, str) else _outside(values, own, column) or values


def _outside(values: np.ndarray, column: Column, cells: Any) -> str:
    """Which value lies outside of the bounds; empty where none does."""
    lower = -math.inf if column.lower is None else column.lower
    upper = math.inf if column.upper is None else column.upper
    wrong = np.flatnonzero((values < lower) | (values > upper))
    if column.levels or not len(wrong):
        return ""
    row = int(wrong[0])
    ends = ["" if each is None else as_written(each, column) for each in (column.lower, column.upper)]
    alone = part_of(cells, row, 1)
    cell = alone.cells[0].as_py() if isinstance(alone, Texts) else alone[0]
    between = f"{ends[0]} to {ends[1]}" if all(ends) else f"{ends[0]} or more" if ends[0] else f"{ends[1]} or less"
    return f"holds {literal(str(cell))} in row {row} (counted from 0), outside of its bounds: give {between}"
