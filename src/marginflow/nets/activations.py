"""The hidden layers of networks, plain and masked: their widths, activations and dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Activation = str | Callable[[Tensor], Tensor]


class Named(NamedTuple):
    """An activation that has a name.

    Attributes:
        function: x -> h.
        code: its number in compiled loops.
        in_place: the same, written over x; None where there is none.
        from_output: (grad, h) -> the gradient of x, where h determines it; None where it does not.
    """

    function: Callable[[Tensor], Tensor]
    code: int
    in_place: Callable[[Tensor], Tensor] | None = None
    from_output: Callable[[Tensor, Tensor], Tensor] | None = None


def _relu_backward(grad: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.default(grad, h, 0)


ACTIVATIONS = {
    "relu": Named(functional.relu, 0, torch.relu_, _relu_backward),
    "tanh": Named(torch.tanh, 1, torch.tanh_, torch.ops.aten.tanh_backward.default),
    "elu": Named(functional.elu, 2),
    "silu": Named(functional.silu, 3),
    "softplus": Named(functional.softplus, 4),
    "gelu": Named(functional.gelu, 5),
}


def as_activation(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The elementwise function that a name, or a function, means.

    Args:
        activation: a name such as "relu", or any elementwise function.

    Returns:
        The function.

    Raises:
        ValueError: where the name is not known.

    Examples:
        >>> as_activation("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if not isinstance(activation, str):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} or a function; got {activation!r}")
    return ACTIVATIONS[activation].function


def require_hidden(hidden: Sequence[int], *, residual: bool = False) -> None:
    """Refuse what is not a list of widths, and widths that residual connections cannot add."""
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ValueError(f"hidden must be a list of widths; got {hidden!r}")
    if any(not isinstance(width, Integral) or width < 1 for width in hidden):
        raise ValueError(f"hidden must be a list of widths, each at least 1; got {hidden!r}")
    if residual and (len(hidden) < 3 or len(set(hidden[::2])) > 1):
        raise ValueError(
            "residual=True adds up the first, third, fifth ... hidden layer, which must be of one width, and needs "
            f"three layers at least; got {list(hidden)}: try [64, 64, 64]"
        )


def require_dropout(dropout: float) -> None:
    """Refuse what is no probability with which a unit can be left out."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1); got {dropout}")
