"""Plain conditioners: networks that turn what they see, and a context, into parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.hidden import IN_PLACE, Activation, as_activation, check_dropout, check_hidden
from marginflow.shapes import check_context


class MLP(nn.Module):
    """A fully connected network of x and a context: (N, in_features), (N, C) -> (N, out_features).

    hidden: widths of the hidden layers. activation: a name such as "relu" or any elementwise function.
    context_features: C; the context enters beside x.
    residual: add what the first, third, fifth ... hidden layer is before its activation to that of the one two
        further, so that each pair of layers learns a difference; these layers are then of one width.
        He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016 (arXiv 1603.05027).
    dropout: in training mode, the probability with which a hidden unit is left out.

    >>> import torch
    >>> MLP(3, 4, hidden=[16, 16], context_features=2)(torch.zeros(5, 3), torch.zeros(5, 2)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (64, 64),
        *,
        activation: Activation = "relu",
        context_features: int = 0,
        residual: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_hidden(hidden, residual=residual)
        check_dropout(dropout)
        self.in_features, self.out_features, self.context_features = in_features, out_features, context_features
        self.residual, self.dropout = residual, dropout
        in_place = IN_PLACE.get(activation) if isinstance(activation, str) else None  # what it is given is our own
        self.activation = in_place or as_activation(activation)
        widths = [in_features + context_features, *hidden, out_features]
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))

    @property
    def random(self) -> bool:
        """Whether units are left out at present."""
        return self.training and self.dropout > 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.context_features:
            check_context(context, self.context_features, len(x))
            x = torch.cat([x, cast(Tensor, context).to(x.dtype)], 1)
        *hidden, output = self.layers
        stream = None
        for i, layer in enumerate(hidden):
            x = layer(x)
            if self.residual and i % 2 == 0:
                stream = x if stream is None else x + stream
                x = stream.clone()  # for an activation that works in place
            x = self.activation(x)
            x = functional.dropout(x, self.dropout) if self.random else x
        return output(x)
