"""The masked network in normal form: inputs in order, degrees sorted, outputs interleaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.masked.layers import MaskedLinear
from marginflow.shapes import check_context

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}


class MaskedNetwork(nn.Module):
    """Parameters for every dimension, each a function of the dimensions before it and of the context.

    x (N, D), context (N, C) -> params (N, D, P); params[:, i] depends on x[:, :i] and the context alone.

    features: D. hidden_degrees: the sorted degrees of each hidden layer. num_params: P.
    context_features: C; the context enters beside x with degree 0, seen by all.
    activation: a name or any elementwise function.
    """

    def __init__(
        self,
        features: int,
        hidden_degrees: Sequence[Tensor],
        num_params: int,
        context_features: int = 0,
        activation: str | Callable[[Tensor], Tensor] = "relu",
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} or a function; got {activation!r}")
        self.features, self.num_params, self.context_features = features, num_params, context_features
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        dimensions = torch.arange(1, features + 1)
        degrees = [torch.cat([torch.zeros(context_features, dtype=torch.long), dimensions]), *hidden_degrees]
        self.hidden_layers = nn.ModuleList(MaskedLinear(below, above) for below, above in pairwise(degrees))
        self.output_layer = MaskedLinear(degrees[-1], dimensions.repeat_interleave(num_params), strict=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = x
        if self.context_features:
            check_context(context, self.context_features, len(x))
            h = torch.cat([cast(Tensor, context).to(x.dtype), x], 1)
        for layer in self.hidden_layers:
            h = self.activation(layer(h))
        return self.output_layer(h).view(-1, self.features, self.num_params)
