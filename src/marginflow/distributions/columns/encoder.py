"""Rows of a table as inputs of a network: levels one-hot, numbers in several codes at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.constants import HoldsWideConstants
from marginflow.base.surroundings import in_torch_func
from marginflow.data.schema import Column
from marginflow.distributions.columns.reader import FAR, Read

BINS = 16  # of the piecewise linear code of a number
LARGEST = 5.0  # of a warped number


class RowEncoder(HoldsWideConstants):
    """Columns of rows as inputs of a network, those of each column side by side.

    Each has its points one-hot: blank, where it may be, and levels or atoms. A number has besides its warped value and
    a piecewise linear code, for each of 16 bins between quantiles how much of it lies below the value (Gorishniy and
    others, On Embeddings for Numerical Features, 2022, arXiv 2203.05556); both are 0 of a blank.

    columns: of the rows that are read.
    """

    starts: Tensor
    coded: Tensor
    bins: Tensor
    blank: Tensor
    of_numbers: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)
        self.widths = [column.num_points + (0 if column.levels else 1 + BINS) for column in self.columns]
        self._register_constants()

    @property
    def num_inputs(self) -> int:
        return sum(self.widths)

    def _constants(self) -> dict[str, Tensor]:
        with torch.device("cpu"):
            starts = torch.tensor([0, *self.widths]).cumsum(0)[:-1]
            pairs = [pair for pair in zip(self.columns, starts.tolist(), strict=True) if not pair[0].levels]
            coded = [torch.arange(start + own.num_points, start + own.num_points + 1 + BINS) for own, start in pairs]
            bins = [_bins(column) for column, _ in pairs]
            return {
                "starts": starts,
                "coded": torch.cat([*coded, torch.empty(0, dtype=torch.long)]),
                "bins": torch.tensor(bins, dtype=torch.float64).reshape(len(bins), BINS + 1),
                "blank": torch.tensor([column.blank for column, _ in pairs]),
                "of_numbers": torch.tensor([i for i, column in enumerate(self.columns) if not column.levels]).long(),
            }

    def forward(self, read: Read, like: Tensor) -> Tensor:
        """The inputs (N, num_inputs) of rows, in the precision of `like`."""
        point = read.point
        at = torch.where(point >= 0, point + self.starts, self.num_inputs)  # others have their one beyond the last
        inputs = like.new_zeros(point.shape[0], self.num_inputs + 1)
        inputs = inputs.scatter(1, at, 1.0) if in_torch_func() else inputs.scatter_(1, at, 1.0)
        if len(self.coded):
            missing = (point.index_select(1, self.of_numbers) == 0) & self.blank
            codes = self._codes(read).to(like).masked_fill(missing[..., None], 0.0).flatten(1)
            copied = Tensor.index_copy if in_torch_func() else Tensor.index_copy_
            inputs = copied(inputs, 1, self.coded, codes)
        return inputs[:, :-1]

    def _codes(self, read: Read) -> Tensor:
        """The warped value and the bins of each column of numbers: (N, columns, 1 + 16)."""
        low, high = (
            torch.where(read.low == -FAR, read.high, read.low),
            torch.where(read.high == FAR, read.low, read.high),
        )
        z = (0.5 * (low + high)).clamp(-LARGEST, LARGEST)
        bins = (read.value[..., None] - self.bins[:, :-1]) / self.bins.diff(dim=1).clamp_min(1e-300)
        return torch.cat([z[..., None], bins.clamp(0, 1)], 2)


def _bins(column: Column) -> list[float]:
    """The ends of the bins: quantiles of the rest, where it has them, else the range of the atoms."""
    found = torch.tensor(column.quantiles or column.atoms or (0.0,), dtype=torch.float64)
    at = torch.linspace(0, len(found) - 1, BINS + 1, dtype=torch.float64)
    low = at.long().clamp_max(max(len(found) - 2, 0))
    high = (low + 1).clamp_max(len(found) - 1)
    return (found[low] + (at - low) * (found[high] - found[low])).tolist()
