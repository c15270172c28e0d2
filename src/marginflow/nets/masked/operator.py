"""A pass of a large masked network as one operator, which a compiler leaves alone: its bands are hundreds of slices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from marginflow.nets.masked.forward import Pass

if TYPE_CHECKING:
    from marginflow.nets.masked.network import MaskedNetwork

LARGE = 2**18  # weights, from which on a network is one operator; the operations of a smaller one are joined
_numbers = itertools.count()
_networks: WeakValueDictionary[int, MaskedNetwork] = WeakValueDictionary()


def registered(network: MaskedNetwork) -> int:
    """A number of its own, by which the operator finds a network: graphs hold numbers and tensors only."""
    number = next(_numbers)
    _networks[number] = network
    return number


def _pass(number: int, factors: Sequence[Tensor]) -> Pass:
    network = _networks[number]
    return Pass(network.plan, network.layers, factors)


@torch.library.custom_op("marginflow::masked_network", mutates_args=())
def masked_network(
    number: int, x: Tensor, context: Tensor | None, tensors: list[Tensor], factors: list[Tensor]
) -> list[Tensor]:
    """The output of a pass, and what each hidden layer keeps."""
    kept: list[Tensor] = []
    output = _pass(number, factors).quick(kept, x, context, *tensors)
    return [output, *kept[1:]]  # the first is x itself, or made of it anew


@torch.library.register_fake("marginflow::masked_network")
def _(number: int, x: Tensor, context: Tensor | None, tensors: list[Tensor], factors: list[Tensor]) -> list[Tensor]:
    plan, layers = _networks[number].plan, _networks[number].layers
    hidden = [x.new_empty(x.shape[0], layer.out_features) for layer in layers]
    output = hidden.pop()
    return [output if plan.ragged else output.view(*x.shape, cast(int, plan.num_params)), *hidden]


@torch.library.custom_op("marginflow::masked_network_gradients", mutates_args=())
def masked_network_gradients(
    number: int,
    grad: Tensor,
    x: Tensor,
    context: Tensor | None,
    tensors: list[Tensor],
    factors: list[Tensor],
    kept: list[Tensor],
    needed: list[bool],
) -> list[Tensor]:
    """The gradients of those of x, context and tensors that need one."""
    plan = _networks[number].plan
    first = torch.cat([context, x], 1) if context is not None and plan.context_features else x
    found = _pass(number, factors).gradients([first, *kept], [x, context, *tensors], needed, grad)
    if needed[1]:  # it and the gradient of x are parts of one tensor, and outputs must not share memory
        found[1] = cast(Tensor, found[1]).clone()
    return [each.contiguous() for each, wanted in zip(found, needed, strict=True) if wanted and each is not None]


@torch.library.register_fake("marginflow::masked_network_gradients")
def _(
    number: int,
    grad: Tensor,
    x: Tensor,
    context: Tensor | None,
    tensors: list[Tensor],
    factors: list[Tensor],
    kept: list[Tensor],
    needed: list[bool],
) -> list[Tensor]:
    given = zip([x, context, *tensors], needed, strict=True)
    return [each.new_empty(each.shape) for each, wanted in given if wanted and each is not None]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.number, x, context, tensors, factors = inputs
    ctx.counts = len(tensors), len(factors)
    ctx.save_for_backward(x, context, *tensors, *factors, *output[1:])


def _back(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, context, *rest = ctx.saved_tensors
    num_tensors, num_factors = ctx.counts
    tensors, factors, kept = rest[:num_tensors], rest[num_tensors:][:num_factors], rest[num_tensors + num_factors :]
    _, of_x, of_context, of_tensors, _ = ctx.needs_input_grad
    of_context = of_context and context is not None and _networks[ctx.number].plan.context_features > 0
    needed = [of_x, of_context, *of_tensors]
    found = iter(
        masked_network_gradients(ctx.number, grads[0].contiguous(), x, context, tensors, factors, kept, needed)
    )
    by_place = [next(found) if wanted else None for wanted in needed]
    return None, by_place[0], by_place[1], by_place[2:], [None] * num_factors


torch.library.register_autograd("marginflow::masked_network", _back, setup_context=_keep)
