"""The activations of networks, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Activation = str | Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}


def as_activation(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The elementwise function that a name, or a function, means.

    >>> as_activation("relu")(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if not isinstance(activation, str):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} or a function; got {activation!r}")
    return ACTIVATIONS[activation]
