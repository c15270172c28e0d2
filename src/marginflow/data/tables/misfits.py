"""Why rows of a schema are none of its rows: the first values that no factor has a place for."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from marginflow.data.schema import Column, Schema
from marginflow.data.tables.decode import as_written


def misfit(row: Tensor, schema: Schema) -> str:
    """What of a row no density of its schema has a place for, in words.

    Args:
        row: (D,) of the modelled columns.
        schema: of the row.

    Returns:
        Such as "column 'age' holds 130, above 120"; empty where all of it fits.

    Examples:
        >>> import torch
        >>> from marginflow.data.grid import Grid
        >>> schema = Schema((Column("age", "integer", "int64", grid=Grid(), lower=0, upper=120),))
        >>> misfit(torch.tensor([130.0]), schema), misfit(torch.tensor([13.0]), schema)
        ("column 'age' holds 130, above 120", '')
    """
    pairs = zip(schema.modelled, row.tolist(), strict=True)
    return "; ".join(f"column {column.name!r} {what}" for column, value in pairs for what in _wrong(column, value))


def _wrong(column: Column, value: float) -> Iterator[str]:
    if math.isnan(value):
        if not column.blank:
            yield "has no value, where the schema has none missing"
    elif column.levels:
        if not 0 <= value < len(column.levels) or value != round(value):
            yield f"holds {value:g}, none of the places 0 to {len(column.levels) - 1} of its levels"
    elif math.isinf(value) or (column.grid is not None and value != round(value)):
        yield f"holds {value:g}{'' if math.isinf(value) else ' steps, between those of its grid'}"
    elif column.lower is not None and value < column.lower:
        yield f"holds {as_written(value, column)}, below {as_written(column.lower, column)}"
    elif column.upper is not None and value > column.upper:
        yield f"holds {as_written(value, column)}, above {as_written(column.upper, column)}"
    elif column.grid is None and value in (column.lower, column.upper) and value not in column.atoms:
        yield f"holds {as_written(value, column)}, an end of its range at which there are no training rows"
    elif column.grid is None and column.warp is not None and value not in column.atoms:
        first, last = column.warp.domain  # of a positive column, which has no closed bound
        if not first < value < last:
            side = f"above {first:g}" if value <= first else f"below {last:g}"
            yield f"holds {as_written(value, column)}, which is not {side}"
