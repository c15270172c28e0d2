"""The warps of several columns at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.constants import HoldsWideConstants
from marginflow.data.schema import Column
from marginflow.data.warp import Shape, unwarped, warped


class Warps(HoldsWideConstants):
    """The warps of columns, those of one shape at once, in float64.

    columns: each with a warp.
    """

    back: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.warps = [column.warp for column in columns if column.warp is not None]
        keys: list[tuple[Shape, int]] = [(warp.shape, len(warp.knots)) for warp in self.warps]
        self.groups: list[tuple[Shape, list[int]]] = []
        for shape, knots in dict.fromkeys(keys):
            self.groups.append((shape, [i for i, each in enumerate(keys) if each == (shape, knots)]))
        self._register_constants()

    def _constants(self) -> dict[str, Tensor]:
        made = {"back": torch.tensor([i for _, places in self.groups for i in places], device="cpu").argsort()}
        for number, (_, places) in enumerate(self.groups):
            made[f"places_{number}"] = torch.tensor(places, device="cpu")
            numbers = [self.warps[i].numbers for i in places]
            made[f"numbers_{number}"] = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        return made

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z of x (N, columns), and log dz/dx; not finite outside of a column's domain."""
        found = [
            warped(shape, getattr(self, f"numbers_{i}"), x.index_select(1, getattr(self, f"places_{i}")))
            for i, (shape, _) in enumerate(self.groups)
        ]
        z, log_slope = (torch.cat(parts, 1).index_select(1, self.back) for parts in zip(*found, strict=True))
        return z, log_slope

    def inverse(self, z: Tensor, column: int) -> Tensor:
        """x (N,) of z (N,), of one column."""
        number = next(i for i, (_, places) in enumerate(self.groups) if column in places)
        shape, places = self.groups[number]
        numbers = getattr(self, f"numbers_{number}")[places.index(column)]
        return unwarped(shape, numbers[None], z[:, None])[:, 0]
