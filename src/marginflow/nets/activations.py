"""The hidden layers of networks, plain and masked: their widths, activations and dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.arguments import shown
from marginflow.base.settings import as_choice, as_flag, as_sizes, require_function
from marginflow.base.surroundings import values_are_visible

Activation = str | Callable[[Tensor], Tensor]
FromOutput = Callable[[Tensor, Tensor], Tensor]


class Named(NamedTuple):
    """An activation that has a name.

    Attributes:
        function: x -> h.
        code: its number in compiled loops.
        in_place: the same, written over x; None where there is none.
        from_output: (grad, h) -> the gradient of x, written over grad, where h determines it; None where it does not.
    """

    function: Callable[[Tensor], Tensor]
    code: int
    in_place: Callable[[Tensor], Tensor] | None = None
    from_output: FromOutput | None = None


def _relu_backward(grad: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)


def _tanh_backward(grad: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward.grad_input(grad, h, grad_input=grad)


ACTIVATIONS = {
    "relu": Named(functional.relu, 0, torch.relu_, _relu_backward),
    "tanh": Named(torch.tanh, 1, torch.tanh_, _tanh_backward),
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
        ValueError: where the name is not known, or the function mixes entries, or lets no gradient pass.

    Examples:
        >>> as_activation("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if isinstance(activation, str):
        return ACTIVATIONS[as_choice(activation, ACTIVATIONS, "activation", ", or an elementwise function")].function
    require_function(activation, "activation", '"relu"')
    if wrong := _unlike_an_activation(activation):
        raise ValueError(
            f"activation must be an elementwise function of tensors, such as torch.tanh; {shown(activation)} {wrong}"
        )
    return activation


def _unlike_an_activation(function: Callable[[Tensor], Tensor]) -> str:
    """What a small tensor shows to be wrong with an activation; empty where nothing is."""
    weights = list(function.parameters()) if isinstance(function, nn.Module) else []
    like = weights[0].detach() if weights else torch.zeros(())
    values = [[-1.5, -0.5, 0.25], [0.5, 1.0, 2.0]]
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            x = torch.tensor(values, dtype=like.dtype, device=like.device).requires_grad_()
            inputs = [x, x, x.flip(0, 1), torch.cat([x[:1], 3 * x[1:]]), torch.cat([x[:, :1], 3 * x[:, 1:]], 1)]
            h, again, turned, *changed = (function(each.clone()) for each in inputs)
    except Exception as error:
        if weights:  # as many as there will be units
            return ""
        return f"cannot take one that records gradients ({' '.join(str(error).split())[:100]})"
    if not isinstance(h, Tensor):
        return f"returns a value of type {type(h).__name__}"
    if h.shape != x.shape:
        return f"makes {tuple(h.shape)} of shape {tuple(x.shape)}"
    if not h.requires_grad:
        return "lets no gradient pass"
    if not values_are_visible(h) or not torch.equal(h, again):  # random ones cannot be told apart
        return ""
    pairs = [(h.flip(0, 1), turned), (h[:1], changed[0][:1]), (h[:, :1], changed[1][:, :1])]
    return "" if all(torch.allclose(*pair, equal_nan=True) for pair in pairs) else "mixes entries"


def as_hidden(hidden: Sequence[int], *, residual: bool = False) -> list[int]:
    """The widths of hidden layers; ValueError for what is none, and for widths that residual connections cannot add."""
    widths = as_sizes(hidden, "hidden", kind="widths")
    if as_flag(residual, "residual") and (len(widths) < 3 or len(set(widths[::2])) > 1):
        raise ValueError(
            "residual=True adds up the first, third, fifth ... hidden layer, which must be of one width, and needs "
            f"three layers at least; got {widths}: try [64, 64, 64]"
        )
    return widths
