"""Shapes: one batch dimension N, then the event, (D,) or (C, H, W); nothing else."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex, cast

import torch
from torch import Tensor

Shape = SupportsIndex | Iterable[SupportsIndex]
LARGEST_SIZE = 2**31 - 1  # of anything that is counted


def as_shape(shape: Shape) -> torch.Size:
    """The event shape that `shape` means; an int D is (D,).

    Args:
        shape: number of features D, or an event shape (C, H, W).

    Returns:
        The event shape.

    Raises:
        ValueError: where it is neither, or holds a negative size.

    Examples:
        >>> as_shape(2), as_shape((1, 28, 28))
        (torch.Size([2]), torch.Size([1, 28, 28]))
    """
    try:
        is_list = isinstance(shape, Iterable) and getattr(shape, "ndim", 1) > 0
        sizes = [_index(size) for size in cast(Any, shape if is_list else [shape])]
    except (TypeError, RuntimeError):
        sizes = []
    if not sizes or min(sizes) < 0:
        raise ValueError(f"event shape must be a number of features or sizes (C, H, W), none negative; got {shape!r}")
    if math.prod(sizes) > LARGEST_SIZE:
        raise ValueError(f"an event must have at most {LARGEST_SIZE:,} features; got {shape!r}")
    return torch.Size(sizes)


def _index(size: SupportsIndex) -> int:
    if isinstance(size, bool):
        raise TypeError
    return operator.index(size)


def image_shape(shape: torch.Size, what: str) -> tuple[int, int, int]:
    """Channels, height and width of an event that is an image.

    Args:
        shape: an event shape.
        what: what messages say works on images.

    Returns:
        C, H and W.

    Raises:
        ValueError: where it is no image.
    """
    if len(shape) != 3:
        raise ValueError(
            f"{what} works on images (C, H, W); got the event shape {tuple(shape)}: take a model of vectors for vectors"
        )
    if min(shape) < 1:
        raise ValueError(f"{what} works on images with at least 1 channel and 1 pixel; got {tuple(shape)}")
    return shape[0], shape[1], shape[2]


def sum_event(x: Tensor) -> Tensor:
    """Sum over all but the batch dimension: (N, ...) -> (N,)."""
    return x.sum(tuple(range(1, x.ndim)))


def require_rows(shape: torch.Size, event_shape: torch.Size | None, what: str = "x") -> None:
    """Refuse a shape of rows whose event shape is not `event_shape` (None accepts any)."""
    if shape[1:] == event_shape if event_shape is not None else len(shape) > 1:
        return
    expected = ", ".join(["N", *(["..."] if event_shape is None else map(str, event_shape))])
    remedy = "reshape the rows or build the model for this many features"
    if len(shape) == 4 and event_shape is not None and len(event_shape) == 3:
        remedy = "convert the images to this size and number of channels, or build the model for theirs"
    raise ValueError(f"{what} must have shape ({expected}), one row an event; got {tuple(shape)}: {remedy}")


def require_real(x: Tensor) -> None:
    """Refuse whole numbers: pixels must be dequantised, and the rest converted, before a density sees them."""
    if not isinstance(x, Tensor) or x.ndim < 2:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor of rows, (N, ...); got {got}: give torch.as_tensor(x), a row in each")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point; got {x.dtype}: put Dequantise in front for pixels, or convert it")
