"""A whole masked network and its gradient: banded products, and nothing kept that is not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from marginflow.nets.activations import ACTIVATIONS
from marginflow.nets.autograd import differentiable, left_to_autograd
from marginflow.nets.masked.linear import Layers, MaskedLinear
from marginflow.nets.masked.order import FeatureOrder
from marginflow.nets.masked.plan import MaskedPlan, Residual

T = TypeVar("T")
NO_TENSORS = (None,) * 4  # the gradients of what a pass is given besides tensors


def run(
    plan: MaskedPlan,
    layers: Layers,
    order: FeatureOrder,
    x: Tensor,
    context: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The output of a masked network: x (N, I), context (N, C) or None -> (N, I, P).

    Of a ragged plan it is (N, outputs), step by step.
    dropout: the probability with which each hidden unit is left out.
    """
    tensors, factors = [layer.tensors for layer in layers], _dropout(layers, x, dropout)
    needs_graph = torch.is_grad_enabled() and plan.activation_name is None  # it may have parameters, or draw noise
    if left_to_autograd() or needs_graph:
        return _through(plan, layers, order, factors, tensors, x, context)
    if not torch.is_grad_enabled():
        return _through(plan, layers, order, factors, tensors, x, context, quick=True)
    flat = [tensor for group in tensors for tensor in group]
    return cast(Tensor, _Pass.apply(plan, layers, order, factors, x, context, *flat))


def _dropout(layers: Layers, x: Tensor, dropout: float) -> list[Tensor]:
    """What each hidden layer's units (N, width) are multiplied by, drawn anew; empty where none is left out."""
    if not dropout:
        return []
    keep = 1 - dropout
    widths = [layer.out_features for layer in layers[:-1]]
    return [
        torch.empty(x.shape[0], width, dtype=x.dtype, device=x.device).bernoulli_(keep).div_(keep) for width in widths
    ]


def _through(
    plan: MaskedPlan,
    layers: Layers,
    order: FeatureOrder,
    factors: Sequence[Tensor],
    tensors: Sequence[Sequence[Tensor]],
    x: Tensor,
    context: Tensor | None,
    *,
    quick: bool = False,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """The output, in operations that autograd sees.

    quick: without a graph, and partly in place. kept: what the gradient needs is added to it.
    """
    multiply = MaskedLinear.product if quick else MaskedLinear.forward
    named = ACTIVATIONS[plan.activation_name] if plan.activation_name else None
    in_place = named.in_place if named and quick else None
    h = order.reorder(x)
    h = h if context is None else torch.cat([context, h], 1)
    residual = Residual(plan)
    if kept is not None:
        kept.append(h)
    for i, (layer, own) in enumerate(zip(layers[:-1], tensors, strict=False)):
        h = residual.enter(i + 1, multiply(layer, h, own), overwritten=in_place is not None or named is None)
        if kept is not None:
            kept.append(h)
        h = in_place(h) if in_place else plan.activation(h)
        h = h * factors[i] if factors else h
    h = multiply(layers[-1], h, tensors[-1])
    return h if plan.ragged else order.restore(h.view(*x.shape, cast(int, plan.num_params)))


def _recall(plan: MaskedPlan, kept: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The output of a hidden layer, and the gradient through its activation."""
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
    def forward(ctx: Any, *given: Any) -> Tensor:  # as of `run`
        plan, layers, order, factors, x, context, *flat = given
        kept: list[Tensor] = []
        output = _through(plan, layers, order, factors, _by_layer(layers, flat), x, context, quick=True, kept=kept)
        ctx.plan, ctx.layers, ctx.order, ctx.factors, ctx.num_tensors = plan, layers, order, factors, len(flat)
        ctx.save_for_backward(x, context, *flat, *kept)
        return output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        plan, layers, order = cast("tuple[MaskedPlan, Layers, FeatureOrder]", (ctx.plan, ctx.layers, ctx.order))
        x, context, *saved = ctx.saved_tensors
        flat, kept = saved[: ctx.num_tensors], saved[ctx.num_tensors :]
        tensors, needed = _by_layer(layers, flat), _by_layer(layers, ctx.needs_input_grad[6:])
        if torch.is_grad_enabled():  # this gradient will be differentiated itself

            def plain(x: Tensor, context: Tensor | None, *flat: Tensor) -> Tensor:
                return _through(plan, layers, order, ctx.factors, _by_layer(layers, flat), x, context)

            return *NO_TENSORS, *differentiable(plain, [x, context, *flat], ctx.needs_input_grad[4:], grad_outputs)
        grad = grad_outputs[0] if plan.ragged else order.reorder(grad_outputs[0]).flatten(1)
        grads: list[Tensor | None] = []
        residual = Residual(plan)  # the gradient that later layers send past those between
        for i, layer in reversed(list(enumerate(layers))):
            h, back = _recall(plan, kept[i]) if i else (kept[0], None)
            factor = ctx.factors[i - 1] if i and ctx.factors else None
            below = h if factor is None else h * factor
            grads = [*layer.tensors_back(below, grad, tensors[i], needed[i]), *grads]
            if back is not None:
                grad = layer.product_back(grad, tensors[i])
                grad = back(grad if factor is None else grad * factor)
                grad = residual.enter(i, grad)
        if not any(ctx.needs_input_grad[4:6]):
            return *NO_TENSORS, None, None, *grads
        grad = layers[0].product_back(grad, tensors[0])
        c = plan.context_features
        return *NO_TENSORS, order.restore(grad[:, c:]), None if context is None else grad[:, :c], *grads


def _by_layer(layers: Layers, flat: Sequence[T]) -> list[Sequence[T]]:
    """What there is of bias and bands of each layer, out of that of all."""
    groups, start = [], 0
    for layer in layers:
        groups.append(flat[start : start + 1 + len(layer.all_bands)])
        start += len(groups[-1])
    return groups
