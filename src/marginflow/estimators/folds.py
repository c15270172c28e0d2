"""Rows in folds, each of which is held out once; copies of a row in one fold."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from marginflow.data.tables.duplicates import duplicates

FEW, SOME = 1000, 5000  # rows below which there are 5 folds, and 3; from SOME on a part is held out


def number_of_folds(num_rows: int) -> int:
    """How many folds suit so many rows; 0 where one held-out part is enough, and where folds would leave one row.

    >>> number_of_folds(150), number_of_folds(2000), number_of_folds(10_000), number_of_folds(2)
    (5, 3, 0, 0)
    """
    if num_rows < 3:
        return 0
    return min(5, num_rows) if num_rows < FEW else 3 if num_rows < SOME else 0


def folds_of(x: Tensor, folds: int, seed: int) -> Tensor:
    """The number of each row's fold, drawn by a seed.

    Args:
        x: (N, D), rows and their context, NaN where blank.
        folds: how many.
        seed: by which they are drawn.

    Returns:
        (N,), from 0.

    Examples:
        >>> rows = torch.arange(10.0)[:, None]
        >>> folds_of(rows, 5, seed=0).bincount().tolist()
        [2, 2, 2, 2, 2]
    """
    found = duplicates(x.double().numpy())
    groups = found.groups if found.beyond_chance else np.arange(len(x))
    numbers, codes = np.unique(groups, return_inverse=True)
    fold = np.empty(len(numbers), np.int64)
    fold[np.random.default_rng(seed).permutation(len(numbers))] = np.arange(len(numbers)) % folds
    return torch.from_numpy(fold[codes])
