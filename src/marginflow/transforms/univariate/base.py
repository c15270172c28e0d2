"""The contract of a monotonic scalar function."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Univariate(Protocol):
    """A strictly increasing scalar function with `num_params` parameters for each element.

    forward(x, params)  x (...), params (..., num_params) -> y, log dy/dx (...)
    inverse(y, params)  y (...), params (..., num_params) -> x, log dx/dy (...)

    Stateless: all that varies comes in through `params`, unbounded real numbers.

    It may also have `kernel`, the name and the constant of its compiled inverse in `masked/kernel.py`, with
    which autoregressive sampling runs several times faster than without.
    """

    @property
    def num_params(self) -> int: ...

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]: ...
