"""What the training rows say of each column: shares, atoms, bounds, warps, quantiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.overrides import of_column
from marginflow.data.quantiles import quantiles
from marginflow.data.schema import NUM_QUANTILES, Column, Schema
from marginflow.data.tables.atoms import atoms_of
from marginflow.data.tables.bounds import bounds_of_real, bounds_on_grid
from marginflow.data.tables.counts import Counts, counted
from marginflow.data.tables.types import value_type
from marginflow.data.tables.values import NANOSECONDS
from marginflow.data.warp import Warp, warp_of

REST_SHARE, REST_ROWS = 0.05, 200  # of the rest of a column on a grid that speaks for itself
NOWHERE = (np.inf, -np.inf)


def fitted(
    schema: Schema,
    x: Tensor,
    context: Tensor | None = None,
    weights: Tensor | None = None,
    all_rows: Tensor | None = None,
) -> Schema:
    """A schema with what rows say of its columns: shares, atoms, bounds, warps and quantiles.

    Bounds and atoms that the schema has already stay, and so does the shape of a warp; their numbers are found.

    Args:
        schema: of the table; its kinds, grids and levels.
        x: (N, modelled columns), the training rows as float64 numbers, NaN where blank.
        context: (N, given columns), where there are such.
        weights: (N,) of the rows; all alike by default.
        all_rows: (M, modelled columns), of the whole table; an end of the training rows that one of them crosses is no
            bound.

    Returns:
        The schema.

    Raises:
        DataError: for columns without a value in these rows, and for values outside of the bounds that the schema has.

    Examples:
        >>> schema = Schema((Column("size", "category", levels=("S", "M")), Column("price", "positive")))
        >>> x = torch.tensor([[0, 1.5], [1, 2.5], [1, 9.0], [1, 3.5]], dtype=torch.float64)
        >>> size, price = fitted(schema, x).columns
        >>> size.shares, price.quantiles[0], price.quantiles[-1], price.warp.shape
        ((0.25, 0.75), 1.5, 9.0, 'log')
    """
    weights = torch.ones(len(x)) if weights is None else weights
    plain = weights.double().cpu().numpy()
    found, problems, empty = dict[str, Column](), list[str](), list[str]()
    reach = _reach(schema, all_rows)
    for column, values in _columns(schema, x, context):
        try:
            found[column.name] = (
                _levelled(column, values, plain)
                if column.levels
                else _of_numbers(column, values, plain, reach.get(column.name, NOWHERE))
            )
        except ValueError as error:
            problems.append(f"column {column.name!r} {error}")
            empty += [column.name] if np.isnan(values).all() else []
    if problems:
        heading = [f"{len(problems)} columns cannot be used:"] if len(problems) > 1 else []
        raise DataError([*heading, *problems], [("give more rows, or leave it out", {"drop": empty})] if empty else [])
    return Schema(tuple(found.get(column.name, column) for column in schema.columns))


def _columns(schema: Schema, x: Tensor, context: Tensor | None) -> Iterator[tuple[Column, np.ndarray]]:
    pairs = [(schema.modelled, x)] if context is None else [(schema.modelled, x), (schema.given, context)]
    for columns, rows in pairs:
        for i, column in enumerate(columns):
            yield column, rows[:, i].double().cpu().numpy()


def _reach(schema: Schema, rows: Tensor | None) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each column of numbers."""
    if rows is None or not len(rows):
        return {}
    least = rows.nan_to_num(torch.inf, torch.inf, -torch.inf).amin(0).tolist()
    most = rows.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(0).tolist()
    return dict(zip(schema.names, zip(least, most, strict=True), strict=True))


def _levelled(column: Column, codes: np.ndarray, weights: np.ndarray) -> Column:
    """A column of levels, with the share of each."""
    blank, total = np.isnan(codes), weights.sum()
    own = np.bincount(codes[~blank].astype(np.int64), weights[~blank], len(column.levels))
    return replace(column, blank_share=float(weights[blank].sum() / total), shares=tuple((own / total).tolist()))


def _of_numbers(column: Column, values: np.ndarray, weights: np.ndarray, reach: tuple[float, float]) -> Column:
    """A column of numbers, with all that is known of it."""
    counts, total = counted(values, weights), weights.sum()
    if not len(counts.values):
        raise ValueError(f"has no value in the {len(values):,} training rows")
    lower, upper = _bounds(column, counts, reach)
    atoms = _atoms(column, counts, lower, upper)
    rest = _rest(counts, atoms, on_grid=column.grid is not None)
    return replace(
        column,
        lower=lower,
        upper=upper,
        atoms=tuple(atoms.tolist()),
        warp=_warp(column, rest, lower, upper),
        blank_share=float(weights[np.isnan(values)].sum() / total),
        shares=tuple((counts.weights_at(atoms) / total).tolist()),
        quantiles=tuple(quantiles(rest.values, rest.weights, np.linspace(0, 1, NUM_QUANTILES)).tolist()),
    )


def _bounds(column: Column, counts: Counts, reach: tuple[float, float]) -> tuple[float | None, float | None]:
    """The bounds of a column: those it has, those its values show, and of times those of a day; dates go on."""
    lower = upper = None
    if column.grid is None:  # where a bound is an atom
        told = not ("atoms" in column.settled and not column.atoms)
        lower, upper = bounds_of_real(counts, atoms_of(counts, on_grid=False)) if told else (None, None)
    elif column.kind not in ("date", "timestamp"):
        lower, upper = bounds_on_grid(counts, column.grid)
    first, last = _of_the_day(column)
    lower, upper = first if lower is None else lower, last if upper is None else upper
    asked = {*column.settled, *(name for name in ("lower", "upper") if getattr(column, name) is not None)}
    lower = first if lower is not None and reach[0] < lower else lower
    upper = last if upper is not None and reach[1] > upper else upper
    lower, upper = column.lower if "lower" in asked else lower, column.upper if "upper" in asked else upper
    outside = (counts.values < (-np.inf if lower is None else lower)) | (
        counts.values > (np.inf if upper is None else upper)
    )
    if outside.any():
        raise ValueError(
            f"has values outside of its bounds, lower = {lower} and upper = {upper}, in "
            f"{int(counts.rows[outside].sum())} training rows, such as {counts.values[outside][0]:g}: widen the "
            f"bounds, as by {of_column(column.name, {'lower': 'none', 'upper': 'none'})}, or leave these rows out"
        )
    return lower, upper


def _of_the_day(column: Column) -> tuple[float | None, float | None]:
    """The first and the last step of the day, of times; None of other columns."""
    if column.kind != "time" or column.grid is None or not pa.types.is_time(value_type(column.type)):
        return None, None
    units = NANOSECONDS["day"] // NANOSECONDS[value_type(column.type).unit]
    first = -(column.grid.origin // column.grid.step)
    return float(first), float((units - 1 - column.grid.origin) // column.grid.step)


def _atoms(column: Column, counts: Counts, lower: float | None, upper: float | None) -> np.ndarray:
    """The atoms of a column: those it has, or those its values show, and the closed bounds of real numbers."""
    on_grid = column.grid is not None
    atoms = np.array(column.atoms) if column.atoms or "atoms" in column.settled else atoms_of(counts, on_grid=on_grid)
    closed = [] if on_grid else [bound for bound in (lower, upper) if bound is not None]
    return np.unique(np.concatenate([atoms, closed]))


def _rest(counts: Counts, atoms: np.ndarray, *, on_grid: bool) -> Counts:
    """The values that are no atoms; where these are hardly any, all values, each as if in one row."""
    rest = counts.where(~np.isin(counts.values, atoms))
    if on_grid:
        enough = rest.num_rows >= min(REST_SHARE * counts.num_rows, REST_ROWS) and len(rest.values) > 0
    else:
        enough = len(rest.values) > 1
    return rest if enough else counts.alike()


def _warp(column: Column, rest: Counts, lower: float | None, upper: float | None) -> Warp:
    """The warp of the rest, finite at the edges of all cells inside of the bounds."""
    cell = 0.0 if column.grid is None else 1.0
    lower, upper = None if lower is None else lower - cell, None if upper is None else upper + cell
    if column.kind == "positive" and lower is None:
        lower = 0.0
    inside = np.ones(len(rest.values), bool)
    if not cell:
        inside &= rest.values > (-np.inf if lower is None else lower)
        inside &= rest.values < (np.inf if upper is None else upper)
    values, weights = (torch.from_numpy(each[inside]) for each in (rest.values, rest.weights))
    if not len(values):  # all values are closed bounds
        values, weights = torch.tensor([_between(lower, upper)], dtype=torch.float64), torch.ones(1).double()
    try:
        return warp_of(values, lower, upper, weights, cell, None if column.warp is None else column.warp.shape)
    except ValueError as error:
        raise ValueError(f"cannot be: {error}") from None


def _between(lower: float | None, upper: float | None) -> float:
    """A number inside of bounds, of which there is at least one."""
    if lower is not None and upper is not None:
        return lower + (upper - lower) / 2
    return (lower or 0.0) + 1.0 if lower is not None else (upper or 0.0) - 1.0
