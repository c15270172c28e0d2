"""The way through a masked network and back, written out: banded products, and nothing kept that is not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from marginflow.nets.activations import ACTIVATIONS
from marginflow.nets.autograd import differentiable, left_to_autograd
from marginflow.nets.masked.linear import MaskedLinear, hide
from marginflow.nets.masked.order import Order
from marginflow.nets.masked.plan import MaskedPlan, Residual

T = TypeVar("T")
Backward = Callable[[Tensor], Tensor]
NO_TENSORS = (None,) * 4  # the gradients of what a pass is given besides tensors


def run(
    plan: MaskedPlan,
    layers: Sequence[MaskedLinear],
    order: Order,
    x: Tensor,
    context: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The output of a masked network: x (N, D), context (N, C) or None -> (N, D, P).

    dropout: the probability with which each hidden unit is left out.
    """
    tensors = [layer.tensors for layer in layers]
    flat = [tensor for group in tensors for tensor in group]
    factors = _dropout(layers, x, dropout)
    if left_to_autograd():
        return _layer_by_layer(plan, layers, order, factors, x, context, *flat)
    if not torch.is_grad_enabled():
        return _outputs(plan, order, _through(plan, layers, factors, _inputs(order, x, context), tensors, []))
    if plan.activation_name is None:  # it may have parameters, draw noise, or work in place
        return _layer_by_layer(plan, layers, order, factors, x, context, *flat)
    return cast(Tensor, _Pass.apply(plan, layers, order, factors, x, context, *flat))


def _dropout(layers: Sequence[MaskedLinear], x: Tensor, dropout: float) -> list[Tensor]:
    """What each hidden layer's units (N, width) are multiplied by, drawn anew; empty where none is left out."""
    if not dropout:
        return []
    keep = 1 - dropout
    widths = [layer.out_features for layer in layers[:-1]]
    return [torch.empty(len(x), width, dtype=x.dtype, device=x.device).bernoulli_(keep).div_(keep) for width in widths]


def _inputs(order: Order, x: Tensor, context: Tensor | None) -> Tensor:
    """What the first layer sees: (N, C + D)."""
    x = order.reorder(x)
    return x if context is None else torch.cat([context, x], 1)


def _outputs(plan: MaskedPlan, order: Order, output: Tensor) -> Tensor:
    """What the last layer says, (N, D P), for the dimensions where they stand in x."""
    return order.restore(output.view(-1, plan.features, plan.num_params))


def _layer_by_layer(
    plan: MaskedPlan,
    layers: Sequence[MaskedLinear],
    order: Order,
    factors: Sequence[Tensor],
    x: Tensor,
    context: Tensor | None,
    *flat: Tensor,
) -> Tensor:
    """The output, left to autograd."""
    *hidden, output = zip(layers, _by_layer(layers, flat), strict=True)
    h, residual = _inputs(order, x, context), Residual(plan)
    for i, (layer, own) in enumerate(hidden):
        h = residual.enter(i + 1, layer(h, own), overwritten=plan.activation_name is None)
        h = plan.activation(h)
        h = h * factors[i] if factors else h
    layer, own = output
    return _outputs(plan, order, layer(h, own))


def _through(
    plan: MaskedPlan,
    layers: Sequence[MaskedLinear],
    factors: Sequence[Tensor],
    h: Tensor,
    tensors: Sequence[Sequence[Tensor]],
    kept: list[Tensor],
) -> Tensor:
    """The last layer's output; what the way back must know of each hidden layer is added to `kept`."""
    *hidden, output = zip(layers, tensors, strict=True)
    in_place = ACTIVATIONS[plan.activation_name].in_place if plan.activation_name else None
    residual, overwritten = Residual(plan), in_place is not None or plan.activation_name is None
    for i, (layer, own) in enumerate(hidden):
        h = residual.enter(i + 1, _product(layer, own, h), overwritten=overwritten)
        kept.append(h)
        h = in_place(h) if in_place else plan.activation(h)
        h = h * factors[i] if factors else h
    return _product(*output, h)


def _product(layer: MaskedLinear, tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    """x W^T + b band by band, (N, I) -> (N, O)."""
    bias, *weights = tensors
    if len(weights) == 1:
        return torch.addmm(bias, _first(x, weights[0].shape[1]), weights[0].T)
    out = x.new_empty(len(x), layer.out_features)
    for band, weight in zip(layer.all_bands, weights, strict=True):
        torch.mm(x[:, : weight.shape[1]], weight.T, out=out[:, band.rows])
    return out.add_(bias)  # once for all bands


def _first(x: Tensor, columns: int) -> Tensor:
    return x if x.shape[1] == columns else x[:, :columns]


def _product_back(layer: MaskedLinear, tensors: Sequence[Tensor], grad: Tensor) -> Tensor:
    """grad W band by band, (N, O) -> (N, I)."""
    *others, (last, widest) = zip(layer.all_bands, tensors[1:], strict=True)
    rows = grad[:, last.rows] if others else grad
    if widest.shape[1] == layer.in_features:
        out = rows @ widest
    else:  # some inputs are seen by no one
        out = grad.new_zeros(len(grad), layer.in_features)
        torch.mm(rows, widest, out=out[:, : widest.shape[1]])
    for band, weight in others:
        out[:, : weight.shape[1]].addmm_(grad[:, band.rows], weight)
    return out


def _tensors_back(
    layer: MaskedLinear, tensors: Sequence[Tensor], x: Tensor, grad: Tensor, needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of bias and bands that need one; zero where a mask hides a weight, which therefore stays zero."""
    grads = [grad.sum(0) if needed[0] else None]
    for band, weight, edge, wanted in zip(layer.all_bands, tensors[1:], layer.edges, needed[1:], strict=True):
        rows = grad if len(tensors) == 2 else grad[:, band.rows]
        grads.append(hide(rows.T @ _first(x, weight.shape[1]), edge) if wanted else None)
    return grads


def _recall(plan: MaskedPlan, kept: Tensor) -> tuple[Tensor, Backward]:
    """The output of a hidden layer, and the way back through its activation."""
    from_output = ACTIVATIONS[plan.activation_name].from_output if plan.activation_name else None
    if from_output is not None:
        return kept, lambda grad: from_output(grad, kept)
    with torch.enable_grad():
        before = kept.detach().requires_grad_()
        after = plan.activation(before)
    return after.detach(), lambda grad: torch.autograd.grad(after, before, grad)[0]


class _Pass(torch.autograd.Function):
    """A whole network and its gradient: one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: MaskedPlan,
        layers: Sequence[MaskedLinear],
        order: Order,
        factors: Sequence[Tensor],
        x: Tensor,
        context: Tensor | None,
        *flat: Tensor,
    ) -> Tensor:
        kept = [_inputs(order, x, context)]
        output = _through(plan, layers, factors, kept[0], _by_layer(layers, flat), kept)
        ctx.plan, ctx.layers, ctx.order, ctx.factors, ctx.num_tensors = plan, layers, order, factors, len(flat)
        ctx.save_for_backward(x, context, *flat, *kept)
        return _outputs(plan, order, output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        plan, layers, order = cast(
            "tuple[MaskedPlan, Sequence[MaskedLinear], Order]", (ctx.plan, ctx.layers, ctx.order)
        )
        x, context, *saved = ctx.saved_tensors
        flat, kept = saved[: ctx.num_tensors], saved[ctx.num_tensors :]
        tensors, needed = _by_layer(layers, flat), _by_layer(layers, ctx.needs_input_grad[6:])
        if torch.is_grad_enabled():  # this gradient will be differentiated itself
            plain = partial(_layer_by_layer, plan, layers, order, ctx.factors)
            return *NO_TENSORS, *differentiable(plain, [x, context, *flat], ctx.needs_input_grad[4:], grad_outputs)
        grad = order.reorder(grad_outputs[0]).flatten(1)
        grads: list[Tensor | None] = []
        residual = Residual(plan)  # the gradient that later layers send past those between
        for i, layer in reversed(list(enumerate(layers))):
            h, back = _recall(plan, kept[i]) if i else (kept[0], None)
            factor = ctx.factors[i - 1] if i and ctx.factors else None
            below = h if factor is None else h * factor
            grads = [*_tensors_back(layer, tensors[i], below, grad, needed[i]), *grads]
            if back is not None:
                grad = _product_back(layer, tensors[i], grad)
                grad = back(grad if factor is None else grad * factor)
                grad = residual.enter(i, grad)
        if not any(ctx.needs_input_grad[4:6]):
            return *NO_TENSORS, None, None, *grads
        grad = _product_back(layers[0], tensors[0], grad)
        c = plan.context_features
        return *NO_TENSORS, order.restore(grad[:, c:]), None if context is None else grad[:, :c], *grads


def _by_layer(layers: Sequence[MaskedLinear], flat: Sequence[T]) -> list[Sequence[T]]:
    """What there is of bias and bands of each layer, out of that of all."""
    groups, start = [], 0
    for layer in layers:
        groups.append(flat[start : start + 1 + len(layer.weights)])
        start += len(groups[-1])
    return groups
