"""Factors of columns of numbers: blank, atoms, and a mixture of logistics for the rest, on a grid or the line."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.constants import HoldsWideConstants
from marginflow.base.devices import on_cpu
from marginflow.data.schema import Column
from marginflow.distributions.columns.levels import LEAST_SHARE, drawn
from marginflow.distributions.columns.quantiles import number_quantiles
from marginflow.distributions.columns.reader import REST, Read, inner_value
from marginflow.distributions.columns.warps import Warps

LEAST_SCALE = -6.0  # log of a scale of real numbers: below it a density could grow without bound
CELLS = 3.0  # log of how many scales a cell of a grid may be wide: a value may be certain
LARGEST_SCALE = 6.0


class NumberFactors(HoldsWideConstants):
    """The factors of columns of numbers: one softmax over blank, atoms and K logistics in the warped column.

    An atom of a real column is a value of its own, which the logistics, a density, do not reach. On a grid the
    logistics have a probability in each cell, also in those of atoms, which add to it. The probability of a cell is
    taken from its two ends a < b, in units of the scale from the mean, without cancellation:

        log(sigma(b) - sigma(a)) = log sigma(b) + log sigma(-a) + log(1 - exp(a - b))

    and the cells at closed bounds take the tails.

    columns: the columns. places: where they stand in a row. outputs: where the parameters of each begin among the
        outputs of a network: its points, then the weights, means and log-scales of the logistics.
    components: K.
    """

    places: Tensor
    among: Tensor
    index: Tensor
    lacking: Tensor
    first: Tensor
    on_grid: Tensor
    least: Tensor

    def __init__(
        self, columns: Sequence[Column], places: Sequence[int], outputs: Sequence[int], among: Sequence[int],
        components: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.columns, self.components = list(columns), components
        self.num_points = 1 + max(len(column.atoms) for column in columns)  # blank has a place everywhere
        self._places, self._outputs, self._among = list(places), list(outputs), list(among)
        self.warps = Warps(columns)
        self._register_constants()

    def _constants(self) -> dict[str, Tensor]:
        with torch.device("cpu"):
            return {
                "places": torch.tensor(self._places),
                "among": torch.tensor(self._among),
                "index": torch.stack([self._index(i) for i in range(len(self.columns))]).flatten(),
                "lacking": torch.stack([self._lacking(column) for column in self.columns]),
                "first": torch.tensor([0 if column.blank else 1 for column in self.columns]),
                "on_grid": torch.tensor([column.grid is not None for column in self.columns]),
                "least": torch.tensor([_least_scale(column) for column in self.columns], dtype=torch.float64),
            }

    def _index(self, number: int) -> Tensor:
        """Where the parameters of a column stand among all outputs, those that it lacks at its first."""
        column, first = self.columns[number], self._outputs[number]
        own = torch.arange(first, first + column.num_points + 3 * self.components)
        blank = own[:1] if column.blank else own[:0]
        lacking = own[:1].expand(self.num_points - len(column.atoms) - len(blank))
        atoms, rest = own[len(blank) : column.num_points], own[column.num_points :]
        return torch.cat([blank, atoms, lacking, rest] if column.blank else [lacking[:1], atoms, lacking[1:], rest])

    def _lacking(self, column: Column) -> Tensor:
        """Which points a column lacks; none of the logistics, which follow."""
        lacks = torch.arange(self.num_points) > len(column.atoms)
        lacks[0] = not column.blank
        return torch.cat([lacks, torch.zeros(self.components, dtype=torch.bool)])

    def forward(self, params: Tensor, read: Read) -> tuple[Tensor, Tensor]:
        """log P of what is discrete, and the log density of the rest, of rows given parameters: each (N, columns).

        The first is that of blanks, atoms and cells, and for a real number of being one that is no atom; of what is no
        value of the column it is that of another.
        """
        params = params.index_select(1, self.index).unflatten(1, (len(self.columns), -1))
        log_points, log_weights, means, scales = self._split(params, self.lacking, self.least)
        point = read.point.index_select(1, self.places)
        is_point = point > REST
        place = torch.where(is_point, point + self.first, 0).clamp_max(self.num_points - 1)  # of an undefined blank
        log_point = log_points.gather(2, place[..., None])[..., 0].double()
        in_cell = torch.logsumexp(log_weights + self._log_of_each(read, means, scales), 2)
        of_rest = torch.logsumexp(log_weights, 2).double()
        blank = is_point & (place == 0)
        both = torch.logaddexp(in_cell, torch.where(is_point & ~blank, log_point, -torch.inf))
        discrete = torch.where(self.on_grid & ~blank, both, torch.where(is_point, log_point, of_rest))
        return discrete, torch.where(self.on_grid | is_point, 0.0, in_cell - of_rest)

    def _split(self, params: Tensor, lacking: Tensor, least: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log P of points and of logistics, means and scales, of params (N, columns, points + 3 K)."""
        chosen, means, raw = params.split([self.num_points + self.components, *[self.components] * 2], 2)
        logs = chosen.masked_fill(lacking, -torch.inf).log_softmax(2)
        log_points, log_weights = logs.split([self.num_points, self.components], 2)
        return log_points, log_weights, means.double(), self._scales(raw, least)

    @staticmethod
    def _scales(raw: Tensor, least: Tensor) -> Tensor:
        """Scales (..., columns, K) of logistics, float64, whose logs lie softly above the least of their column."""
        log_scales = least[:, None] + functional.softplus(raw.double() - least[:, None])
        return log_scales.clamp_max(LARGEST_SCALE).exp()

    def _log_of_each(self, read: Read, means: Tensor, scales: Tensor) -> Tensor:
        """log of the probability of the cell, or of the density, under each logistic: (N, columns, K)."""
        low, high, log_slope = (
            each.index_select(1, self.among)[..., None] for each in (read.low, read.high, read.log_slope)
        )
        sides = functional.logsigmoid((means - low) / scales) + functional.logsigmoid((high - means) / scales)
        on_grid = self.on_grid[:, None]
        wide = torch.where(on_grid, high - low, 1.0) / scales
        cell = torch.log(-torch.expm1(-wide.clamp_min(1e-300)))
        return sides + torch.where(on_grid, cell, log_slope - torch.log(scales))

    @torch.no_grad()
    def draw(self, number: int, params: Tensor) -> Tensor:
        """Values (N,) of a column, float64, given its own parameters (N, ...)."""
        column, K = self.columns[number], self.components
        logits, means, raw = params.split([column.num_points + K, K, K], 1)
        chosen = drawn(logits.softmax(1))
        component = (chosen - column.num_points).clamp_min(0)[:, None]
        mean = means.gather(1, component)[:, 0].double()
        scale = self._scales(raw.gather(1, component), self.least[number : number + 1])[:, 0]
        u = torch.rand_like(mean).clamp(1e-12, 1 - 1e-12)
        value = self.warps.inverse(mean + scale * torch.logit(u), number)
        value = torch.floor(value + 0.5) if column.grid is not None else value
        if column.lower is not None or column.upper is not None:
            value = value.clamp(column.lower, column.upper)
        points = value.new_tensor([*([math.nan] if column.blank else []), *column.atoms, 0.0])
        return torch.where(chosen < column.num_points, points[chosen.clamp_max(column.num_points)], value)

    @torch.no_grad()
    def quantiles(self, number: int, params: Tensor, levels: Tensor) -> Tensor:
        """Quantiles (N, Q) of a column that is not blank, given its own parameters (N, ...)."""
        column, K = self.columns[number], self.components
        logits, means, raw = params.double().split([column.num_points + K, K, K], 1)
        atoms, weights = logits[:, int(column.blank) :].softmax(1).split([len(column.atoms), K], 1)
        scales = self._scales(raw[:, None], self.least[number : number + 1])[:, 0]
        return number_quantiles(column, atoms, weights, means, scales, levels)

    @on_cpu
    def marginals(self, number: int) -> Tensor:
        """Parameters under which a column has the shares that its schema holds, and its rest about its quantiles."""
        column, K = self.columns[number], self.components
        shares = [*([column.blank_share] if column.blank else []), *column.shares]
        points = torch.tensor(shares, dtype=torch.float64).clamp_min(LEAST_SHARE)
        rest = max(1 - sum(shares), 1e-3)
        means, scales = _spread(column, K)
        least = _least_scale(column)
        raw = least + torch.log(torch.expm1((scales.log() - least).clamp_min(1e-3)))
        return torch.cat([points.log(), torch.full((K,), math.log(rest / K), dtype=torch.float64), means, raw])


@on_cpu
def _least_scale(column: Column) -> float:
    """The log of the least scale that a logistic of a column may have."""
    if column.grid is None or column.warp is None:
        return LEAST_SCALE
    values = [round(q) for q in column.quantiles[1:-1]] or [inner_value(column)]
    cells = torch.tensor([[value - 0.5, value + 0.5] for value in values], dtype=torch.float64)
    widths = column.warp.forward(cells)[0].diff(dim=1)
    widths = widths[widths.isfinite()].tolist()  # but for those at the ends of the warp
    return math.log(max(min(widths, default=1.0), 1e-8)) - CELLS


def _spread(column: Column, components: int) -> tuple[Tensor, Tensor]:
    """Means and scales of K logistics over the quantiles of a column."""
    if not column.quantiles:
        return torch.zeros(components, dtype=torch.float64), torch.ones(components, dtype=torch.float64)
    assert column.warp is not None
    z, _ = column.warp.forward(torch.tensor(column.quantiles, dtype=torch.float64))
    z = z.nan_to_num(0.0, 5.0, -5.0).clamp(-5, 5)
    at = (torch.arange(components, dtype=torch.float64) + 0.5) / components * (len(z) - 1)
    low = at.long().clamp_max(max(len(z) - 2, 0))
    high = (low + 1).clamp_max(len(z) - 1)
    means = z[low] + (at - low) * (z[high] - z[low])
    gaps = torch.diff(means, prepend=means[:1], append=means[-1:])
    return means, ((gaps[1:] + gaps[:-1]) / 2).clamp_min(0.05)
