"""Densities around other densities, and the innermost of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.adapter import as_distribution
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import Sites

if TYPE_CHECKING:
    from marginflow.data import Schema


class Wrapper(Distribution, ABC):
    """A distribution around another density, `flow`, whose events it shares.

    Args:
        flow: any density.
        context_features: the width of its context, where it comes from elsewhere and does not say.

    Raises:
        ValueError: where it is no density.
    """

    def __init__(self, flow: Density, context_features: int = 0) -> None:
        super().__init__()
        self.flow = as_distribution(flow, context_features)

    @property
    def elementary(self) -> bool:
        return False

    @property
    def event_shape(self) -> torch.Size | None:
        return self.flow.event_shape

    @property
    def exact(self) -> bool:
        return self.flow.exact

    @property
    def takes_pixels(self) -> bool:
        return self.flow.takes_pixels

    @property
    def takes_float64(self) -> bool:
        return self.flow.takes_float64

    @property
    def reparameterised(self) -> bool:
        return self.flow.reparameterised

    @property
    def schema(self) -> Schema | None:
        return self.flow.schema

    @property
    def encodes_context(self) -> bool:
        return self.flow.encodes_context

    @property
    def support(self) -> Constraint:
        return self.flow.support

    def _seen(self, context: Tensor | None, num_rows: int) -> Tensor | None:
        """The context of so many rows as the flow takes it."""
        return context

    @abstractmethod
    def with_base(self, change: Callable[[Density], Distribution]) -> Distribution: ...

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        return self.flow, x, self._seen(context, x.shape[0])

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.flow._log_prob(x, self._seen(context, x.shape[0]))

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        return (yield from self.flow._noise(x, self._seen(context, x.shape[0])))

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.flow._sample(num_samples, self._seen(context, num_samples))

    def _sample_with_noise(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        return self.flow._sample_with_noise(num_samples, self._seen(context, num_samples))

    def _sample_and_flag(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.flow._sample_and_flag(num_samples, self._seen(context, num_samples))

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.flow._sample_and_log_prob(num_samples, self._seen(context, num_samples))


def innermost(
    model: Distribution, x: Tensor, context: Tensor | None = None
) -> tuple[Distribution, Tensor, Tensor | None]:
    """The density inside all wrappers, with rows and context as that one takes them; see `Distribution.unwrap`.

    Args:
        model: any distribution.
        x: rows (N, *event) that fit it.
        context: (N, C, ...), a row for each row of x; None where there is none.

    Returns:
        The innermost density, its rows and its context.
    """
    inner, x, context = model.unwrap(x, context)
    return (inner, x, context) if inner is model else innermost(inner, x, context)
