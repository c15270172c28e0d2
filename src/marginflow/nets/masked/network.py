"""The masked network in normal form: inputs in order, degrees sorted, outputs interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from marginflow.base.arguments import check_context
from marginflow.nets.activations import Activation, as_activation, check_dropout
from marginflow.nets.masked.forward import run
from marginflow.nets.masked.inverse import invert
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.nets.masked.order import Order
from marginflow.nets.masked.plan import MaskedPlan, blocks_of


class MaskedNetwork(nn.Module):
    """Parameters for every dimension, each a function of the dimensions before it and of the context.

    x (N, D), context (N, C) -> params (N, D, P); params[:, i] depends on the context and on those dimensions of x
    alone that the order puts before i. Inside, dimensions stand in that order, which is all that is left of it.

    order: of the dimensions. hidden_degrees: the sorted degrees of each hidden layer. num_params: P.
    context_features: C; the context enters beside x with degree 0, seen by all.
    activation: a name or any elementwise function.
    residual: what the first, third, fifth ... hidden layer is before its activation is added to that of the one two
        further. These layers have the same degrees, so a sum depends on what its terms depend on.
    dropout: in training mode, the probability with which each hidden unit is left out of a row; the others are
        divided by one minus it. Srivastava et al., Dropout, 2014.
    """

    def __init__(
        self,
        order: Order,
        hidden_degrees: Sequence[Tensor],
        num_params: int,
        context_features: int = 0,
        activation: Activation = "relu",
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_dropout(dropout)
        features = len(order.dimensions)
        self.features, self.context_features = features, context_features
        self.order, self.dropout = order, dropout
        self.activation = as_activation(activation)  # a module of the user's own is trained and saved too
        with torch.device("cpu"):
            dimensions, known = torch.arange(1, features + 1), torch.arange(features + 1)
            degrees = [torch.cat([torch.zeros(context_features, dtype=torch.long), dimensions]), *hidden_degrees]
        self.hidden_layers = nn.ModuleList(MaskedLinear(below, above) for below, above in pairwise(degrees))
        self.output_layer = MaskedLinear(degrees[-1], dimensions.repeat_interleave(num_params), strict=True)
        self.layers = [*cast("list[MaskedLinear]", list(self.hidden_layers)), self.output_layer]  # input to output
        counts: list[list[int]] = [torch.searchsorted(layer, known, right=True).tolist() for layer in degrees]
        self.plan = MaskedPlan(
            features, num_params, context_features, counts, blocks_of(counts, self.layers, num_params),
            self.activation, activation if isinstance(activation, str) else None, residual,
        )  # fmt: skip

    @property
    def random(self) -> bool:
        """Whether units are left out at present."""
        return self.training and self.dropout > 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The parameters of every dimension: x (N, D), context (N, C) -> (N, D, P)."""
        dropout = self.dropout if self.random else 0.0
        return run(self.plan, self.layers, self.order, x, self._context(context, x), dropout)

    def invert(self, univariate: Any, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The x with univariate(x_i; params_i(x)) = z_i for every i, and log|det dx/dz|; see `inverse.invert`."""
        return invert(self.plan, self.layers, self.order, univariate, z, self._context(context, z))

    def _context(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """The context checked, in the precision of x; None where the network takes none."""
        if not self.context_features:
            return None
        check_context(context, self.context_features, len(x), vector=True)
        return cast(Tensor, context).to(x.dtype)
