"""Rows, contexts and numbers as a caller has them, brought to what a model takes, or refused."""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from marginflow.base.shapes import check_rows

Values = Tensor | ArrayLike


def as_tensor(values: Values, what: str) -> Tensor:
    """Numbers as a tensor: of a tensor, an array, a data frame, lists, or a list of tensors; ValueError otherwise."""
    if isinstance(values, list | tuple):
        rows = [each for each in values if isinstance(each, Tensor)]
        if rows and len(rows) == len(values) and len({each.shape for each in rows}) == 1:
            values = torch.stack(rows)
    if isinstance(values, Tensor):
        if values.is_complex():
            raise ValueError(f"{what} must be real numbers; got {values.dtype}: take .real, or two columns for one")
        return values
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{what} must be numbers, in rows of one length; got {type(values).__name__} ({reason})"
        ) from None
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{what} must be real numbers; got {type(values).__name__} of {array.dtype}: convert it, for instance by "
            "numpy.asarray(values, dtype=float)"
        )
    wanted = array.dtype.newbyteorder("=")
    if wanted.itemsize > 8:
        wanted = np.dtype(np.float64)
    elif wanted.kind == "u" and wanted.itemsize > 1:
        wanted = np.dtype(np.int64)  # torch can do little with larger unsigned numbers
    return torch.from_numpy(np.require(array, wanted, ["C", "W"]))  # torch takes no negative strides


def as_rows(
    x: Values, event_shape: torch.Size | None, *, pixels: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """Rows (N, *event) as a tensor; one row (*event) becomes (1, *event), whole numbers become real.

    event_shape: None accepts any. pixels: whether whole grey levels are meant, which stay whole. dtype: what whole
    numbers become otherwise, by default torch's default.

    ValueError for another shape, what is no number, and pixels where none are meant.
    """
    x = as_tensor(x, "x")
    if x.shape == event_shape:
        x = x[None]
    check_rows(x.shape, event_shape)
    if pixels or x.is_floating_point():
        return x
    if x.dtype == torch.uint8:
        raise ValueError("x is uint8, as pixels are: put Dequantise(levels) in front of the model, or pass x.float()")
    return x.to(dtype or torch.get_default_dtype())


def as_context(
    context: Values | None,
    features: int,
    num_rows: int | None,
    *,
    optional: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor | None:
    """A context (N, C, ...) as a tensor, a row for each row; one row, (C, ...) or (1, C, ...), stands for all.

    features: C, 0 where nothing uses a context. num_rows: None leaves it as many as there are. optional: whether it may
    be left out. dtype: as of `as_rows`.

    ValueError for one that is missing, that nothing uses, of another width, or of another number of rows.
    """
    rows = "N" if num_rows is None else num_rows
    if context is None:
        if features and not optional:
            raise ValueError(
                f"this model takes a context of {features} features, ({rows}, {features}) or ({features},); got none"
            )
        return None
    context = as_tensor(context, "context")
    if features == 0:
        raise ValueError(
            f"nothing in this model uses a context; got one of shape {tuple(context.shape)}: leave it out, or build "
            "the model with context_features (a density from elsewhere says its own by an attribute of that name)"
        )
    if context.ndim in (1, 3) and context.shape[0] == features:
        context = context[None]
    if num_rows is None:
        num_rows = len(context) if context.ndim else 0
    if context.ndim < 2 or context.shape[1] != features or len(context) not in (1, num_rows):
        raise ValueError(
            f"context must have shape ({rows}, {features}), a row for each row, or ({features},), one for all; got "
            f"{tuple(context.shape)}"
        )
    if not context.is_floating_point():
        context = context.to(dtype or torch.get_default_dtype())
    return context if len(context) == num_rows else context.expand(num_rows, *context.shape[1:])


def check_num_samples(num_samples: SupportsIndex) -> int:
    """A number of draws, of Python's or numpy's; ValueError where it is no whole number, or negative."""
    try:
        number = operator.index(num_samples)
    except TypeError:
        raise ValueError(f"num_samples must be a whole number; got {num_samples!r}") from None
    if number < 0:
        raise ValueError(f"num_samples must not be negative; got {number}")
    return number
