"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from marginflow.nets.activations import Activation
from marginflow.nets.layered import Layered
from marginflow.nets.linear import Linear


class MLP(Layered):
    """A fully connected network of x and a context: (N, in_features), (N, C) -> (N, out_features).

    Args:
        in_features: number of features of x.
        out_features: number of features of the output.
        hidden: widths of the hidden layers.
        activation: a name such as "relu", or any elementwise function.
        context_features: number of features C of the context, which is appended to x; 0 takes none.
        residual: add the first, third, fifth ... hidden layer before its activation to the one two further, so that
            each pair of layers learns a residual; these layers are then of one width.
        dropout: in training mode, the probability with which a hidden unit is left out.

    Raises:
        ValueError: where hidden is no list of widths or does not fit residual, activation is not known, or dropout is
            not in [0, 1).

    References:
        He, Zhang, Ren and Sun, Identity Mappings in Deep Residual Networks, 2016 (arXiv 1603.05027).

    Examples:
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
        super().__init__(
            in_features, out_features, hidden, activation=activation, context_features=context_features,
            residual=residual, dropout=dropout,
        )  # fmt: skip
        widths = [self.in_features + self.context_features, *self.hidden, self.out_features]
        self.layers.extend(Linear(below, above) for below, above in pairwise(widths))

    def first(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.layers[0](x if context is None else torch.cat([x, context.to(x.dtype)], 1))
