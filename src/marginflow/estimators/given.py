"""Columns that are given to an estimator: rows drawn given these, and log p of others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.base.names import did_you_mean, listed
from marginflow.base.seeds import seeded
from marginflow.data.schema import Schema
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.frames import content_of, is_frame
from marginflow.data.tables.gaps import Gaps
from marginflow.data.tables.given import GivenRows, given_rows
from marginflow.distributions import Flow, GivenLogProb, log_prob_given
from marginflow.distributions.by_columns import NoFactorsError
from marginflow.distributions.fill import fill
from marginflow.distributions.sample_given import FEWEST, TooFewError
from marginflow.distributions.sample_given import sample_given as draw
from marginflow.estimators.layout import Layout
from marginflow.evaluation.sample import RawSamples

NO_FACTORS = "; fit FlowDensity('mixed'), or give these columns to fit as a context"


def rows_given(model: Flow, values: Any) -> GivenRows:
    """Values of some columns as rows of a model.

    Args:
        model: that knows its rows.
        values: of columns by name, each one value or several; or a data frame.

    Returns:
        The rows.

    Raises:
        DataError: for all that does not fit.
    """
    if is_frame(values):
        columns = content_of(values)[0].columns
    elif isinstance(values, Mapping) and values:
        columns = {str(name): _column(str(name), value) for name, value in values.items()}
    else:
        raise ValueError(f"given must be values by name, such as {{'price': 50}}, or a data frame; got {values!r}")
    lengths = {len(each) for each in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"given columns must have as many values as each other; got {sorted(lengths)}")
    assert model.spec is not None
    return given_rows(columns, model.spec, "given")


def _column(name: str, value: Any) -> Any:
    """One value, or several, as a column; None, NaN and what pandas has for none are blank."""
    several = isinstance(value, list | tuple | range) or np.ndim(value) > 0
    values = (value if hasattr(value, "__array__") else list(value)) if several else [value]
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        raise ValueError(f"given column {name!r} must hold values of one type, or one; got {value!r}") from None
    if not len(found):
        raise ValueError(f"given column {name!r} must hold one value at least; got {value!r}")
    return pa.nulls(len(found), pa.string()) if found.null_count == len(found) else found


def sample_given(model: Flow, layout: Layout, number: int, seed: int, context: Any, values: Any) -> Tensor:
    """Rows drawn given some columns; a warning where they are resampled.

    Raises:
        ValueError: where a value or the context does not fit, the density has no factor for each column, or too few
            weighted draws count.
    """
    rows = rows_given(model, values)
    contexts = rows.context
    if not rows.names and contexts is not None and context is None:  # nothing else is given
        assert model.spec is not None
        return torch.cat(list(RawSamples(model, model.spec, number, seed, context=contexts)))
    if context is not None or contexts is None:
        if contexts is not None:
            raise ValueError("the context is given twice: leave context= out")
        contexts = layout.read_context(context)
    x, contexts = rows.beside(contexts)
    try:
        with seeded(seed):
            found = draw(model, number, x, rows.given, contexts)
    except TooFewError as error:
        first = {"model": {"first": list(rows.names)}}
        raise ValueError(f"{error}; fit FlowDensity('mixed', options={first}), which begins with them") from None
    except NoFactorsError as error:
        raise ValueError(f"{error}{NO_FACTORS}") from None
    if not found.exact:
        warnings.warn(
            f"{number:,} rows come from {found.distinct:,} distinct ones of {found.num_draws:,} weighted draws",
            DataWarning, stacklevel=3,
        )  # fmt: skip
    return found.x


def score_given(
    model: Flow,
    layout: Layout,
    rows: tuple[Tensor, Tensor | None, Gaps],
    names: Any,
    columns: Any,
    num_samples: int,
    seed: int,
) -> GivenLogProb:
    """log p of some columns of rows given others, by their names; ValueError where there is no such column.

    rows: as a `Layout` reads them. Where the model has no place for a cell of a the result is -inf, of b NaN.
    """
    x, context, gaps = rows
    known = layout.kept
    b, a = _flags(names, known, "given"), None if columns is None else _flags(columns, known, "columns")
    try:
        with seeded(seed):
            found = log_prob_given(model, x, b, a, context, num_samples=num_samples)
    except NoFactorsError as error:
        raise ValueError(f"{error}{NO_FACTORS}") from None
    unknown = gaps.among(known)
    if unknown is None:
        return found
    of = ~torch.tensor(b) if a is None else torch.tensor(a)
    log_prob = torch.where((unknown & of).any(1), -torch.inf, found.log_prob.cpu())
    return replace(found, log_prob=torch.where((unknown & torch.tensor(b)).any(1), torch.nan, log_prob))


def quantiles_of(
    model: Flow,
    layout: Layout,
    X: Any,
    name: str,
    levels: Sequence[float],
    context: Any,
    num_samples: int,
    seed: int,
) -> np.ndarray:
    """Quantiles (N, Q) of a column of rows given the others; see `FlowDensity.predict_quantiles`."""
    place = _flags(name, layout.kept, "column").index(True)
    column = None if layout.schema is None else layout.schema[name]
    if column is not None and column.kind == "category":
        raise ValueError(f"column {name!r} is a category, whose levels have no order: take its levels by score_given")
    x, contexts, gaps = layout.read_without(X, name, context)
    unknown = gaps.among(layout.kept)
    missing = torch.zeros_like(x, dtype=torch.bool) if unknown is None else unknown.clone()
    missing[:, place] = True
    try:
        with seeded(seed):
            found = fill(model, x, missing, contexts, by="median", levels=levels, num_samples=num_samples)
    except NoFactorsError as error:
        raise ValueError(f"{error}{NO_FACTORS}") from None
    few = int((found.effective_sample_size < FEWEST).sum())
    if few:
        warnings.warn(f"of {few:,} rows fewer than {FEWEST} weighted draws count", DataWarning, stacklevel=3)
    quantiles = found.quantiles[:, place]
    if column is None:
        return quantiles.cpu().numpy()
    alone = Schema((column,))
    return np.stack([decoded(each[:, None], alone).column(0).to_numpy() for each in quantiles.cpu().unbind(1)], 1)


def _flags(names: Any, known: Sequence[str], what: str) -> list[bool]:
    """Which columns are named."""
    wanted = [names] if isinstance(names, str) else list(map(str, names))
    wrong = [name for name in wanted if name not in known]
    if wrong or not wanted:
        got = f"{wrong[0]!r}{did_you_mean(wrong[0], known)}" if wrong else "none"
        raise ValueError(f"{what} must name columns of the model, {listed(known)}; got {got}")
    return [name in wanted for name in known]
