"""The product of two densities over features side by side."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.adapter import as_distribution
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import Sites
from marginflow.base.support import REAL, of_each_number, of_events


class Product(Distribution):
    """The product of two densities, of the first features and of those behind them, which are independent.

    log p(x, y) = log p_1(x) + log p_2(y)

    Args:
        first: any density of x (N, D, ...), which may take a context.
        second: an exact density of y (N, E, ...), of the same size behind dimension 1, without a context.

    Raises:
        ValueError: where one does not say its event shape, their sizes differ, or the second takes a context or noise.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> Product(StandardNormal(2), StandardNormal(3)).sample(5).shape
        torch.Size([5, 5])
    """

    def __init__(self, first: Density, second: Distribution) -> None:
        super().__init__()
        self.first, self.second = as_distribution(first), second
        one, other = self.first.event_shape, second.event_shape
        if one is None or other is None or one[1:] != other[1:]:
            raise ValueError(f"both densities need event shapes that go side by side; got {one} and {other}")
        if second.context_features or not second.exact:
            raise ValueError("the second density must be exact and take no context, such as StandardNormal(2)")
        self._shape = torch.Size([one[0] + other[0], *one[1:]])

    @property
    def elementary(self) -> bool:
        return False

    @property
    def event_shape(self) -> torch.Size:
        return self._shape

    @property
    def exact(self) -> bool:
        return self.first.exact

    @property
    def context_features(self) -> int:
        return self.first.context_features

    @property
    def context_optional(self) -> bool:
        return self.first.context_optional

    @property
    def reparameterised(self) -> bool:
        return self.first.reparameterised and self.second.reparameterised

    @property
    def support(self) -> Constraint:
        one, other = (of_each_number(each.support) for each in (self.first, self.second))
        return of_events(one if one is other else REAL, self._shape)

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        return self.first, self._split(x)[0], context

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert self.first.event_shape is not None
        width = self.first.event_shape[0]
        return x[:, :width], x[:, width:]

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        one, other = self._split(x)
        return self.first._log_prob(one, context) + self.second._log_prob(other, None)

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        one, other = self._split(x)
        return (yield from self.first._noise(one, context)) + self.second._log_prob(other, None)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return torch.cat([self.first._sample(num_samples, context), self.second._sample(num_samples, None)], 1)

    def _sample_with_noise(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        one, eps = self.first._sample_with_noise(num_samples, context)
        return torch.cat([one, self.second._sample(num_samples, None)], 1), eps

    def _sample_and_flag(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        one, flagged = self.first._sample_and_flag(num_samples, context)
        return torch.cat([one, self.second._sample(num_samples, None)], 1), flagged

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        one, log_p = self.first._sample_and_log_prob(num_samples, context)
        other, log_q = self.second._sample_and_log_prob(num_samples, None)
        return torch.cat([one, other], 1), log_p + log_q
