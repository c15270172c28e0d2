"""A conditional density that sees its context through a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from marginflow.base.distribution import Density, Distribution, Wrapper, context_features_of, sample_and_flag, with_base
from marginflow.base.shapes import check_context


class Conditional(Wrapper):
    """A conditional density whose context goes through a network first, trained with it.

    log p(x | c) = log p_flow(x | network(c))

    flow: any density whose context is what the network returns. network: (N, C, ...) -> (N, flow.context_features).
    context_features: C, the width of the context as given.

    >>> import torch
    >>> from marginflow import models
    >>> from marginflow.nets import MLP
    >>> model = Conditional(models.maf(2, hidden=[16], context_features=8), MLP(3, 8), context_features=3)
    >>> model.sample(5, torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, flow: Density, network: nn.Module, context_features: int) -> None:
        super().__init__(flow)
        said = getattr(network, "out_features", None)
        width = context_features_of(flow, unknown=said or 1)
        if width == 0:
            raise ValueError("the flow takes no context, so nothing would use the network: give it context_features")
        takes, returns = getattr(network, "in_features", context_features), said or width
        if context_features < 1 or (takes, returns) != (context_features, width):
            raise ValueError(
                f"the network must take the {context_features} features of the context, at least 1, and return the "
                f"{width} that the flow takes; it takes {takes} and returns {returns}"
            )
        self.network = network
        self._context_features = context_features

    @property
    def context_features(self) -> int:
        return self._context_features

    def _seen(self, context: Tensor | None, num_rows: int) -> Tensor:
        check_context(context, self._context_features, num_rows)
        like = next(self.network.parameters(), cast(Tensor, context))
        return self.network(cast(Tensor, context).to(like.dtype))

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Density, Tensor, Tensor | None]:
        return self.flow, x, self._seen(context, len(x))

    def with_base(self, change: Callable[[Density], Distribution]) -> Conditional:
        return Conditional(with_base(self.flow, change), self.network, self._context_features)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.flow.log_prob(x, self._seen(context, len(x)))

    @torch.no_grad()
    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        return self.flow.sample(num_samples, self._seen(context, num_samples))

    @torch.no_grad()
    def sample_and_flag(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return sample_and_flag(self.flow, num_samples, self._seen(context, num_samples))

    def sample_and_log_prob(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.own_flow().sample_and_log_prob(num_samples, self._seen(context, num_samples))
