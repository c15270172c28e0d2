"""A column of labels: classes as codes, and their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.data_error import DataError
from marginflow.data.tables.cells import Texts, first_of, pc, typed


def classes(column: Any, name: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of labels as codes (N,) and the names of the classes in order; ValueError where it is none."""
    codes, found = codes_of(column, name, path)
    if len(found) > min(1000, max(len(codes) // 2, 1)):
        raise ValueError(
            f"{path}: column {name!r} of labels has {len(found)} different values in {len(codes)} rows: name a column "
            "of classes"
        )
    return codes, found


def codes_of(column: Any, name: str, path: Path, first: int = 0) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values of a column as codes (N,) and their names in order; ValueError where some are missing.

    first: the number of their first row in the file.
    """
    values = _values(column, name, path)
    if isinstance(values, np.ndarray):
        gone = pa.array(np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool))
    else:
        gone = pc.is_null(values, nan_is_null=pa.types.is_floating(values.type))
    missing = pc.sum(gone).as_py()
    if missing:
        raise DataError([
            f"{path}: column {name!r} of labels has missing values, {missing} in {len(column)} rows, the first in row "
            f"{first + first_of(gone)} (counted from 0): remove or fill them, or give them a class of their own"
        ])  # fmt: skip
    plain = values if isinstance(values, np.ndarray) else values.to_numpy(zero_copy_only=False)
    found, codes = np.unique(plain, return_inverse=True)
    return codes, tuple(str(each) for each in found)


def _values(column: Any, name: str, path: Path) -> Any:
    """A column of labels as plain values: an array, or an arrow column of numbers, truth values or text."""
    if isinstance(column, Texts):
        return typed(column)
    if isinstance(column, np.ndarray):
        return column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_nested(kind):
        raise DataError([f"{path}: column {name!r} of labels holds {kind}: name a column of numbers or text"])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid:
            raise DataError([f"{path}: column {name!r} of labels holds bytes that are no text"]) from None
    return column


def one_hot(codes: np.ndarray, num_classes: int) -> Tensor:
    """Codes (N,) as the one-hot vectors that a model takes, (N, classes)."""
    return functional.one_hot(torch.from_numpy(codes), num_classes).float()
