"""What is suspicious in a table, found before a training: a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from marginflow.base.overrides import of_column
from marginflow.data.schema import CONTINUOUS, Column, Schema
from marginflow.data.tables.dependence import Function, functions
from marginflow.data.tables.duplicates import Duplicates, duplicates
from marginflow.data.tables.levels import POOL
from marginflow.data.tables.linear import linear

NEARLY = 0.995  # of the rows hold one value of a column that is nearly constant
SHOWN = 5  # names in a sentence


def findings(schema: Schema, x: Tensor, context: Tensor | None = None) -> list[str]:
    """Sentences on what is suspicious in a table.

    Rows that are the same, more than chance makes. Columns that are copies or functions of others: where they are real
    numbers that are no atoms, their density has no bound. Columns that are nearly constant. Levels without a training
    row.

    Args:
        schema: of the table; where it is fitted, its levels without training rows are named.
        x: (N, modelled columns), all rows, NaN where blank.
        context: (N, given columns), where there are such.

    Returns:
        A sentence for each finding, without a full stop; none for a table that is as it should be.

    Examples:
        >>> import torch
        >>> from marginflow.data.grid import Grid
        >>> schema = Schema((Column("cm", "integer", grid=Grid()), Column("inch", "real")))
        >>> x = torch.arange(100.0, dtype=torch.float64)[:, None] / torch.tensor([1, 2.54])
        >>> for each in findings(schema, x):
        ...     print(each)
        column 'inch' says the same as 'cm': drop it, as its density given that has no bound and a likelihood would mean
        nothing
    """
    rows = x.double().cpu().numpy()
    columns = list(schema.modelled)
    if context is not None and schema.given:
        rows = np.concatenate([context.double().cpu().numpy(), rows], 1)
        columns = [*schema.given, *columns]
    same = duplicates(rows)
    found = [] if not same.beyond_chance else [_of_copies(same)]
    different = rows[np.unique(same.groups, return_index=True)[1]] if same.beyond_chance else rows
    return [*found, *_of_functions(columns, different), *_of_constants(columns, rows), *_of_levels(columns)]


def _of_copies(same: Duplicates) -> str:
    return (
        f"{same.repeats:,} of {len(same.groups):,} rows are the same as an earlier one, where chance makes about "
        f"{same.expected:,.0f}: copies stay in one part of the split; remove them unless each is an observation"
    )


def _of_functions(columns: list[Column], rows: np.ndarray) -> Iterator[str]:
    """On columns that are settled by others: those that have a density, then the others, at once."""
    modelled = [j for j, column in enumerate(columns) if not column.given]
    dense = [j for j in modelled if _has_density(columns[j])]
    known = {function.column: function for function in functions(rows, modelled)}
    numbers = [j for j, column in enumerate(columns) if not column.levels]
    for j, of in linear(rows[:, numbers], [numbers.index(j) for j in dense]).items():
        known[numbers[j]] = Function(numbers[j], tuple(numbers[k] for k in of), both_ways=len(of) == 1)
    for j in dense:
        if j in known:
            what = "says the same as" if known[j].both_ways else "is a function of"
            of = _several([repr(columns[k].name) for k in known[j].of])
            yield (
                f"column {columns[j].name!r} {what} {of}: drop it, as its density given that has no bound and a "
                "likelihood would mean nothing"
            )
    harmless = [
        f"{columns[j].name!r} of {_several([repr(columns[k].name) for k in known[j].of])}"
        for j in sorted(set(known) - set(dense))
    ]
    if harmless:
        are = "1 column is a function" if len(harmless) == 1 else f"{len(harmless)} columns are functions"
        yield f"{are} of others, {_several(harmless, '; ')}: their probability comes near 1, which does no harm"


def _has_density(column: Column) -> bool:
    """Whether some values of a column are real numbers that are no atoms."""
    return column.kind in CONTINUOUS and not (column.shares and sum(column.shares) + column.blank_share > 1 - 1e-9)


def _several(names: list[str], between: str = ", ") -> str:
    return between.join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def _of_constants(columns: list[Column], rows: np.ndarray) -> Iterator[str]:
    """On columns of which one value holds nearly all rows."""
    found = []
    for j, column in enumerate(columns):
        value, count = _most_frequent(rows[:, j])
        if NEARLY * len(rows) <= count < len(rows):
            found.append(f"{column.name!r} is {_told(column, value)} in all but {len(rows) - count:,}")
    if found:
        are = "1 column is" if len(found) == 1 else f"{len(found)} columns are"
        yield f"{are} nearly constant in {len(rows):,} rows: {_several(found, '; ')}"


def _most_frequent(values: np.ndarray) -> tuple[float, int]:
    """The value that holds most rows, where one holds more than half, and how many."""
    middle = np.median(values[~np.isnan(values)]) if not np.isnan(values).all() else np.nan
    missing = int(np.isnan(values).sum())
    count = int((values == middle).sum())
    return (float(middle), count) if count >= missing else (np.nan, missing)


def _told(column: Column, value: float) -> str:
    if np.isnan(value):
        return "blank"
    if column.levels:
        return repr(column.levels[int(value)])
    if column.grid is not None:
        return f"{float(column.grid.values(np.array([value]))[0]):.15g}"
    return f"{value:.6g}"


def _of_levels(columns: list[Column]) -> Iterator[str]:
    """On levels that no training row has, but for the one that stands for all others."""
    found, rare = list[str](), list[Column]()
    for column in columns:
        levels = column.levels[:-1] if column.pooled else column.levels
        unseen = [repr(level) for level, share in zip(levels, column.shares, strict=False) if share == 0]
        if unseen:
            found.append(f"{_several(unseen)} in column {column.name!r}")
            rare += [] if column.pooled or column.kind == "boolean" else [column]
    if found:
        pool = f"; to pool rare levels give {of_column(rare[0].name, {'pool': POOL})}" if rare else ""
        yield f"levels that no training row has, {_several(found, '; ')}: their probability is a guess{pool}"
