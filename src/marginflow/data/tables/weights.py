"""A column of weights of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.names import hint_at, listed
from marginflow.data.tables.contradictions import contradiction
from marginflow.data.tables.text_values import values_of

ALL_ZERO = "is 0 in every row; some weight must be positive"


def weights_of(columns: Mapping[str, Any], name: str, file: Path, first: int = 0) -> Tensor:
    """The weights (N,), float64, in a column of a file, of rows from the `first` on.

    They may all be 0. DataError where there is no such column, or a value is no weight.
    """
    if name not in columns:
        hint = hint_at(name, columns, " ").strip()
        raise DataError(
            [f"{file} has no column {name!r} of weights; it has {listed(list(columns))}{f': {hint}' if hint else ''}"]
        )
    values = values_of(columns[name]).from_row(first)
    wrong = contradiction(values, "weight")
    if wrong is not None:
        raise DataError([f"{file}: column {name!r} {wrong}"])
    return torch.from_numpy(values.array.astype("float64")[values.codes])


def weights_of_all(columns: Mapping[str, Any], name: str, file: Path) -> Tensor:
    """The weights of all rows of a file, some of which count; DataError where none does."""
    weight = weights_of(columns, name, file)
    if not bool((weight > 0).any()):
        raise DataError([f"{file}: column {name!r} {ALL_ZERO}"])
    return weight
