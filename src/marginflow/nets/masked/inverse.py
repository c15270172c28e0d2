"""The incremental inverse: every hidden unit is computed once, when its degree becomes known.

It equals its definition, as many passes of the network as there are dimensions:

    x = 0
    repeat D times:
        x = univariate.inverse(z, network(x, context))
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor

from marginflow.nets.activations import ACTIVATIONS
from marginflow.nets.autograd import left_to_autograd
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.nets.masked.order import Order
from marginflow.nets.masked.plan import MaskedPlan, Product, Residual

CHUNK = 2**24  # numbers held at once: units x rows of z
COMPILED_TYPES = (torch.float32, torch.float64)


def invert(
    plan: MaskedPlan,
    layers: Sequence[MaskedLinear],
    order: Order,
    univariate: Any,
    z: Tensor,
    context: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The x with univariate(x_i; network(x)_i) = z_i for every i, and log|det dx/dz|.

    z (N, D) -> x (N, D), log_det (N,). Equal to D passes of the network, at the price of
    about one: in blocks of dimensions, matrix products bring in all that was known before the block, and a
    loop over its dimensions resolves the rest. The loop is compiled where the univariate and the activation have
    a compiled form and no gradient is asked for; otherwise it is plain torch, through which gradients pass.
    """
    dtype = layers[-1].bias.dtype
    if z.dtype != dtype:
        raise ValueError(f"z must have the model's precision, {dtype}; got {z.dtype}: convert one of them")
    z = order.reorder(z)
    rows = max(1, CHUNK // (sum(layer[-1] for layer in plan.counts) + plan.num_params))
    chunks = [
        (z[start : start + rows], None if context is None else context[start : start + rows])
        for start in range(0, max(len(z), 1), rows)
    ]
    try:
        run: Any = _by_kernel if _has_compiled_form(plan, layers, univariate, z, context) else _in_torch
        parts = [run(plan, layers, univariate, *chunk) for chunk in chunks]
    except (OSError, EOFError, UnpicklingError) as error:  # what numba keeps on disk is damaged, or there is no room
        warnings.warn(f"sampling without its compiled loop, more slowly: {error!r}", RuntimeWarning, stacklevel=4)
        parts = [_in_torch(plan, layers, univariate, *chunk) for chunk in chunks]
    x, log_det = parts[0] if len(parts) == 1 else [torch.cat(part) for part in zip(*parts, strict=True)]
    return order.restore(x), log_det


def _has_compiled_form(
    plan: MaskedPlan, layers: Sequence[MaskedLinear], univariate: Any, z: Tensor, context: Tensor | None
) -> bool:
    if z.device.type != "cpu" or z.dtype not in COMPILED_TYPES or plan.activation_name is None:
        return False
    if "kernel" not in vars(type(univariate)) or left_to_autograd():  # a subclass may have changed what it computes
        return False
    if not torch.is_grad_enabled():
        return True
    tensors = [z, *([] if context is None else [context]), *(tensor for layer in layers for tensor in layer.tensors)]
    return not any(tensor.requires_grad for tensor in tensors)


class _Workspace:
    """All units of all layers in one matrix, features first."""

    def __init__(self, plan: MaskedPlan, layers: Sequence[MaskedLinear], z: Tensor, context: Tensor | None) -> None:
        self.plan = plan
        self.layers, self.tensors = layers, [layer.columns for layer in layers]
        self.offsets = [0]
        for layer in plan.counts:
            self.offsets.append(self.offsets[-1] + layer[-1])
        self.units = z.new_empty(self.offsets[-1], len(z))
        if context is not None:
            self.units[: len(context.T)] = context.T

    def rows(self, layer: int, top: int, bottom: int) -> Tensor:
        """Units of a layer, 0 the inputs."""
        return self.units[self.offsets[layer] + top : self.offsets[layer] + bottom]

    def multiply(self, product: Product, columns: int, out: Tensor) -> None:
        """The rows of a product, as far as the first `columns` units below go."""
        layer, below = product.layer, self.rows(product.layer, 0, columns)
        self.layers[layer].partial(self.tensors[layer], product.bands, below, out)

    def copy_inside(self, product: Product, out: Tensor) -> None:
        """The weights between units of the block: (rows, inside). What the mask hides is not read."""
        columns = slice(product.known, product.known + product.inside)
        for number, _, own, place in product.bands:
            weight = self.tensors[product.layer][number + 1][own, columns]
            out[place, : weight.shape[1]] = weight

    def activate(self, products: Sequence[Product]) -> None:
        """The hidden units of products, layer after layer, from all units below that they know or hold."""
        residual = Residual(self.plan)
        for product in products:
            out = self.rows(product.layer + 1, product.top, product.bottom)
            self.multiply(product, product.known + product.inside, out)
            residual.enter(product.layer + 1, out, overwritten=True)
            out.copy_(self.plan.activation(out))


@torch.no_grad()
def _by_kernel(
    plan: MaskedPlan, layers: Sequence[MaskedLinear], univariate: Any, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The inverse with the loop compiled."""
    from marginflow.nets.masked.kernel_numba import resolve

    space, counts, p = _Workspace(plan, layers, z, context), plan.counts, plan.num_params
    space.activate(  # units that see the context alone, or nothing
        [
            Product(i, 0, counts[i + 1][0], counts[i][0], 0, layer.bands(0, counts[i + 1][0]))
            for i, layer in enumerate(layers[:-1])
            if counts[i + 1][0]
        ]
    )
    z = z.T.contiguous()
    log_det = torch.zeros(z.shape[1], dtype=torch.float64)
    params = z.new_empty(max(block.stop - block.start for block in plan.blocks) * p, z.shape[1])
    inside = z.new_empty(max(sum(each.num_weights for each in block.products) for block in plan.blocks))
    arrays = [tensor.numpy() for tensor in (space.units, params, z, log_det, inside)]
    activation = ACTIVATIONS[cast(str, plan.activation_name)].code
    function, constant = univariate.kernel
    num_threads = torch.get_num_threads()

    for start, stop, products, ends, looped in plan.blocks:
        used = 0
        for product in products if looped else products[-1:]:
            is_output = product is products[-1]
            out = params if is_output else space.rows(product.layer + 1, product.top, product.bottom)
            space.multiply(product, product.known, out)
            if looped:
                size = product.num_weights
                space.copy_inside(
                    product, inside[used : used + size].view(product.bottom - product.top, product.inside)
                )
                used += size
        units, all_params, all_z, total, all_inside = arrays
        resolve(
            units, all_params[: (stop - start) * p], all_z[start:stop], total, all_inside[:used], ends,
            activation, function, constant, plan.residual, num_threads,
        )  # fmt: skip
        if torch.get_num_threads() != num_threads:  # numba starts its threads by setting the number of OpenMP's
            torch.set_num_threads(num_threads)
        if not looped:
            space.activate(products[:-1])
    x = space.rows(0, plan.context_features, counts[0][-1])
    return x.T.contiguous(), log_det.to(z.dtype)


def _in_torch(
    plan: MaskedPlan, layers: Sequence[MaskedLinear], univariate: Any, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The inverse in plain torch, without writing in place, so that gradients pass through it."""
    counts, p = plan.counts, plan.num_params
    hidden, tensors = range(1, len(counts)), [layer.columns for layer in layers]
    log_det = z.new_zeros(len(z))
    known = [z[:, :0].T if context is None else context.T]  # the units of each layer that are known, (units, N)
    residual = Residual(plan)
    for layer in hidden:
        below = layers[layer - 1]
        rows = below.partial(tensors[layer - 1], below.bands(0, counts[layer][0]), known[-1])
        known.append(plan.activation(residual.enter(layer, rows, overwritten=True)))

    for start, stop, products, *_ in plan.blocks:
        before, inside = [], []  # of each layer, what comes from before the block, and the weights inside it
        for layer, own, seen, product in zip(layers, tensors, known, products, strict=True):
            before.append(layer.partial(own, product.bands, seen))
            inside.append(layer.block(own, product.bands, slice(product.known, product.known + product.inside)))
        fresh = [layer[:0] for layer in known]  # the units of each layer that the block has made known
        for j, dim in enumerate(range(start, stop)):
            params = _add_inside(before[-1], inside[-1], j * p, (j + 1) * p, fresh[-1])
            x, log_derivative = univariate.inverse(z[:, dim], params.T)
            log_det = log_det + log_derivative
            fresh[0] = torch.cat([fresh[0], x[None]])
            residual = Residual(plan)
            for layer in hidden:
                first = counts[layer][start]
                top, bottom = counts[layer][dim] - first, counts[layer][dim + 1] - first
                if top < bottom:
                    rows = _add_inside(before[layer - 1], inside[layer - 1], top, bottom, fresh[layer - 1])
                    rows = residual.enter(layer, rows, overwritten=True)
                    fresh[layer] = torch.cat([fresh[layer], plan.activation(rows)])
        known = [torch.cat(each) for each in zip(known, fresh, strict=True)]
    return known[0][plan.context_features :].T, log_det


def _add_inside(before: Tensor, inside: Tensor, top: int, bottom: int, fresh: Tensor) -> Tensor:
    """Rows of what comes from before the block, with what the first units inside it add."""
    return torch.addmm(before[top:bottom], inside[top:bottom, : len(fresh)], fresh)
