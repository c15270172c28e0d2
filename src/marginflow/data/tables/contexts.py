"""The context columns of a table apart from its rows, and both together again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.data.dataset import DataSpec
from marginflow.data.schema import Schema
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.other_rows import chunks_for


def contexts_in(path: Path, schema: Schema, asked: Asked | None = None) -> Tensor:
    """The contexts in a table, as a schema keeps them.

    Args:
        path: of the table, in which all columns of the context are.
        schema: with a context.
        asked: how its text is written, as far as a user said.

    Returns:
        (N, columns of the context), float64, NaN where blank.

    Raises:
        ValueError: where a column is missing, or a value does not fit.
    """
    alone = tuple(
        replace(each, given=False) if each.given else replace(each, reason=each.reason or "no part of the context")
        for each in schema.columns
    )
    spec = DataSpec((len(schema.given),), schema=Schema(alone))
    try:
        return torch.cat([torch.as_tensor(chunk.x[:]) for chunk in chunks_for(spec, str(path), asked)])
    except DataError as error:
        raise error.without_remedies() from None


def together(x: Tensor, context: Tensor, schema: Schema) -> Tensor:
    """Rows with their context, the columns in the order of the file.

    Args:
        x: (N, modelled columns).
        context: (N, columns of the context).
        schema: of both.

    Returns:
        (N, all these columns), rows of `whole(schema)`.
    """
    rows, contexts = iter(x.unbind(1)), iter(context.unbind(1))
    columns = [each for each in schema.columns if each.given or each.is_modelled]
    return torch.stack([next(contexts) if each.given else next(rows) for each in columns], 1)


def whole(schema: Schema) -> Schema:
    """The schema of rows that hold their context.

    >>> from marginflow.data.schema import Column
    >>> flag = Column("a", "boolean", levels=("false", "true"))
    >>> whole(Schema((flag, Column("b", "boolean", levels=("0", "1"), given=True)))).names
    ['a', 'b']
    """
    return Schema(tuple(replace(each, given=False) for each in schema.columns))
