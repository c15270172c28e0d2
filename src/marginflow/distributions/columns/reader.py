"""Rows of a table, read once for networks and factors: which point each value is, and where it lies when warped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from marginflow.base.constants import HoldsWideConstants
from marginflow.base.names import listed
from marginflow.base.surroundings import in_torch_func
from marginflow.data.schema import Column
from marginflow.distributions.columns.warps import Warps

FAR = 1e6  # where the cells at closed bounds end, which take the tails
REST, IMPOSSIBLE = -1, -2  # in place of a point


class Read(NamedTuple):
    """What rows hold.

    point: of each column (N, D): its place among blank, where it may be, and levels or atoms; REST for another number,
        IMPOSSIBLE for what is no value of the column.
    undefined: whether a row is blank where it cannot be (N,).
    value: of each column of numbers (N, C), within its bounds; a value of the column where it is blank or impossible.
    low, high: the ends of its cell when warped, on a grid; both the warped value of a real number.
    log_slope: of the warp there.
    """

    point: Tensor
    undefined: Tensor
    value: Tensor
    low: Tensor
    high: Tensor
    log_slope: Tensor


class RowReader(HoldsWideConstants):
    """Reads rows (N, D) of these columns, float64."""

    is_number: Tensor
    places: Tensor
    blank: Tensor
    num_levels: Tensor
    bounds: Tensor
    domain: Tensor
    half_step: Tensor
    inner: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)
        self.numbers = [i for i, column in enumerate(columns) if not column.levels]
        of_numbers = [columns[i] for i in self.numbers]
        self.warps = Warps(of_numbers) if of_numbers else None
        sizes = [size_of(len(column.atoms)) if column.atoms else 0 for column in of_numbers]
        self.with_atoms = [  # which of the numbers have about as many, to be padded to each other
            [i for i, each in enumerate(sizes) if each == size] for size in dict.fromkeys(sizes) if size
        ]
        self._register_constants()

    def _constants(self) -> dict[str, Tensor]:
        numbers = [self.columns[i] for i in self.numbers]
        lower = [-math.inf if column.lower is None else column.lower for column in numbers]
        upper = [math.inf if column.upper is None else column.upper for column in numbers]
        with torch.device("cpu"):
            atoms = {f"atoms_{i}": _padded([numbers[j] for j in own]) for i, own in enumerate(self.with_atoms)}
            among = {f"among_{i}": torch.tensor(own) for i, own in enumerate(self.with_atoms)}
            return (
                atoms
                | among
                | {
                    "is_number": torch.tensor([not column.levels for column in self.columns]),
                    "places": torch.tensor(self.numbers, dtype=torch.long),
                    "blank": torch.tensor([column.blank for column in self.columns]),
                    "num_levels": torch.tensor([len(column.levels) or math.inf for column in self.columns]).double(),
                    "bounds": torch.tensor([lower, upper], dtype=torch.float64),
                    "domain": torch.tensor([_domain(column) for column in numbers], dtype=torch.float64).reshape(-1, 2),
                    "half_step": torch.tensor(
                        [0.5 * (column.grid is not None) for column in numbers], dtype=torch.float64
                    ),
                    "inner": torch.tensor([inner_value(column) for column in numbers], dtype=torch.float64),
                }
            )

    def forward(self, x: Tensor) -> Read:
        missing = x.isnan()
        undefined = (missing & ~self.blank).any(1)
        code = x.nan_to_num()
        wrong = (code < 0) | (code >= self.num_levels) | (code != code.round())
        point = torch.where(wrong, IMPOSSIBLE, code.clamp(0, 2**31) + self.blank).long()
        if self.warps is None:
            none = x[:, :0]
            return Read(torch.where(missing, 0, point), undefined, none, none, none, none)
        v = x.index_select(1, self.places)
        (lower, upper), on_grid = self.bounds, self.half_step > 0
        gone = v.isnan()
        outside = (v < lower) | (v > upper) | (on_grid & (v != v.round())) | v.isinf()
        atom = self._atom(v)
        first, last = self.domain.unbind(1)
        at_end = (v <= first) | (v >= last)  # where a warp ends, and only an atom may be
        outside |= at_end & (atom == REST)
        v = torch.where(gone | outside, self.inner, v)
        point = point.index_copy(1, self.places, torch.where(outside, IMPOSSIBLE, atom))
        warped = torch.where(at_end, self.inner, v)
        ends, log_slope = self.warps(torch.cat([warped - self.half_step, warped + self.half_step]))
        low, high = ends.chunk(2)
        low = torch.where(on_grid & (v <= lower), -FAR, low)
        high = torch.where(on_grid & (v >= upper), FAR, high)
        return Read(torch.where(missing, 0, point), undefined, v, low, high, log_slope.chunk(2)[0])

    def _atom(self, v: Tensor) -> Tensor:
        """The point of each value that is an atom, REST of others."""
        point = torch.full_like(v, REST, dtype=torch.long)
        first = self.blank.index_select(0, self.places)
        for i in range(len(self.with_atoms)):
            atoms, among = getattr(self, f"atoms_{i}"), getattr(self, f"among_{i}")
            place = _place_among(atoms, v.index_select(1, among))
            point = point.index_copy(1, among, torch.where(place == REST, REST, place + first.index_select(0, among)))
        return point


def size_of(number: int) -> int:
    """The power of 4 that holds a number: what is padded to the largest of its size holds at most 4 times as much.

    >>> [size_of(number) for number in (1, 2, 4, 5, 256)]
    [1, 4, 4, 16, 256]
    """
    return 4 ** math.ceil(math.log(number, 4) - 1e-9)


def _padded(columns: Sequence[Column]) -> Tensor:
    """The atoms of columns (columns, most), with infinity behind them."""
    most = max(len(column.atoms) for column in columns)
    return torch.tensor(
        [[*each.atoms, *[math.inf] * (most - len(each.atoms))] for each in columns], dtype=torch.float64
    )


def _place_among(atoms: Tensor, v: Tensor) -> Tensor:
    """The place of each value (N, columns) among the atoms of its column, REST where it is none."""
    if in_torch_func():  # where torch cannot search
        hits = v[..., None] == atoms
        return torch.where(hits.any(2), hits.long().argmax(2), REST)
    place = torch.searchsorted(atoms, v.T.contiguous()).clamp_max(atoms.shape[1] - 1)
    return torch.where(atoms.gather(1, place) == v.T, place, REST).T


def _domain(column: Column) -> tuple[float, float]:
    """The open interval in which the rest of a column of real numbers lies; all numbers for one on a grid."""
    if column.grid is not None or column.warp is None:
        return -math.inf, math.inf
    (first, last), lower, upper = column.warp.domain, column.lower, column.upper
    return first if lower is None else max(first, lower), last if upper is None else min(last, upper)


def require_fitted(columns: Sequence[Column]) -> None:
    """Refuse columns without the statistics of training rows: ValueError that names them."""
    bare = [column.name for column in columns if not column.levels and (column.warp is None or not column.quantiles)]
    if bare:
        raise ValueError(
            f"the schema holds no statistics of training rows for {listed(bare)}: take data.table(path, schema={{}})."
            "schema, or a run's"
        )


def inner_value(column: Column) -> float:
    """A value of a column of numbers at which its warp is finite."""
    if not column.quantiles:
        return column.atoms[0]
    middle = column.quantiles[len(column.quantiles) // 2]
    return middle if column.grid is None else float(round(middle))
