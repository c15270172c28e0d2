"""The way through a masked network and back, written out: banded products, and nothing kept that is not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from marginflow.gradients import differentiable, left_to_autograd
from marginflow.hidden import IN_PLACE
from marginflow.masked.layers import hide

if TYPE_CHECKING:
    from marginflow.masked.layers import MaskedLinear
    from marginflow.masked.network import MaskedNetwork

Backward = Callable[[Tensor], Tensor]

# of activations that can work in place: grad, output -> grad
FROM_OUTPUT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda grad, h: torch.ops.aten.threshold_backward.default(grad, h, 0),
    "tanh": torch.ops.aten.tanh_backward.default,
}


def run(network: MaskedNetwork, x: Tensor, context: Tensor | None) -> Tensor:
    """The output of a masked network: x (N, D), context (N, C) or None -> (N, D, P)."""
    tensors = [layer.tensors for layer in network.layers]
    flat = [tensor for group in tensors for tensor in group]
    factors = _dropout(network, x)
    if left_to_autograd():
        return _layer_by_layer(network, factors, x, context, *flat)
    if not torch.is_grad_enabled():
        return _outputs(network, _through(network, factors, _inputs(network, x, context), tensors, []))
    if network.activation_name is None:  # it may have parameters, draw noise, or work in place
        return _layer_by_layer(network, factors, x, context, *flat)
    return cast(Tensor, _Pass.apply(network, factors, x, context, *flat))


def _dropout(network: MaskedNetwork, x: Tensor) -> list[Tensor]:
    """What each hidden layer's units (N, width) are multiplied by, drawn anew; empty where none is left out."""
    if not network.random:
        return []
    keep = 1 - network.dropout
    widths = [layer.out_features for layer in network.layers[:-1]]
    return [torch.empty(len(x), width, dtype=x.dtype, device=x.device).bernoulli_(keep).div_(keep) for width in widths]


def _inputs(network: MaskedNetwork, x: Tensor, context: Tensor | None) -> Tensor:
    """What the first layer sees: (N, C + D)."""
    x = network.order.reorder(x)
    return x if context is None else torch.cat([context, x], 1)


def _outputs(network: MaskedNetwork, output: Tensor) -> Tensor:
    """What the last layer says, (N, D P), for the dimensions where they stand in x."""
    return network.order.restore(output.view(-1, network.features, network.num_params))


def _layer_by_layer(
    network: MaskedNetwork, factors: Sequence[Tensor], x: Tensor, context: Tensor | None, *flat: Tensor
) -> Tensor:
    """The output, left to autograd."""
    *hidden, output = zip(network.layers, _by_layer(network, flat), strict=True)
    h, stream = _inputs(network, x, context), None
    for i, (layer, own) in enumerate(hidden):
        h = layer(h, own)
        if network.joined(i + 1):
            h = stream = h if stream is None else h + stream
            h = h if network.activation_name else h.clone()  # one of one's own may work in place
        h = network.activation(h)
        h = h * factors[i] if factors else h
    layer, own = output
    return _outputs(network, layer(h, own))


def _through(
    network: MaskedNetwork,
    factors: Sequence[Tensor],
    h: Tensor,
    tensors: Sequence[Sequence[Tensor]],
    kept: list[Tensor],
) -> Tensor:
    """The last layer's output; what the way back must know of each hidden layer is added to `kept`."""
    *hidden, output = zip(network.layers, tensors, strict=True)
    in_place = IN_PLACE.get(network.activation_name or "")
    stream = None  # what the joined layers have added up to, before the activation
    for i, (layer, own) in enumerate(hidden):
        h = _product(layer, own, h)
        if network.joined(i + 1):
            h = h if stream is None else h.add_(stream)
            stream = h.clone() if in_place or network.activation_name is None else h
        kept.append(h)
        h = in_place(h) if in_place else network.activation(h)
        h = h * factors[i] if factors else h
    return _product(*output, h)


def _product(layer: MaskedLinear, tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    """x W^T + b band by band, (N, I) -> (N, O)."""
    bias, *weights = tensors
    if len(weights) == 1:
        return torch.addmm(bias, _first(x, weights[0].shape[1]), weights[0].T)
    out = x.new_empty(len(x), layer.out_features)
    for (top, bottom), weight in zip(pairwise(layer.cuts), weights, strict=True):
        torch.mm(x[:, : weight.shape[1]], weight.T, out=out[:, top:bottom])
    return out.add_(bias)  # once for all bands


def _first(x: Tensor, columns: int) -> Tensor:
    return x if x.shape[1] == columns else x[:, :columns]


def _product_back(layer: MaskedLinear, tensors: Sequence[Tensor], grad: Tensor) -> Tensor:
    """grad W band by band, (N, O) -> (N, I)."""
    *rest, widest = tensors[1:]
    last = layer.cuts[-2]
    if widest.shape[1] == layer.in_features:
        out = (grad[:, last:] if rest else grad) @ widest
    else:  # some inputs are seen by no one
        out = grad.new_zeros(len(grad), layer.in_features)
        torch.mm(grad[:, last:], widest, out=out[:, : widest.shape[1]])
    for (top, bottom), weight in zip(pairwise(layer.cuts), rest, strict=False):
        out[:, : weight.shape[1]].addmm_(grad[:, top:bottom], weight)
    return out


def _tensors_back(layer: MaskedLinear, tensors: Sequence[Tensor], x: Tensor, grad: Tensor) -> list[Tensor]:
    """The gradients of bias and bands; zero where a mask hides a weight, which therefore stays zero."""
    grads = [grad.sum(0)]
    if len(tensors) == 2:
        return [*grads, hide(grad.T @ _first(x, tensors[1].shape[1]), layer.edges[0])]
    for (top, bottom), weight, edge in zip(pairwise(layer.cuts), tensors[1:], layer.edges, strict=True):
        grads.append(hide(grad[:, top:bottom].T @ x[:, : weight.shape[1]], edge))
    return grads


def _recall(network: MaskedNetwork, kept: Tensor) -> tuple[Tensor, Backward]:
    """The output of a hidden layer, and the way back through its activation."""
    from_output = FROM_OUTPUT.get(network.activation_name or "")
    if from_output:
        return kept, lambda grad: from_output(grad, kept)
    with torch.enable_grad():
        before = kept.detach().requires_grad_()
        after = network.activation(before)
    return after.detach(), lambda grad: torch.autograd.grad(after, before, grad)[0]


class _Pass(torch.autograd.Function):
    """A whole network and its gradient: one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any,
        network: MaskedNetwork,
        factors: Sequence[Tensor],
        x: Tensor,
        context: Tensor | None,
        *flat: Tensor,
    ) -> Tensor:
        kept = [_inputs(network, x, context)]
        output = _through(network, factors, kept[0], _by_layer(network, flat), kept)
        ctx.network, ctx.factors, ctx.num_tensors = network, factors, len(flat)
        ctx.save_for_backward(x, context, *flat, *kept)
        return _outputs(network, output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        network = cast("MaskedNetwork", ctx.network)
        x, context, *saved = ctx.saved_tensors
        flat, kept = saved[: ctx.num_tensors], saved[ctx.num_tensors :]
        tensors = _by_layer(network, flat)
        if torch.is_grad_enabled():  # this gradient will be differentiated itself
            plain = partial(_layer_by_layer, network, ctx.factors)
            return None, None, *differentiable(plain, [x, context, *flat], ctx.needs_input_grad[2:], grad_outputs)
        grad = network.order.reorder(grad_outputs[0]).flatten(1)
        grads: list[Tensor] = []
        stream = None  # the gradient that later joined layers send past those between
        for i, layer in reversed(list(enumerate(network.layers))):
            h, back = _recall(network, kept[i]) if i else (kept[0], None)
            factor = ctx.factors[i - 1] if i and ctx.factors else None
            grads = [*_tensors_back(layer, tensors[i], h if factor is None else h * factor, grad), *grads]
            if back is not None:
                grad = _product_back(layer, tensors[i], grad)
                grad = back(grad if factor is None else grad * factor)
                if network.joined(i):
                    grad = stream = grad if stream is None else grad + stream
        if not any(ctx.needs_input_grad[2:4]):
            return None, None, None, None, *grads
        grad = _product_back(network.layers[0], tensors[0], grad)
        c = network.context_features
        return None, None, network.order.restore(grad[:, c:]), None if context is None else grad[:, :c], *grads


def _by_layer(network: MaskedNetwork, flat: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """Bias and bands of each layer out of those of all."""
    groups, start = [], 0
    for layer in network.layers:
        groups.append(flat[start : start + 1 + len(layer.weights)])
        start += len(groups[-1])
    return groups
