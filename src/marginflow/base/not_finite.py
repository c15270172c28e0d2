"""Rows and samples that are not finite, found and counted."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def not_finite(x: Tensor, *, blanks: bool = False) -> Tensor:
    """Which rows hold a value that is infinite or no number.

    Args:
        x: rows (N, *event).
        blanks: whether NaN stands for a missing value, which is none of them.

    Returns:
        A mask (N,), True at such rows.

    Examples:
        >>> not_finite(torch.tensor([[0.0, 1.0], [0.0, torch.inf]]))
        tensor([False,  True])
    """
    x = x.flatten(1)
    return x.isinf().any(1) if blanks else ~torch.isfinite(x).all(1)


def warn_of_diverged(samples: Tensor, stacklevel: int = 3, *, blanks: bool = False) -> None:
    """Warn of samples that are not finite, by a RuntimeWarning that counts them.

    Args:
        samples: (N, *event).
        stacklevel: of the warning, as `warnings.warn` takes it.
        blanks: whether NaN stands for a missing value.

    Examples:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_diverged(torch.tensor([[0.0], [torch.inf]]))
        >>> str(caught[0].message)
        '1 of 2 samples are not finite'
    """
    if torch.compiler.is_compiling():
        return  # a graph holds no values
    diverged = int(not_finite(samples, blanks=blanks).sum())
    if diverged:
        warnings.warn(f"{diverged} of {len(samples)} samples are not finite", RuntimeWarning, stacklevel=stacklevel)
