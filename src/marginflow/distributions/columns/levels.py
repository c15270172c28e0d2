"""Factors of columns of levels: a probability for each, and for blank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.constants import HoldsConstants
from marginflow.base.devices import on_cpu
from marginflow.data.schema import Column
from marginflow.distributions.columns.quantiles import level_quantiles
from marginflow.distributions.columns.reader import Read


class LevelFactors(HoldsConstants):
    """The factors of columns of levels: one softmax over blank, where it may be, and the levels.

    columns: the columns. places: where they stand in a row. outputs: where the parameters of each begin among all.
    """

    places: Tensor
    index: Tensor
    lacking: Tensor

    def __init__(self, columns: Sequence[Column], places: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.columns = list(columns)
        self._places, self._outputs = list(places), list(outputs)
        self.num_points = max(column.num_points for column in columns)
        self.is_padded = any(column.num_points < self.num_points for column in columns)
        self._register_constants()

    def _constants(self) -> dict[str, Tensor]:
        with torch.device("cpu"):
            own = torch.arange(self.num_points)
            lacking = torch.stack([own >= column.num_points for column in self.columns])
            index = torch.tensor(self._outputs)[:, None] + own.where(~lacking, 0)
            return {"places": torch.tensor(self._places), "index": index.flatten(), "lacking": lacking}

    def forward(self, params: Tensor, read: Read) -> tuple[Tensor, None]:
        """log P of each column (N, columns), of parameters (N, ...) and rows; of what is no level that of the first."""
        logits = params.index_select(1, self.index).unflatten(1, (-1, self.num_points))
        if self.is_padded:
            logits = logits.masked_fill(self.lacking, -torch.inf)
        point = read.point.index_select(1, self.places).clamp_min(0)
        return logits.log_softmax(2).gather(2, point[..., None])[..., 0], None

    def draw(self, number: int, params: Tensor) -> Tensor:
        """Values (N,) of a column, float64, given its own parameters (N, points)."""
        point = drawn(params.softmax(1))
        value = (point - int(self.columns[number].blank)).double()
        return torch.where(value < 0, torch.nan, value)

    def quantiles(self, number: int, params: Tensor, levels: Tensor) -> Tensor:
        """Quantiles (N, Q) of a column that is not blank, given its own parameters (N, points)."""
        column = self.columns[number]
        return level_quantiles(column, params[:, int(column.blank) :].double().softmax(1), levels)

    @on_cpu
    def marginals(self, number: int) -> Tensor:
        """The parameters (points,) under which a column has the shares that its schema holds."""
        column = self.columns[number]
        shares = [*([column.blank_share] if column.blank else []), *column.shares]
        return torch.tensor(shares, dtype=torch.float64).clamp_min(LEAST_SHARE).log()


LEAST_SHARE = 1e-6  # that a point has before a training


def drawn(probabilities: Tensor) -> Tensor:
    """A place for each row (N,), of probabilities (N, P), by one uniform number a row."""
    total = probabilities.double().cumsum(1)
    u = torch.rand(len(total), 1, dtype=total.dtype, device=total.device) * total[:, -1:]
    return torch.searchsorted(total, u, right=True)[:, 0].clamp_max(total.shape[1] - 1)
