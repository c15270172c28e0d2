"""How good samples are, measured against rows that the model has not seen."""

from __future__ import annotations

import torch
from torch import Tensor


def _mean_distance(x: Tensor, y: Tensor, chunk: int = 1000) -> float:
    """The mean Euclidean distance between the rows of two samples."""
    total = sum(float(torch.cdist(x[start : start + chunk], y).sum()) for start in range(0, len(x), chunk))
    return total / (len(x) * len(y))


def energy_distance(x: Tensor, y: Tensor) -> float:
    """The squared energy distance of two samples: 0 on average where they come from one distribution, else above.

    2 E|X - Y| - E|X - X'| - E|Y - Y'|, pairs of different rows in the last two (unbiased, so it can come out negative)

    Args:
        x: rows (N, ...), at least two; taken flat and in float64.
        y: rows (M, ...), likewise.

    Returns:
        The squared distance.

    Raises:
        ValueError: for fewer than two rows, or rows of two shapes.

    References:
        Szekely and Rizzo, Energy statistics: A class of statistics based on distances, 2013.

    Examples:
        >>> energy_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]))
        2.0
    """
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"energy_distance compares two samples of rows of one shape, two rows each at least; got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    x, y = (each.detach().flatten(1).double() for each in (x, y))
    within = sum(_mean_distance(each, each) * len(each) / (len(each) - 1) for each in (x, y))
    return 2 * _mean_distance(x, y) - within


def mean_distance(x: Tensor) -> float:
    """How different samples are: the mean Euclidean distance between two different rows.

    Beside that of real rows it tells whether a model says the same over and over.

    Args:
        x: rows (N, ...), N >= 2.

    Returns:
        The mean distance.

    Raises:
        ValueError: for fewer than two rows.

    Examples:
        >>> mean_distance(torch.tensor([[0.0], [1.0], [2.0]]))
        1.3333333333333333
    """
    if len(x) < 2:
        raise ValueError(f"the distance between rows needs two of them; got {len(x)}")
    flat = x.detach().flatten(1).double()
    return _mean_distance(flat, flat) * len(x) / (len(x) - 1)


def two_sample_accuracy(x: Tensor, y: Tensor, seed: int = 0) -> tuple[float, float]:
    """How often a classifier tells two samples apart: 1/2 where they come from one distribution, 1 where it always can.

    The classifier is a random forest of 300 trees; each row is judged by the trees that did not see it.

    Args:
        x: rows (N, ...), at least 10, taken flat.
        y: as many rows (N, ...).
        seed: of the classifier.

    Returns:
        The accuracy and its standard error where the two were one distribution, 1/2 / sqrt(2 N).

    Raises:
        ValueError: for fewer rows, or samples of two shapes or sizes.

    References:
        Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017 (arXiv 1610.06545).

    Examples:
        >>> accuracy, error = two_sample_accuracy(torch.zeros(50, 2), torch.ones(50, 2))
        >>> accuracy, round(error, 3)
        (1.0, 0.05)
    """
    from sklearn.ensemble import RandomForestClassifier

    if len(x) != len(y) or len(x) < 10 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"two_sample_accuracy compares two samples of one shape and size, 10 rows each at least; got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    rows = torch.cat([x, y]).detach().flatten(1).double().cpu().numpy()
    sample = torch.arange(2).repeat_interleave(len(x)).numpy()
    forest = RandomForestClassifier(300, min_samples_leaf=2, max_features="sqrt", oob_score=True, random_state=seed)
    return float(forest.fit(rows, sample).oob_score_), 0.5 / (2 * len(x)) ** 0.5
