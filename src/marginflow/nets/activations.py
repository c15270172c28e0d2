"""The hidden layers of networks, plain and masked: their widths, activations and dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.settings import as_choice, as_flag, as_sizes, require_function

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
    if isinstance(activation, str):
        return ACTIVATIONS[as_choice(activation, ACTIVATIONS, "activation", ", or an elementwise function")].function
    require_function(activation, "activation", '"relu"')
    return activation


def as_hidden(hidden: Sequence[int], *, residual: bool = False) -> list[int]:
    """The widths of hidden layers; ValueError for what is none, and for widths that residual connections cannot add."""
    widths = as_sizes(hidden, "hidden", kind="widths")
    if as_flag(residual, "residual") and (len(widths) < 3 or len(set(widths[::2])) > 1):
        raise ValueError(
            "residual=True adds up the first, third, fifth ... hidden layer, which must be of one width, and needs "
            f"three layers at least; got {widths}: try [64, 64, 64]"
        )
    return widths
