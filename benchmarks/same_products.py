"""Every linear layer of a peer through the product back end that ours use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.nets import products
from marginflow.nets.product_choice import PRODUCTS

KINDS = tuple(PRODUCTS)
_torchs_own = functional.linear


def are_torchs_own() -> bool:
    """Whether torch's own products are the quickest of this machine for everything."""
    return products.chosen().least is None


class SameProducts(torch.autograd.Function):
    """x W^T + b and its gradients by the products in force: x (N, I), W (O, I), b (O,) or None -> (N, O)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = products.forward(x, weight)
        return out if bias is None else out.add_(bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight), needed = grad_outputs, ctx.saved_tensors, ctx.needs_input_grad
        return (
            products.input_gradient(grad, weight) if needed[0] else None,
            products.weight_gradient(grad, x) if needed[1] else None,
            grad.sum(0) if needed[2] else None,
        )


# the same three as operators, which a compiler leaves as they are
@torch.library.custom_op("benchmarks::forward", mutates_args=())
def _forward(x: Tensor, weight: Tensor) -> Tensor:
    return products.forward(x, weight)


@torch.library.custom_op("benchmarks::input_gradient", mutates_args=())
def _input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    return products.input_gradient(grad, weight)


@torch.library.custom_op("benchmarks::weight_gradient", mutates_args=())
def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    return products.weight_gradient(grad, x)


@torch.library.register_fake("benchmarks::forward")
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@torch.library.register_fake("benchmarks::input_gradient")
def _(grad: Tensor, weight: Tensor) -> Tensor:
    return grad.new_empty(grad.shape[0], weight.shape[1])


@torch.library.register_fake("benchmarks::weight_gradient")
def _(grad: Tensor, x: Tensor) -> Tensor:
    return grad.new_empty(grad.shape[1], x.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    return (
        cast("Tensor", _input_gradient(grad, weight)) if ctx.needs_input_grad[0] else None,
        cast("Tensor", _weight_gradient(grad, x)) if ctx.needs_input_grad[1] else None,
    )


torch.library.register_autograd("benchmarks::forward", _back, setup_context=_keep)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` by the products in force, for rows in float32; other inputs as torch does."""
    if x.ndim != 2 or x.dtype != torch.float32:
        return _torchs_own(x, weight, bias)
    if torch.compiler.is_compiling():
        out = cast("Tensor", _forward(x, weight))
        return out if bias is None else out + bias
    return cast("Tensor", SameProducts.apply(x, weight, bias))


@contextmanager
def same_products() -> Iterator[None]:
    """Within it `torch.nn.functional.linear`, which zuko's and nflows' masked layers call, is `linear`."""
    functional.linear = linear
    try:
        yield
    finally:
        functional.linear = _torchs_own
