"""A conditional density that sees its context through a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from marginflow.base.arguments import as_whole
from marginflow.base.devices import like_of, to_like
from marginflow.base.distribution import Density, Distribution
from marginflow.base.settings import require_function
from marginflow.base.wrapper import Wrapper


class Conditional(Wrapper):
    """A conditional density whose context goes through a network first, trained with it.

    log p(x | c) = log p_flow(x | network(c))

    Args:
        flow: any density whose context is what the network returns.
        network: (N, C, ...) -> (N, flow.context_features).
        context_features: C, the width of the context as given, at least 1.

    Raises:
        ValueError: where the flow takes no context, or the network takes or returns another number of features.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> from marginflow.nets import MLP
        >>> model = Conditional(models.maf(2, hidden=[16], context_features=8), MLP(3, 8), context_features=3)
        >>> model.sample(5, torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, flow: Density, network: nn.Module, context_features: int) -> None:
        require_function(network, "the network", "nets.MLP(3, 8)")
        context_features = as_whole(context_features, "context_features", least=1)
        said = getattr(network, "out_features", None)
        super().__init__(flow, said or 1)
        width = self.flow.context_features
        if width == 0:
            raise ValueError("the flow takes no context, so nothing would use the network: give it context_features")
        takes, returns = getattr(network, "in_features", context_features), said or width
        if (takes, returns) != (context_features, width):
            raise ValueError(
                f"the network must take the {context_features} features of the context and return the "
                f"{width} that the flow takes; it takes {takes} and returns {returns}"
            )
        self.network = network
        self._context_features = context_features

    @property
    def context_features(self) -> int:
        return self._context_features

    @property
    def encodes_context(self) -> bool:
        return bool(getattr(self.network, "encodes_context", False))

    def _seen(self, context: Tensor | None, num_rows: int) -> Tensor:
        """What the network, which takes it in its own precision, makes of the context."""
        return self.network(to_like(cast(Tensor, context), like_of(self.network), wide=self.encodes_context))

    def with_base(self, change: Callable[[Density], Distribution]) -> Conditional:
        return Conditional(self.flow.with_base(change), self.network, self._context_features)
