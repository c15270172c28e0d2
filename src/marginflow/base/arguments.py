"""Rows, contexts and numbers as a caller has them, brought to what a model takes, or refused."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from pathlib import PurePath
from typing import Any, SupportsIndex, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from marginflow.base.shapes import LARGEST_SIZE, require_rows

Values = Tensor | ArrayLike


def as_tensor(values: Values, what: str) -> Tensor:
    """Numbers as a tensor.

    Args:
        values: a tensor, an array, a data frame, lists, or a list of tensors.
        what: what messages call the values.

    Returns:
        A dense tensor of real or whole numbers.

    Raises:
        ValueError: where they are no real numbers, not in rows of one length, or masked.
    """
    _require_values(values, what)
    if isinstance(values, list | tuple):
        rows = [each for each in values if isinstance(each, Tensor)]
        if rows and len(rows) == len(values) and len({each.shape for each in rows}) == 1:
            values = torch.stack(rows)
    if isinstance(values, Tensor):
        if values.is_complex() or values.is_quantized or values.is_nested or values.layout != torch.strided:
            raise ValueError(
                f"{what} must be real numbers; got {values.dtype}, {values.layout}: make it a dense, real tensor"
            )
        return values.long() if values.dtype in (torch.uint16, torch.uint32, torch.uint64) else values
    if np.ma.is_masked(values):
        raise ValueError(f"{what} has masked values: remove or fill them")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{what} must be numbers, in rows of one length; got {type(values).__name__} ({reason})"
        ) from None
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{what} must be real numbers; got {type(values).__name__} of {array.dtype}: {_as_numbers(values, array)}"
        )
    wanted = array.dtype.newbyteorder("=")
    if wanted.itemsize > 8:
        wanted = np.dtype(np.float64)
    elif wanted.kind == "u" and wanted.itemsize > 1:
        wanted = np.dtype(np.int64)  # torch can do little with larger unsigned numbers
    return torch.from_numpy(np.require(array, wanted, ["C", "W"]))  # torch takes no negative strides


def _as_numbers(values: object, array: np.ndarray) -> str:
    """How to make real numbers of what numpy made an array of something else of."""
    if array.dtype.kind == "c":
        return "give real and imaginary parts as features, numpy.concatenate([values.real, values.imag], 1)"
    if isinstance(values, Mapping):
        return "give its columns side by side, numpy.column_stack(list(values.values()))"
    if isinstance(values, Set):
        return "it has no order, give a list"
    if array.ndim == 0 and hasattr(values, "dataset") and hasattr(values, "batch_size"):
        return "give the rows that it reads, not the loader"
    if array.ndim == 0 and isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return "give its rows in a list, list(values)"
    if array.dtype.kind == "O" and array.ndim == 0:
        return "give a tensor, an array, or lists of numbers"
    if any(each is None for each in array.flat):
        return "it holds None, remove or fill these first"
    return "convert it, for instance by numpy.asarray(values, dtype=float)"


def _require_values(values: object, what: str) -> None:
    """Refuse what holds rows, or leads to them, and is none itself: ValueError that says where they are."""
    if isinstance(values, PurePath) or (isinstance(values, str) and PurePath(values).suffix):
        raise ValueError(
            f"{what} must be numbers; got the path {str(values)!r}: load the file, "
            f'marginflow.data.load("table", path={str(values)!r}), and give its rows, such as .train.x'
        )
    fields = getattr(values, "_fields", None) or [
        each.name for each in getattr(values, "__dataclass_fields__", {}).values()
    ]
    if fields and not hasattr(values, "__array__"):
        raise ValueError(
            f"{what} must be numbers; got a {type(values).__name__} of {', '.join(fields)}: give those that are rows"
        )


def is_text(values: object) -> bool:
    """Whether values are names, as labels may be: text, or an array or a list of it."""
    if isinstance(values, str):
        return True
    if isinstance(values, list | tuple):
        return len(values) > 0 and all(isinstance(each, str) for each in values)
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    return kind in ("U", "T") or (kind == "O" and all(isinstance(each, str) for each in np.ravel(cast(Any, values))))


def as_rows(
    x: Values,
    event_shape: torch.Size | None,
    *,
    pixels: bool = False,
    dtype: torch.dtype | None = None,
    what: str = "x",
) -> Tensor:
    """Rows (N, *event) as a tensor; one row (*event) becomes (1, *event), whole numbers become real.

    Args:
        x: rows (N, *event), or one row (*event).
        event_shape: None accepts any.
        pixels: whether whole grey levels are meant, which stay whole.
        dtype: what whole numbers become otherwise, by default torch's default.
        what: what messages call the rows.

    Returns:
        The rows, (N, *event).

    Raises:
        ValueError: where they have another shape, are no numbers, or are pixels and none are meant.
    """
    x = as_tensor(x, what)
    if event_shape is not None and x.ndim == len(event_shape) and x.shape == event_shape:
        x = x[None]
    require_rows(x.shape, event_shape, what)
    if pixels and x.dtype == torch.bool:
        raise ValueError(f"{what} is bool, and pixels are whole grey levels: give 0 and 1 as uint8")
    if pixels or x.is_floating_point():
        return x
    if x.dtype == torch.uint8:
        raise ValueError(
            f"{what} is uint8, as pixels are: put Dequantise(levels) in front of the model, or pass {what}.float()"
        )
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

    Args:
        context: numbers in one of these shapes, or None.
        features: its width C; 0 where nothing uses a context.
        num_rows: number of rows N; None takes as many as there are.
        optional: whether it may be left out.
        dtype: what whole numbers become, as for `as_rows`.

    Returns:
        The context (N, C, ...); None where there is none.

    Raises:
        ValueError: where it is missing, nothing uses it, or it has another width or number of rows.
    """
    rows = "N" if num_rows is None else num_rows
    if context is None:
        if features and not optional:
            raise ValueError(
                f"this model takes a context of {features} features, ({rows}, {features}) or ({features},); got none"
            )
        return None
    if is_text(context) and features:
        raise ValueError(
            f"context must be real numbers, as no labels are known of this model; got {shown(context)}: give one-hot "
            "vectors, or train on a table with labels"
        )
    context = as_tensor(context, "context")
    if features == 0:
        raise ValueError(
            f"nothing in this model uses a context; got one of shape {tuple(context.shape)}: leave it out, or build "
            "the model with context_features (a density from elsewhere says its own by an attribute of that name)"
        )
    if context.ndim in (1, 3) and context.shape[0] == features:
        whole = optional and not context.is_floating_point() and context.ndim == 1
        if whole and sorted(context.tolist()) != [0] * (features - 1) + [1]:  # as many labels as there are classes
            raise ValueError(f"labels are one-hot vectors; got {context.tolist()}: give model.one_hot(labels)")
        context = context[None]
    if num_rows is None:
        num_rows = context.shape[0] if context.ndim else 0
    fits = context.ndim >= 2 and context.shape[1] == features
    if not fits or (context.shape[0] != 1 and context.shape[0] != num_rows):  # which torch.compile may leave open
        raise _unfit(context, features, rows)
    if not context.is_floating_point():
        context = context.to(dtype or torch.get_default_dtype())
    return context if context.shape[0] == num_rows else context.expand(num_rows, *context.shape[1:])


def require_context(context: Tensor | None, features: int, num_rows: int, *, vector: bool = False) -> None:
    """Refuse, for a part that uses `features` of it, a context as `as_context` does, or an image where not wanted."""
    if features == 0:
        return
    as_context(context, features, num_rows)
    if context is None or context.ndim < 2 or context.shape[0] != num_rows:
        raise _unfit(context, features, num_rows)
    if vector and context.ndim > 2:
        raise ValueError(
            f"this context must be a vector for each row, (N, {features}); got shape {tuple(context.shape)}: "
            "flatten it, or take a model that sees images"
        )


def _unfit(context: Tensor | None, features: int, rows: int | str) -> ValueError:
    remedy = ""
    if context is not None and context.ndim == 1 and (len(context) == rows or rows == "N"):
        remedy = ": give context[:, None]"
        if features > 1:
            remedy = f": for labels give torch.nn.functional.one_hot(torch.as_tensor(labels).long(), {features})"
    return ValueError(
        f"context must have shape ({rows}, {features}), a row for each row, or ({features},), one for all; got "
        f"{None if context is None else tuple(context.shape)}{remedy}"
    )


def shown(value: Any) -> str:
    """A value in a message: as Python prints it where that is short, otherwise what it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 and " object at 0x" not in text else f"a value of type {type(value).__name__}"


def as_whole(number: SupportsIndex, what: str, least: int | None = 0, most: int | None = LARGEST_SIZE) -> int:
    """A whole number of Python's, numpy's or torch's, in the range that is given; ValueError otherwise."""
    try:
        if isinstance(number, bool | np.bool_) or getattr(number, "dtype", None) == torch.bool:
            raise TypeError
        is_open = isinstance(number, torch.SymInt)  # as of a graph that holds for any number
        whole = cast(int, number) if is_open else operator.index(number)
    except (TypeError, RuntimeError):
        raise ValueError(f"{what} must be a whole number; got {shown(number)}{_probably_meant(number)}") from None
    if least is not None and whole < least:
        raise ValueError(f"{what} must {f'be at least {least}' if least else 'not be negative'}; got {whole}")
    if most is not None and not is_open and whole > most:
        raise ValueError(f"{what} must be at most {most:,}; got {whole}")
    return whole


def _probably_meant(number: Any) -> str:
    """The remedy for what stands for a whole number, as 2.0, "2" and (2,) do; empty for what does not."""
    one = number[0] if isinstance(number, list | tuple) and len(number) == 1 else number
    if isinstance(one, Tensor) and one.ndim == 0:
        one = one.item()
    if isinstance(one, bool | np.bool_) or not isinstance(one, Real | str):
        return ""
    try:
        return f": give {int(float(one))}" if 0 < float(one) == int(float(one)) <= LARGEST_SIZE else ""
    except (ValueError, OverflowError):
        return ""


def common_width(widths: Iterable[int]) -> int:
    """The width of the one context that all parts see, of those that use one; ValueError where they take different."""
    used = sorted({width for width in widths if width})
    if len(used) > 1:
        raise ValueError(
            f"all parts see one context, and these take contexts of {' and of '.join(map(str, used))} features: build "
            "them with the same context_features"
        )
    return used[0] if used else 0


def require_num_samples(num_samples: SupportsIndex) -> int:
    """A number of samples, checked.

    Args:
        num_samples: a whole number of Python's or numpy's, at least 0.

    Returns:
        It as an int.

    Raises:
        ValueError: where it is no whole number, or negative.

    Examples:
        >>> require_num_samples(3)
        3
    """
    return as_whole(num_samples, "num_samples")
