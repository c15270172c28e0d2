"""A column under each component of a mixture: log p of its values, draws, and the step of EM that fits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from marginflow.data.schema import Column
from marginflow.distributions.columns.levels import LevelFactors
from marginflow.distributions.columns.numbers import LARGEST_SCALE, NumberFactors, _least_scale
from marginflow.distributions.columns.quantiles import level_quantiles, number_quantiles
from marginflow.distributions.columns.reader import FAR, IMPOSSIBLE, REST, Read, RowReader

FIRST_SCALE = 0.4  # of a logistic, in a column that is warped to unit scale
PRIOR_SCALE = 0.15  # of the rows that a component is given beforehand
LEAST = 1e-30


class Coded(NamedTuple):
    """A column's values, each different one read once.

    read: of the different values (U,). code: of each row (N,), the number of its value.
    """

    read: Read
    code: Tensor

    @property
    def is_wrong(self) -> Tensor:
        """Whether each row (N,) holds what is no value of the column."""
        return (self.read.point[:, 0] == IMPOSSIBLE).index_select(0, self.code)

    @property
    def is_undefined(self) -> Tensor:
        """Whether each row (N,) is blank where it cannot be."""
        return self.read.undefined.index_select(0, self.code)


class ComponentColumn(nn.Module, ABC):
    """A column whose factor each of C components has for itself; `params` (C, ...) are as those of a factor.

    column: of the table. components: C. prior: see `ProductMixture`.
    """

    def __init__(self, column: Column, factors: LevelFactors | NumberFactors, components: int, prior: float) -> None:
        super().__init__()
        self.column, self.prior = column, prior
        self.reader, self.factors = RowReader([column]), factors
        params = factors.marginals(0).to(torch.get_default_device(), torch.get_default_dtype())
        self.params = nn.Parameter(params.expand(components, -1).clone())

    def coded(self, values: Tensor, *, apart: bool = False) -> Coded:
        """Values (N,), float64, as the different ones and which each row has. apart: as many as there are rows."""
        if apart:
            return Coded(self.reader(values[:, None]), torch.arange(values.shape[0], device=values.device))
        marked = torch.where(values.isnan(), torch.inf, torch.where(values.isinf(), -torch.inf, values))
        different, code = torch.unique(marked, return_inverse=True)  # to which each NaN is one of its own
        different = torch.where(different == torch.inf, torch.nan, different)
        return Coded(self.reader(different[:, None]), code)

    @abstractmethod
    def forward(self, read: Read) -> tuple[Tensor, Tensor | None]:
        """log P of what is discrete and the log density of the rest, of values under each component: (U, C)."""

    @abstractmethod
    def sums(self, read: Read, shares: Tensor) -> Tensor:
        """What `maximise` needs to know of values (U,), of which each component has shares (U, C); these add up."""

    @abstractmethod
    def maximise(self, sums: Tensor) -> None:
        """The step of EM."""

    @abstractmethod
    def start_at(self, values: Tensor) -> None:
        """Let each component begin about a value (C,) of its own."""

    @abstractmethod
    def widen(self, by: float) -> None:
        """Make logistics so many times as wide."""

    @abstractmethod
    def open_up(self, component: int, scale: float) -> None:
        """Let a component hold all possible: its points and the rest alike, and a logistic of this scale."""

    @abstractmethod
    def quantiles(self, shares: Tensor, levels: Tensor) -> Tensor:
        """Quantiles (N, Q) of values that are not blank, of rows in which components have shares (N, C)."""

    def draw(self, component: Tensor) -> Tensor:
        """Values (N,), float64, each from a component."""
        return self.factors.draw(0, self.params.index_select(0, component))

    def _log_shares(self, counts: Tensor) -> Tensor:
        """log of shares (C, points), of how often each was counted, with those given beforehand."""
        counts = counts + self.prior * self._beforehand
        if self.column.grid is not None:  # whose logistics reach atoms too: one must stand out to be more than they say
            atoms = slice(int(self.column.blank), self.column.num_points)
            counts[:, atoms] = (counts[:, atoms] - self.prior).clamp_min(0)
        return (counts / counts.sum(1, keepdim=True).clamp_min(LEAST)).clamp_min(LEAST).log()

    @property
    def _beforehand(self) -> Tensor:
        """The shares (points,) of all rows, and for a column of numbers of its rest."""
        number = self.column.num_points + (not self.column.levels)
        return self.factors.marginals(0)[:number].to(self.params.device).softmax(0)

    def _mixed_with(self, point: Tensor) -> Tensor:
        """Shares (C, points), half those of all rows, half a point (C,), where there is one."""
        shares = self._beforehand.expand(len(point), -1).clone()
        has = (point > REST).nonzero()[:, 0]
        shares[has] *= 0.5
        shares[has, point[has]] += 0.5
        return shares


class LevelComponents(ComponentColumn):
    """A column of levels: a probability of each, and of blank, under each component."""

    def __init__(self, column: Column, components: int, prior: float) -> None:
        super().__init__(column, LevelFactors([column], [0], [0]), components, prior)

    def forward(self, read: Read) -> tuple[Tensor, None]:
        return self.params.log_softmax(1).T.index_select(0, read.point[:, 0].clamp_min(0)), None

    def sums(self, read: Read, shares: Tensor) -> Tensor:
        found = torch.zeros(self.column.num_points, shares.shape[1], dtype=torch.float64, device=shares.device)
        return found.index_add_(0, read.point[:, 0], shares.double())

    def maximise(self, sums: Tensor) -> None:
        self.params.copy_(self._log_shares(sums.T))

    def start_at(self, values: Tensor) -> None:
        self.params.copy_(self._mixed_with(self.reader(values[:, None]).point[:, 0]).log())

    def widen(self, by: float) -> None:
        """Of levels there are none."""

    def quantiles(self, shares: Tensor, levels: Tensor) -> Tensor:
        of_each = self.params.double().softmax(1)[:, int(self.column.blank) :]
        return level_quantiles(self.column, shares @ of_each, levels)

    def open_up(self, component: int, scale: float) -> None:
        self.params[component] = 0.0


class NumberComponents(ComponentColumn):
    """A column of numbers: under each component probabilities of blank and of atoms, and a logistic for the rest.

    A logistic is a mixture of normal distributions with one mean m and precisions w / s^2, of which at t = (z - m) / s
    the expectation is that of w = tanh(t / 2) / t. Of a cell a < t < b, with f the density and P the probability,

        E[w t] = (f(a) - f(b)) / P,   E[w t^2] = 1 + (a f(a) - b f(b)) / P,   E[w] <= 1/2

    With 1/2 in place of E[w] each step stays below that of EM, lowers no likelihood either, and ends where it is
    stationary:

        m <- m + 2 s B / R,   s^2 <- s^2 (D - 2 B^2 / R) / R,   B = sum r E[w t],  D = sum r E[w t^2],  R = sum r

    with r the share of a component's logistic in each row.

    Andrews and Mallows, Scale Mixtures of Normal Distributions, 1974; Hunter and Lange, A Tutorial on MM Algorithms,
    2004.
    """

    factors: NumberFactors

    def __init__(self, column: Column, components: int, prior: float) -> None:
        super().__init__(column, NumberFactors([column], [0], [0], [0], 1), components, prior)
        self.least = _least_scale(column)

    def forward(self, read: Read) -> tuple[Tensor, Tensor | None]:
        log_points, log_rest, means, scales = self._split()
        point = read.point[:, 0]
        in_cell = self.factors._log_of_each(read, means[None, None], scales[None, None])[:, 0]
        if not self.column.num_points:
            return (log_rest + in_cell, None) if self.column.grid else (log_rest.expand_as(in_cell), in_cell)
        log_point, is_point = log_points.index_select(0, point.clamp_min(0)), (point > REST)[:, None]
        if self.column.grid is None:
            return torch.where(is_point, log_point, log_rest), torch.where(is_point, 0.0, in_cell)
        in_cell = torch.where(self._is_blank(point)[:, None], -torch.inf, log_rest + in_cell)
        return torch.logaddexp(torch.where(is_point, log_point, -torch.inf), in_cell), None

    def _split(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log P of points (points, C), of the rest (C,), means and scales (C,), float64."""
        number, params = self.column.num_points, self.params.double()
        logs = params[:, : number + 1].log_softmax(1)
        scales = self.factors._scales(params[None, :, number + 2], params.new_tensor([self.least]))[0]
        return logs[:, :number].T, logs[:, number], params[:, number + 1], scales

    def _is_blank(self, point: Tensor) -> Tensor:
        return (point == 0) if self.column.blank else torch.zeros_like(point, dtype=torch.bool)

    def sums(self, read: Read, shares: Tensor) -> Tensor:
        number, point = self.column.num_points, read.point[:, 0]
        shares = shares.double()
        found = shares.new_zeros(number + 3, shares.shape[1])
        rest = torch.where((point > REST)[:, None], 0.0, shares)
        if number:
            has = (point > REST).nonzero()[:, 0]
            of_rest = self._of_rest(read, has) * shares[has] if self.column.grid else torch.zeros_like(shares[has])
            rest[has] = of_rest
            found.index_add_(0, point[has], shares[has] - of_rest)
        score, square = self._moments(read)
        found[number], found[number + 1], found[number + 2] = rest.sum(0), (rest * score).sum(0), (rest * square).sum(0)
        return found

    def _of_rest(self, read: Read, rows: Tensor) -> Tensor:
        """The share that logistics have in the probability of some values that are points, (rows, C)."""
        log_points, log_rest, means, scales = self._split()
        own = Read(*(each.index_select(0, rows) for each in read))
        in_cell = log_rest + self.factors._log_of_each(own, means[None, None], scales[None, None])[:, 0]
        log_point = log_points.index_select(0, own.point[:, 0])
        return torch.where(self._is_blank(own.point[:, 0])[:, None], 0.0, torch.sigmoid(in_cell - log_point))

    def _moments(self, read: Read) -> tuple[Tensor, Tensor]:
        """E[w t] and E[w t^2] of values under each logistic, (U, C)."""
        _, _, means, scales = self._split()
        if self.column.grid is None:
            t = (read.low - means) / scales
            score = torch.tanh(t / 2)
            return score, t * score
        a, b, wide = (read.low - means) / scales, (read.high - means) / scales, (read.high - read.low) / scales
        log_a, log_b = nn.functional.logsigmoid(-a), nn.functional.logsigmoid(b)
        score = torch.exp(log_b) - torch.exp(log_a)
        inside = -torch.expm1(-wide)
        at_a, at_b = torch.exp(a + log_a - log_b) / inside, torch.exp(log_b - b - log_a) / inside  # f / P
        square = 1 + torch.where(
            (read.low == -FAR) | (read.high == FAR),
            a * at_a - b * at_b,
            (a + b) / 2 * score - wide / 2 * (at_a + at_b),  # the same, without cancellation in narrow cells
        )
        return score, square

    def maximise(self, sums: Tensor) -> None:
        number = self.column.num_points
        _, _, means, scales = self._split()
        counts, (rest, score, square) = sums[: number + 1], sums[number:]
        step = 2 * score / rest.clamp_min(LEAST)
        kept = (square - step * score).clamp_min(0) * scales.square()
        found = (kept + self.prior * PRIOR_SCALE**2) / (rest + self.prior).clamp_min(LEAST)
        self._write(self._log_shares(counts.T), means + scales * step, found.clamp_min(LEAST).sqrt())

    def start_at(self, values: Tensor) -> None:
        read = self.reader(values[:, None])
        low, high = read.low[:, 0], read.high[:, 0]
        means = torch.where(low == -FAR, high, torch.where(high == FAR, low, (low + high) / 2))
        means = torch.where(means.abs() == FAR, 0.0, means)  # a grid of one cell
        point = read.point[:, 0]
        if self.column.grid is not None:
            point = torch.where(self._is_blank(point), point, REST)
        shares = self._mixed_with(point)
        if self.column.grid is not None:  # an atom is also in a cell, of which logistics have half
            atoms = slice(int(self.column.blank), self.column.num_points)
            shares[:, atoms] /= 2
            shares[:, -1] += shares[:, atoms].sum(1)
        self._write(shares.log(), means, torch.full_like(means, FIRST_SCALE))

    def quantiles(self, shares: Tensor, levels: Tensor) -> Tensor:
        log_points, log_rest, means, scales = self._split()
        atoms = shares @ log_points[int(self.column.blank) :].exp().T
        logistics = shares * log_rest.exp(), means.expand_as(shares), scales.expand_as(shares)
        return number_quantiles(self.column, atoms, *logistics, levels)

    def widen(self, by: float) -> None:
        _, _, means, scales = self._split()
        self._write(self.params[:, : self.column.num_points + 1], means, scales * by)

    def open_up(self, component: int, scale: float) -> None:
        log_shares, (_, _, means, scales) = self.params[:, : self.column.num_points + 1].clone(), self._split()
        log_shares[component], means[component], scales[component] = 0.0, 0.0, scale
        self._write(log_shares, means, scales)

    def _write(self, log_shares: Tensor, means: Tensor, scales: Tensor) -> None:
        above = (scales.log().clamp_max(LARGEST_SCALE) - self.least).clamp_min(1e-3)
        raw = self.least + above + torch.log(-torch.expm1(-above))  # of which a softplus makes `above` again
        self.params.copy_(torch.cat([log_shares, means[:, None], raw[:, None]], 1))
