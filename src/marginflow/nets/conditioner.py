"""What networks of one layer after the other share: how the layers are joined, how a context enters the first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.arguments import require_context
from marginflow.base.call import RemembersArguments
from marginflow.nets.activations import ACTIVATIONS, Activation, as_activation, require_dropout, require_hidden


class Layered(RemembersArguments, nn.Module, ABC):
    """Layers with an activation between them: the hidden ones, then the output.

    residual: add what the first, third, fifth ... hidden layer is before its activation to that of the one two
        further. dropout: in training mode, the probability with which a hidden unit is left out.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int],
        *,
        activation: Activation,
        context_features: int,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        require_hidden(hidden, residual=residual)
        require_dropout(dropout)
        self.in_features, self.out_features, self.context_features = in_features, out_features, context_features
        self.residual, self.dropout = residual, dropout
        in_place = (
            ACTIVATIONS[activation].in_place if isinstance(activation, str) and activation in ACTIVATIONS else None
        )  # over what is our own
        self.activation = in_place or as_activation(activation)
        self.layers = nn.ModuleList()

    @property
    def random(self) -> bool:
        """Whether units are left out at present."""
        return self.training and self.dropout > 0

    @abstractmethod
    def first(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the first layer makes of x and of the context, where there is one."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.context_features:
            require_context(context, self.context_features, len(x), vector=x.ndim == 2)
        x, stream = self.first(x, context if self.context_features else None), None
        for i, layer in enumerate(list(self.layers)[1:]):
            if self.residual and i % 2 == 0:
                stream = x if stream is None else x + stream
                x = stream.clone()  # for an activation that works in place
            x = self.activation(x)
            x = functional.dropout(x, self.dropout) if self.random else x
            x = layer(x)
        return x
