"""What networks of one layer after the other share: residual connections, dropout, how a context enters the first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.arguments import as_whole, require_context
from marginflow.base.call import RemembersArguments
from marginflow.base.settings import as_dropout
from marginflow.nets.activations import ACTIVATIONS, Activation, as_activation, as_hidden


class Layered(RemembersArguments, nn.Module, ABC):
    """Layers with an activation between them: the hidden ones, then the output.

    Args:
        in_features: of the input x.
        out_features: of the output.
        hidden: widths of the hidden layers.
        activation: a name such as "relu", or any elementwise function.
        context_features: width C of the context; 0 where none is used.
        residual: add the first, third, fifth ... hidden layer before its activation to the one two further.
        dropout: in training mode, the probability with which a hidden unit is left out.

    Raises:
        ValueError: where hidden, activation or dropout do not fit.
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
        self.hidden = as_hidden(hidden, residual=residual)
        self.in_features = as_whole(in_features, "in_features", least=1)
        self.out_features = as_whole(out_features, "out_features", least=1)
        self.context_features = as_whole(context_features, "context_features")
        self.residual, self.dropout = bool(residual), as_dropout(dropout)
        in_place = (
            ACTIVATIONS[activation].in_place if isinstance(activation, str) and activation in ACTIVATIONS else None
        )  # over what is our own
        self.activation, self._said = in_place or as_activation(activation), f"{self.hidden}, {activation}"
        self.layers = nn.ModuleList()

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in ("context_features", "dropout", "residual")}
        named = "".join(f", {name}={value}" for name, value in options.items() if value)
        return f"{type(self).__name__}({self.in_features}, {self.out_features}, {self._said}{named})"

    @property
    def random(self) -> bool:
        """Whether units are left out at present."""
        return self.training and self.dropout > 0

    @abstractmethod
    def first(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the first layer makes of x and of the context, where there is one."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.context_features:
            require_context(context, self.context_features, x.shape[0], vector=x.ndim == 2)
        x, total = self.first(x, context if self.context_features else None), None
        for i, layer in enumerate(list(self.layers)[1:]):
            if self.residual and i % 2 == 0:
                total = x if total is None else x + total
                x = total.clone()  # for an activation that works in place
            x = self.activation(x)
            x = functional.dropout(x, self.dropout) if self.random else x
            x = layer(x)
        return x
