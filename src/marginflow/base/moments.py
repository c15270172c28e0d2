"""Means and variances of values that come in chunks, in float64, and the standard error of a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

OF_MEDIAN = 2**20  # rows at most, of which a median is taken: of more, every second, every fourth ...


@dataclass(frozen=True)
class Estimate:
    """A mean over rows, with its standard error.

    Neither error includes a bias.

    Attributes:
        value: the mean.
        standard_error: of the mean, from the variance over rows.
        draws_error: the part of it that comes from the sampled noise, which more importance samples reduce; None where
            it is not known, as where the effective sample size is too small to tell, 0 where nothing was sampled.
    """

    value: float
    standard_error: float
    draws_error: float | None = None

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """The mean of values (N,)."""
        return Moments().add(values).estimate()

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        size = abs(factor)
        error = None if self.draws_error is None else self.draws_error * size
        return Estimate(self.value * factor, self.standard_error * size, error)


class Moments:
    """The mean and variance of rows that come in chunks, in float64, where they have weights weighted by them.

    Args:
        covariance: whether to take the covariance of each two features instead of the variance of each.

    References:
        Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
    """

    def __init__(self, covariance: bool = False) -> None:
        self.count, self.total, self.covariance = 0, 0.0, covariance  # total: of weights, else of rows
        self.mean = self.squares = torch.zeros((), dtype=torch.float64)  # squares: summed products of deviations

    def add(self, rows: Tensor, weight: Tensor | None = None) -> Self:
        """Take in rows, (N,) or (N, features), with their weights (N,); none or all must have such."""
        rows = rows.detach().double()
        if weight is not None:
            weight = weight.detach().to(rows)
            rows, weight = rows[weight > 0], weight[weight > 0]
        if len(rows) == 0:  # which have no mean
            return self
        added = float(len(rows)) if weight is None else float(weight.sum())
        mean = rows.mean(0) if weight is None else weight @ rows / added
        centred = rows - mean
        weighted = centred if weight is None else (weight * centred.T).T
        squares = weighted.T @ centred if self.covariance else (weighted * centred).sum(0)
        total = self.total + added
        shift = mean - self.mean.to(mean.device)
        apart = torch.outer(shift, shift) if self.covariance else shift.square()
        self.squares = self.squares.to(mean.device) + squares + apart * (self.total * added / total)
        self.mean = self.mean.to(mean.device) + shift * (added / total)
        self.count, self.total = self.count + len(rows), total
        return self

    @property
    def variance(self) -> Tensor:
        """The biased variance of each feature, or the covariance."""
        return self.squares / self.total

    def estimate(self, draws_error: float | None = None) -> Estimate:
        """The mean of values (N,) without weights, whose own error from sampled noise may be known."""
        spread = math.sqrt(float(self.squares) / (self.count - 1) / self.count) if self.count > 1 else math.nan
        return Estimate(float(self.mean), spread, draws_error)


class Median:
    """The median of values that come in chunks; of very many, that of a regular subset."""

    def __init__(self) -> None:
        self.kept, self.every, self.seen = torch.empty(0, dtype=torch.float64), 1, 0

    def add(self, values: Tensor) -> None:
        """Take in values (N,)."""
        self.kept = torch.cat([self.kept, values.double().cpu()[-self.seen % self.every :: self.every]])
        self.seen += len(values)
        while len(self.kept) > OF_MEDIAN:
            self.kept, self.every = self.kept[::2].clone(), 2 * self.every

    def value(self) -> float:
        """The median of what was taken in."""
        return float(self.kept.median())
