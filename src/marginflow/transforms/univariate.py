"""Monotonic scalar functions, the elements that autoregressive and coupling structures apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Univariate(Protocol):
    """A strictly increasing scalar function with `num_params` parameters for each element.

    forward(x, params)  x (...), params (..., num_params) -> y, log dy/dx (...)
    inverse(y, params)  y (...), params (..., num_params) -> x, log dx/dy (...)

    Stateless: all that varies comes in through `params`, unbounded real numbers.
    """

    @property
    def num_params(self) -> int: ...

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Affine:
    """Shift and scale, as in the masked autoregressive flow.

    y = (x - m) exp(-a),  a = bound tanh(raw / bound),  log dy/dx = -a

    The inverse y exp(a) + m adds m last, so errors in m are not multiplied; the soft bound keeps
    both directions finite.

    bound: the largest |log-scale|.

    Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density Estimation, 2017
    (arXiv 1705.07057).

    >>> import torch
    >>> Affine().forward(torch.tensor([3.0]), torch.tensor([[1.0, 0.0]]))
    (tensor([2.]), tensor([-0.]))
    """

    bound: float = 5.0

    @property
    def num_params(self) -> int:
        return 2

    def _mean_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = params.unbind(-1)
        return mean, self.bound * torch.tanh(raw / self.bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._mean_and_log_scale(params)
        return (x - mean) * torch.exp(-log_scale), -log_scale

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._mean_and_log_scale(params)
        return y * torch.exp(log_scale) + mean, log_scale
