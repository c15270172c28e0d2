"""Settings of parts as a caller has them: numbers in a range, lists of sizes, switches, names, or refused in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from marginflow.base.arguments import as_whole, shown
from marginflow.base.names import did_you_mean

LARGEST_SEED = 2**63  # that torch's generators take


def as_real(
    number: object, what: str, fits: Callable[[float], bool] = math.isfinite, expected: str = "be finite"
) -> float:
    """A real number of Python's, numpy's or torch's that fits, as a float; ValueError otherwise.

    >>> as_real(np.float32(0.5), "dropout", lambda p: 0 <= p < 1, "lie in [0, 1)")
    0.5
    """
    given = number.item() if isinstance(number, Tensor | np.ndarray) and number.ndim == 0 else number
    if isinstance(given, bool) or not isinstance(given, Real):
        raise ValueError(f"{what} must be a number; got {shown(number)}")
    try:
        value = float(given)
    except OverflowError:
        value = math.inf
    if not fits(value):
        raise ValueError(f"{what} must {expected}; got {value}")
    return value


def as_positive(number: object, what: str) -> float:
    """A real number above 0, and finite; ValueError otherwise."""
    return as_real(number, what, lambda value: 0 < value < math.inf, "be positive and finite")


def as_dropout(number: object) -> float:
    """A probability with which a unit can be left out; ValueError otherwise."""
    return as_real(number, "dropout", lambda value: 0 <= value < 1, "lie in [0, 1)")


def as_flag(value: object, what: str) -> bool:
    """True or False, of Python's or numpy's; ValueError otherwise."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{what} must be True or False; got {shown(value)}")
    return bool(value)


def as_sizes(
    numbers: Iterable[SupportsIndex], what: str, least: int | None = 1, kind: str = "whole numbers"
) -> list[int]:
    """Whole numbers in a list, each at least `least` where that is given; else a ValueError, which calls them `kind`.

    >>> as_sizes(np.array([8, 8]), "hidden")
    [8, 8]
    """
    is_listed = isinstance(numbers, np.ndarray | Tensor) and numbers.ndim == 1
    try:
        if isinstance(numbers, str) or not (is_listed or isinstance(numbers, Sequence)):
            raise ValueError
        return [as_whole(each, what, least) for each in numbers]
    except ValueError as error:
        if "at most" in str(error):
            raise
        each = "" if least is None else f", each at least {least}"
        remedy = f": give [{numbers}]" if isinstance(numbers, int) and not isinstance(numbers, bool) else ""
        raise ValueError(f"{what} must be a list of {kind}{each}; got {shown(numbers)}{remedy}") from None


def as_choice(value: object, known: Iterable[str], what: str, otherwise: str = "") -> str:
    """One of some names; ValueError, which asks whether the closest is meant, otherwise.

    Args:
        value: the name.
        known: the names that there are.
        what: what messages call it.
        otherwise: what else the caller takes, for the message.

    Returns:
        The name.

    Raises:
        ValueError: for any other value.

    Examples:
        >>> as_choice("relu", ["relu", "tanh"], "activation")
        'relu'
    """
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    raise ValueError(f"{what} must be one of {', '.join(known)}{otherwise}; got {shown(value)}{hint}")


def as_path(path: object, what: str) -> Path:
    """A path of text or of Python's, ~ being the home directory; ValueError otherwise."""
    if not isinstance(path, str | PathLike) or path == "":
        raise ValueError(f"{what} must be a path; got {shown(path)}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # nobody's home
        raise ValueError(f"{what} must be a path; got {shown(path)} ({error})") from None


def generator_from(seed: SupportsIndex) -> torch.Generator:
    """A generator of random numbers on the CPU that starts at a seed; ValueError where that is none."""
    start = as_whole(seed, "seed", most=None)
    if start >= LARGEST_SEED:
        raise ValueError(f"seed must lie below 2^63; got {start}")
    return torch.Generator().manual_seed(start)


def require_function(function: object, what: str, like: str) -> None:
    """Refuse what cannot be called, and a class, which is to be built first: ValueError, which gives an example."""
    if isinstance(function, type) or not callable(function):
        raise ValueError(f"{what} must be a function or a network, such as {like}; got {shown(function)}")
