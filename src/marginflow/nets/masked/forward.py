"""A whole masked network and its gradient: banded products, and nothing kept that is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from marginflow.base.surroundings import is_compiled
from marginflow.nets.activations import ACTIVATIONS, FromOutput
from marginflow.nets.autograd import Written, is_cast_or_mapped
from marginflow.nets.masked.linear import Layers, MaskedLinear
from marginflow.nets.masked.plan import MaskedPlan, Residual

T = TypeVar("T")


class Pass(Written):
    """One pass of a masked network: x (N, I), context (N, C) or None, and the tensors of its layers -> (N, I, P).

    The dimensions of x and of the output stand in the network's order. Of a ragged plan the output is (N, outputs),
    step by step.

    Args:
        plan: of the network.
        layers: from the inputs to the outputs.
        factors: what the units of each hidden layer are multiplied by, see `dropout_factors`.
        number: of the network, where a compiler is to see one operator; see `operator`.
    """

    def __init__(
        self, plan: MaskedPlan, layers: Layers, factors: Sequence[Tensor] = (), number: int | None = None
    ) -> None:
        self.plan, self.layers, self.factors, self.number = plan, layers, factors, number

    @property
    def must_be_plain(self) -> bool:
        return self.plan.activation_name is None  # it may have parameters, or draw noise

    def plain(self, x: Tensor, context: Tensor | None, *flat: Tensor) -> Tensor:
        if self.number is not None and self._from_output is not None and is_compiled() and not is_cast_or_mapped():
            return torch.ops.marginflow.masked_network(self.number, x, context, list(flat), list(self.factors))[0]
        return self._through(x, context, flat, None, quick=False)

    def quick(self, kept: list[Tensor] | None, x: Tensor, context: Tensor | None, *flat: Tensor) -> Tensor:
        return self._through(x, context, flat, kept, quick=True)

    def _through(
        self, x: Tensor, context: Tensor | None, flat: Sequence[Tensor], kept: list[Tensor] | None, *, quick: bool
    ) -> Tensor:
        """The output; `quick` without a graph, and partly in place."""
        plan, layers, tensors = self.plan, self.layers, by_layer(self.layers, flat)
        multiply = MaskedLinear.product if quick else MaskedLinear.forward
        named = ACTIVATIONS[plan.activation_name] if plan.activation_name else None
        in_place = named.in_place if named and quick else None
        h = torch.cat([context, x], 1) if context is not None and plan.context_features else x
        residual = Residual(plan)
        if kept is not None:
            kept.append(h)
        for i, (layer, own) in enumerate(zip(layers[:-1], tensors, strict=False)):
            h = residual.enter(i + 1, multiply(layer, h, own), overwritten=in_place is not None or named is None)
            if kept is not None:
                kept.append(h)
            h = in_place(h) if in_place else plan.activation(h)
            h = h * self.factors[i] if self.factors else h
        h = multiply(layers[-1], h, tensors[-1])
        return h if plan.ragged else h.view(*x.shape, cast(int, plan.num_params))

    def gradients(
        self,
        kept: Sequence[Tensor],
        inputs: Sequence[Tensor | None],
        needed: Sequence[bool],
        *grads: Tensor,
        more: Tensor | None = None,
    ) -> list[Tensor | None]:
        """more: another part of the gradient of x, to which the rest is added in place."""
        tensors = by_layer(self.layers, cast("Sequence[Tensor]", inputs[2:]))
        wanted = by_layer(self.layers, needed[2:])
        grad = grads[0] if self.plan.ragged else grads[0].flatten(1)
        by_layers: list[list[Tensor | None]] = []
        residual = Residual(self.plan)  # the gradient that later layers send past those between
        for i in range(len(self.layers) - 1, 0, -1):
            layer, factor = self.layers[i], self.factors[i - 1] if self.factors else None
            h, before = self._recall(kept[i])
            below = h if factor is None else h * factor
            by_layers.append(layer.tensors_back(below, grad, tensors[i], wanted[i]))
            grad = layer.product_back(grad, tensors[i])
            grad = self._through_activation(grad if factor is None else grad * factor, h, before)
            grad = residual.enter(i, grad)
        by_layers.append(self.layers[0].tensors_back(kept[0], grad, tensors[0], wanted[0]))
        found = [each for own in reversed(by_layers) for each in own]
        if not any(needed[:2]):
            return [None, None, *found]
        c = self.plan.context_features
        grad = self.layers[0].product_back(grad, tensors[0], None if c else more)
        if not c:
            return [grad, None, *found]
        return [grad[:, c:] if more is None else more.add_(grad[:, c:]), grad[:, :c], *found]

    @property
    def _from_output(self) -> FromOutput | None:
        """The gradient through the activation, where its output determines it."""
        return ACTIVATIONS[self.plan.activation_name].from_output if self.plan.activation_name else None

    def _recall(self, kept: Tensor) -> tuple[Tensor, Tensor | None]:
        """The output of a hidden layer, and what went into its activation, where that was kept, joined by a graph."""
        if self._from_output is not None:
            return kept, None
        with torch.enable_grad():
            before = kept.detach().requires_grad_()
            return self.plan.activation(before), before

    def _through_activation(self, grad: Tensor, h: Tensor, before: Tensor | None) -> Tensor:
        """The gradient through a hidden layer's activation, from that of its output h."""
        if self._from_output is not None:
            return self._from_output(grad, h)
        return torch.autograd.grad(h, cast(Tensor, before), grad)[0]


def dropout_factors(layers: Layers, x: Tensor, dropout: float) -> list[Tensor]:
    """What each hidden layer's units (N, width) are multiplied by, drawn anew: 0, or what keeps the mean at 1.

    dropout: the probability with which each hidden unit is left out.
    """
    return [_factors(x.new_empty(x.shape[0], layer.out_features), 1 - dropout) for layer in layers[:-1]]


def _factors(out: Tensor, keep: float) -> Tensor:
    """Numbers that are 1 / keep with probability `keep`, else 0.

    On the CPU the probability has 16 bits, which are drawn at once for four numbers: torch draws one number after the
    other there, which takes as long as the products of a layer of some hundred units.
    """
    if out.device.type != "cpu":
        return out.bernoulli_(keep).div_(keep)
    kept = min(max(round(keep * 2**16), 1), 2**16 - 1)
    words = torch.randint(-(2**63), 2**63 - 1, (-(-out.numel() // 4),), device="cpu")
    drawn = words.view(torch.int16)[: out.numel()].view(out.shape)  # uniform from -2^15 on
    return (drawn < kept - 2**15).to(out.dtype).mul_(2**16 / kept)


def by_layer(layers: Layers, flat: Sequence[T]) -> list[Sequence[T]]:
    """What there is of bias and bands of each layer, out of that of all."""
    groups, start = [], 0
    for layer in layers:
        groups.append(flat[start : start + 1 + len(layer.all_bands)])
        start += len(groups[-1])
    return groups
