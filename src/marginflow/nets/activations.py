"""The hidden layers of networks, plain and masked: their widths, activations and dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

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
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu_, "tanh": torch.tanh_}


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


def check_hidden(hidden: Sequence[int], *, residual: bool = False) -> None:
    """Refuse what is not a list of widths, and widths that residual connections cannot join."""
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ValueError(f"hidden must be a list of widths; got {hidden!r}")
    if any(not isinstance(width, Integral) or width < 1 for width in hidden):
        raise ValueError(f"hidden must be a list of widths, each at least 1; got {hidden!r}")
    if residual and (len(hidden) < 3 or len(set(hidden[::2])) > 1):
        raise ValueError(
            "residual=True joins the first, third, fifth ... hidden layer, which must be of one width, and needs three "
            f"layers at least; got {list(hidden)}: try [64, 64, 64]"
        )


def check_dropout(dropout: float) -> None:
    """Refuse what is no probability with which a unit can be left out."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1); got {dropout}")
