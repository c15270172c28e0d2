"""The mean of weighted values that come in chunks, in float64, and its standard error."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor

from marginflow.base.moments import Estimate


class WeightedMean:
    """The mean m = sum w v / sum w of weighted values, each a draw of its own, however it weighs.

    standard error = sqrt(n / (n - 1) sum w^2 (v - m)^2) / sum w

    It is that of a ratio of two sums over n independent rows, to first order; of equal weights that of any mean.

    Cochran, Sampling Techniques, 1977, chapter 6.
    """

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0  # rows that weigh something, sums of w and of w^2
        self.mean = self.first = self.second = 0.0  # sums of w^2 (v - m) and of w^2 (v - m)^2

    def add(self, values: Tensor, weight: Tensor) -> Self:
        """Take in values (N,) of these weights (N,)."""
        values, weight = values.detach().double(), weight.double()
        values, weight = values[weight > 0], weight[weight > 0]
        if len(values) == 0:
            return self
        self.count += len(values)
        self.total += float(weight.sum())
        shift = float((weight * (values - self.mean)).sum()) / self.total
        self.mean += shift
        apart, of_both = values - self.mean, weight.square()
        self.second += float((of_both * apart.square()).sum()) + shift * (shift * self.squares - 2 * self.first)
        self.first += float((of_both * apart).sum()) - shift * self.squares
        self.squares += float(of_both.sum())
        return self

    @property
    def effective_count(self) -> float:
        """(sum w)^2 / sum w^2: as many values of equal weight tell as much."""
        return self.total**2 / self.squares

    def estimate(self, draws_error: float | None = None) -> Estimate:
        """The mean, whose own error from sampled noise may be known."""
        spread = math.nan
        if self.count > 1:
            spread = math.sqrt(self.second * self.count / (self.count - 1)) / self.total
        return Estimate(self.mean, spread, draws_error)


def mean_of(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of values (N,), weighted where there are weights.

    >>> import torch
    >>> mean_of(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0]))
    tensor(2.)
    """
    return values.mean() if weight is None else (weight * values).sum() / weight.sum()
