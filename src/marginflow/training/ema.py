"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from marginflow.base.distribution import Distribution


class Average:
    """A copy of a model whose weights follow the model's.

    a_t = d_t a_(t-1) + (1 - d_t) w_t,  d_t = min(decay, (1 + t) / (10 + t)),  t = 1, 2, ...

    The early, smaller decay forgets the weights that training started from.
    Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    """

    def __init__(self, model: Distribution, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay, self.num_updates = decay, 0
        self._averages: list[Tensor] = list(self.model.parameters())
        self._followed: list[Tensor] = list(model.parameters())

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after a step."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        get_ema_multi_avg_fn(decay)(self._averages, self._followed, self.num_updates)
