"""Means and spreads of values that come some after the others, in float64, and what they say of a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor

OF_MEDIAN = 2**20  # rows at most, of which a median is taken: of more, every second, every fourth ...


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    standard_error: of the mean, from the spread over rows. draws_error: the part of it that comes from drawing
    noise, which more draws reduce; None where it is not known, as where the effective sample size is too small to
    tell, 0 where nothing was drawn. Neither holds a bias.
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
        error = None if self.draws_error is None else self.draws_error * factor
        return Estimate(self.value * factor, self.standard_error * factor, error)


class Moments:
    """The mean and spread of values that come some after the others, in float64.

    Chan, Golub, LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0  # squares: the sum of squared differences from the mean

    def add(self, values: Tensor) -> Self:
        """Take in values (N,)."""
        values = values.double()
        count, mean = len(values), float(values.mean())
        apart, total = mean - self.mean, self.count + count
        self.squares += float((values - mean).square().sum()) + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total
        return self

    def estimate(self, draws_error: float | None = None) -> Estimate:
        """The mean of all, whose own error from drawing noise may be known."""
        spread = math.sqrt(self.squares / (self.count - 1) / self.count) if self.count > 1 else math.nan
        return Estimate(self.mean, spread, draws_error)


class Median:
    """The median of values that come some after the others: of a regular part of them where they are very many."""

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


class FeatureMoments:
    """Running mean and sum of squared deviations of each feature, in float64 (Chan, Golub, LeVeque, 1979).

    covariance: of products of the deviations of each two features instead.
    """

    def __init__(self, covariance: bool = False) -> None:
        self.count = 0
        self.covariance = covariance
        self.mean: Tensor | float = 0.0
        self.deviations: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        rows = x.detach().double().movedim(1, -1).flatten(0, -2)
        mean = rows.mean(0)
        centred = rows - mean
        deviations = centred.T @ centred if self.covariance else centred.square().sum(0)
        total = self.count + len(rows)
        shift = mean - self.mean
        apart = torch.outer(shift, shift) if self.covariance else shift.square()
        self.deviations = self.deviations + deviations + apart * (self.count * len(rows) / total)
        self.mean = self.mean + shift * (len(rows) / total)
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, or covariance."""
        return cast(Tensor, self.mean), cast(Tensor, self.deviations) / self.count
