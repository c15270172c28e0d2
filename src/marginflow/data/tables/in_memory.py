"""Rows in memory as a data set: their schema, an order of their own, and validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.data.column_options import ColumnOptions
from marginflow.data.dataset import ALL_ZERO, DataSet, Split
from marginflow.data.tables.by_schema import drafted_rows, with_statistics
from marginflow.data.tables.duplicates import duplicates
from marginflow.data.tables.frames import SOURCE
from marginflow.data.tables.read import Content

NAME = "table"
VALIDATION = 0.1  # of the rows
TOO_FEW = 4  # rows, below which all are training and validation rows at once


def of_numbers(x: Tensor, names: Sequence[str], weight: Tensor | None, seed: int) -> DataSet:
    """A data set of real numbers.

    Args:
        x: (N, D).
        names: of the columns.
        weight: of each row (N,); None where all count the same.
        seed: by which validation rows are drawn.

    Returns:
        A `DataSet` without test rows: the validation rows stand in their place.

    Raises:
        DataError: where fewer than two different rows count.

    Examples:
        >>> data = of_numbers(torch.arange(40.0).view(20, 2), ["a", "b"], None, seed=0)
        >>> len(data.train.x), len(data.validation.x)
        (18, 2)
    """
    train, validation = _parts(_settled(Split(x, None, weight)), seed)
    return DataSet(NAME, train, validation, validation, columns=tuple(names))


def of_any_kind(
    content: Content,
    options: Mapping[str, ColumnOptions] | None,
    seed: int,
    *,
    context: Sequence[str] = (),
    weights: str | None = None,
) -> DataSet:
    """A data set of columns of any kind, with its schema; what is suspicious in them comes as warnings.

    Args:
        content: of a data frame.
        options: what the user says of columns; None where all but those of the context are real numbers.
        seed: by which validation rows are drawn.
        context: columns given which the others are modelled.
        weights: the column of weights.

    Returns:
        A `DataSet` without test rows: the validation rows stand in their place.

    Raises:
        DataError: for all that does not fit.
    """
    file = Path(SOURCE)
    schema, whole = drafted_rows(content, file, options, context=context, weights=weights)
    whole = _settled(whole)
    train, validation = _parts(whole, seed)
    schema = with_statistics(schema, whole, train.take(), file)
    return DataSet(NAME, train, validation, validation, columns=tuple(schema.names), schema=schema)


def _settled(whole: Split) -> Split:
    """The rows that count in an order that their values alone decide, copies beyond chance as one row of their weight.

    So what is learnt depends neither on the order of rows, nor on whether one stands there twice or counts twice.
    """
    x, context, weight = whole.take()
    if weight is not None and not bool((weight > 0).any()):
        raise DataError([f"{SOURCE}: sample weights must hold a number that is not zero: {ALL_ZERO}"])
    if weight is not None:
        x, context, weight = whole.take(weight > 0)
    every = x if context is None else torch.cat([context, x], 1)
    found = duplicates(every.double().numpy())
    rows = np.argsort(found.groups, kind="stable")
    if found.beyond_chance:
        counts = np.bincount(found.groups, None if weight is None else weight.double().numpy())
        rows, weight = np.unique(found.groups, return_index=True)[1], torch.from_numpy(counts.astype(np.float64))
        whole = Split(*Split(x, context).take(torch.from_numpy(rows)))._replace(weight=weight)
    else:
        whole = Split(*Split(x, context, weight).take(torch.from_numpy(rows)))
    if len(whole.x) < 2 or len(np.unique(found.groups)) < 2:
        raise DataError([f"{SOURCE} hold 1 sample that counts, {len(x)} times: at least 2 different ones are needed"])
    return whole


def _parts(whole: Split, seed: int) -> tuple[Split, Split]:
    """Training and validation rows."""
    num_rows = len(whole.x)
    if num_rows < TOO_FEW:
        return whole, whole
    order = torch.from_numpy(np.random.default_rng(seed).permutation(num_rows))
    held_out = max(2, round(num_rows * VALIDATION))
    return Split(*whole.take(order[held_out:])), Split(*whole.take(order[:held_out]))
