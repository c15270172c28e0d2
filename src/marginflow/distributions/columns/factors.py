"""The factors of all columns of a table, those of one kind computed together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from marginflow.data.schema import Column
from marginflow.distributions.columns.levels import LevelFactors
from marginflow.distributions.columns.numbers import NumberFactors
from marginflow.distributions.columns.reader import IMPOSSIBLE, Read, size_of


class Factors(nn.Module):
    """The factors of columns: log P and log density of rows given their parameters, column after column, and draws.

    columns: of the rows that are read. components: logistics of a number.
    """

    def __init__(self, columns: Sequence[Column], components: int) -> None:
        super().__init__()
        numbers = [i for i, column in enumerate(columns) if not column.levels]
        self.num_params = [column.num_points + (0 if column.levels else 3 * components) for column in columns]
        starts = [0, *accumulate(self.num_params)][:-1]
        kinds = [_size_of(column) for column in columns]
        self.group_of: list[tuple[int, int]] = [(0, 0)] * len(columns)  # the number of its group, its number there
        groups: list[LevelFactors | NumberFactors] = []
        in_groups: list[int] = []
        for kind in dict.fromkeys(kinds):
            places = [i for i, each in enumerate(kinds) if each == kind]
            for number, place in enumerate(places):
                self.group_of[place] = len(groups), number
            in_groups += places
            about = [columns[place] for place in places], places, [starts[place] for place in places]
            if kind[0]:
                groups.append(LevelFactors(*about))
            else:
                groups.append(NumberFactors(*about, [numbers.index(place) for place in places], components))
        self.groups = nn.ModuleList(groups)
        self.by_place = sorted(range(len(in_groups)), key=in_groups.__getitem__)

    def forward(self, params: Tensor, read: Read) -> tuple[Tensor, Tensor]:
        """log P of what is discrete in rows, and the log density of the rest, each (N,), float64."""
        discrete = density = read.point.new_zeros(read.point.shape[0], dtype=torch.float64)
        for group in self.groups:
            log_p, log_density = group(params, read)
            discrete = discrete + log_p.double().sum(1)
            density = density if log_density is None else density + log_density.sum(1)
        discrete = discrete.masked_fill((read.point == IMPOSSIBLE).any(1), -torch.inf)
        return discrete.masked_fill(read.undefined, torch.nan), density

    def of_each(self, params: Tensor, read: Read) -> tuple[Tensor, Tensor]:
        """The same of each column, in the order of a row: both (N, D), float64; an undefined blank is some value."""
        pairs = [group(params, read) for group in self.groups]
        discrete = torch.cat([log_p.double() for log_p, _ in pairs], 1)
        density = torch.cat([torch.zeros_like(p, dtype=torch.float64) if d is None else d for p, d in pairs], 1)
        discrete, density = (each[:, self.by_place] for each in (discrete, density))
        return discrete.masked_fill(read.point == IMPOSSIBLE, -torch.inf), density

    def draw(self, place: int, params: Tensor) -> Tensor:
        """Values (N,) of a column, float64, given its own parameters (N, ...)."""
        group, number = self._group_of(place)
        return group.draw(number, params)

    def quantiles(self, place: int, params: Tensor, levels: Tensor) -> Tensor:
        """Quantiles (N, Q) of a column that is not blank, given the parameters of all (N, ...), at levels (Q,)."""
        group, number = self._group_of(place)
        return group.quantiles(number, params.split(self.num_params, 1)[place], levels)

    def marginals(self, place: int) -> Tensor:
        """The parameters of a column by itself, as the schema knows it."""
        group, number = self._group_of(place)
        return group.marginals(number)

    def _group_of(self, place: int) -> tuple[LevelFactors, int]:
        group, number = self.group_of[place]
        return cast(LevelFactors, self.groups[group]), number


def _size_of(column: Column) -> tuple[bool, int]:
    """Whether a column has levels, and about how many points: those of one size are padded to each other."""
    return bool(column.levels), size_of(max(column.num_points, 2 if column.levels else 16))
