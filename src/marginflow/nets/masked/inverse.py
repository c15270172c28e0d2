"""The incremental inverse: every hidden unit is computed once, when its degree becomes known.

It equals its definition, as many passes of the network as there are steps:

    x = 0
    repeat T times:
        x = univariate.inverse(z, network(x, context))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor

from marginflow.base.surroundings import becomes_graph
from marginflow.nets.activations import ACTIVATIONS
from marginflow.nets.autograd import left_to_autograd
from marginflow.nets.masked.linear import Band, Layers
from marginflow.nets.masked.order import FeatureOrder
from marginflow.nets.masked.plan import Group, MaskedPlan, Residual

CHUNK = 2**24  # units and outputs x rows that go through at once
Kernel = Callable[..., None]  # see `kernel_numba.resolve`
Step = Callable[[int, Tensor], tuple[Tensor, Tensor]]  # its number, params (N, outputs) -> x (N, inputs), log (N,)
Solve = Callable[["_Units", Group], None]  # makes the inputs and the looped units of a group known, and adds its log


def invert(
    plan: MaskedPlan, layers: Layers, order: FeatureOrder, univariate: Any, z: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The x with univariate(x_i; network(x)_i) = z_i for every i, and log|det dx/dz|.

    z (N, I) -> x (N, I), log_det (N,). Equal to T passes of the network, at the price of about one: in groups of
    steps, matrix products bring in all that was known before the group, and a loop over its steps resolves the rest.
    The loop is compiled where `kernel_for` has a kernel and no gradient is asked for; otherwise it is plain torch,
    through which gradients pass.
    """
    if plan.num_params != univariate.num_params:
        raise ValueError("a scalar function needs as many parameters for every input: draw the steps of this network")
    if z.dtype != layers[-1].bias.dtype:
        raise ValueError(
            f"z must have the model's precision, {layers[-1].bias.dtype}; got {z.dtype}: convert one of them"
        )
    z, kernel = order.reorder(z), None
    try:
        if not plan.ragged and not _needs_graph(layers, z, context):
            kernel = kernel_for(z.device, z.dtype, univariate, plan.activation_name)
        if kernel is not None:
            solve = partial(_solve_compiled, kernel)
            x, log_det = _in_chunks(plan, layers, lambda _: solve, z.shape[0], context, z)
            return order.restore(x), log_det
    except (OSError, EOFError, UnpicklingError) as error:  # what numba keeps on disk is damaged, or there is no room
        warnings.warn(f"sampling without its compiled loop, more slowly: {error!r}", RuntimeWarning, stacklevel=4)
    step = partial(_invert, plan, univariate)
    x, log_det = _in_chunks(plan, layers, lambda rows: partial(_solve, partial(step, z[rows])), z.shape[0], context)
    return order.restore(x), log_det


def _invert(plan: MaskedPlan, univariate: Any, z: Tensor, step: int, params: Tensor) -> tuple[Tensor, Tensor]:
    """A step of the kind `invert`: x (N, inputs) of a scalar function at z (N, I), and log|det dx/dz| (N,)."""
    first, end = (plan.counts[0][t] - plan.context_features for t in (step, step + 1))
    x, log_derivative = univariate.inverse(
        z[:, first:end], params.reshape(z.shape[0], end - first, cast(int, plan.num_params))
    )
    return x, log_derivative.sum(1)


def draw(
    plan: MaskedPlan, layers: Layers, order: FeatureOrder, factor: Step, num_rows: int, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rows drawn step after step, each from a factor given those before: x (N, I), and log p(x | context) (N,).

    factor(t, params): a step of the kind `draw`: a draw given its parameters (N, outputs[t]), as inputs of the network
        (N, inputs[t]), and its log probability (N,). Many rows are drawn in chunks, each from first step to last.
    """
    step = partial(_draw, plan, factor)
    x, log_prob = _in_chunks(plan, layers, lambda rows: partial(_solve, step), num_rows, context)
    return order.restore(x), log_prob


def _draw(plan: MaskedPlan, factor: Step, step: int, params: Tensor) -> tuple[Tensor, Tensor]:
    """A step of the kind `draw`: what a factor draws, of the shapes that it must have."""
    x, log_prob = factor(step, params)
    expected = (params.shape[0], plan.inputs[step]), (params.shape[0],)
    if (tuple(x.shape), tuple(log_prob.shape)) != expected:
        raise ValueError(
            f"the factor of step {step} must return a draw of shape {expected[0]} and its log probability, "
            f"{expected[1]}; got {tuple(x.shape)} and {tuple(log_prob.shape)}"
        )
    return x, log_prob


def kernel_for(device: torch.device, dtype: torch.dtype, univariate: Any, activation: str | None) -> Kernel | None:
    """The compiled loop inside a group for a univariate and an activation; None where plain torch takes its place."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.float64) or activation is None:
        return None
    if "kernel" not in vars(type(univariate)):  # a subclass may have changed what it computes
        return None
    from marginflow.nets.masked.kernel_numba import UNIVARIATES, resolve

    name, constant = univariate.kernel
    return partial(resolve, ACTIVATIONS[activation].code, UNIVARIATES[name], constant)


def _needs_graph(layers: Layers, z: Tensor, context: Tensor | None) -> bool:
    """Whether torch must see every operation."""
    given = (z, context, *(tensor for layer in layers for tensor in layer.tensors)) if torch.is_grad_enabled() else ()
    return left_to_autograd() or any(tensor is not None and tensor.requires_grad for tensor in given)


def _in_chunks(
    plan: MaskedPlan, layers: Layers, solver: Callable[[slice], Solve], num_rows: int, context: Tensor | None,
    z: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x (N, I) and its log (N,) for all rows, in chunks that fit into memory. z: see `_Units`."""
    parts = []
    for rows in _chunks(num_rows, max(1, CHUNK // sum(layer[-1] for layer in plan.counts))):
        given = layers[-1].bias.new_empty(rows.stop - rows.start, 0) if context is None else context[rows]
        units, solve = _Units(plan, layers, given.T, None if z is None else z[rows].T), solver(rows)
        for group in plan.groups:
            solve(units, group)
            if not group.looped:
                units.activate([product.bands for product in group.products[:-1]])
        x = units.known[0][plan.context_features :].T.clone(memory_format=torch.contiguous_format)
        parts.append((x, units.log.to(x.dtype)))
    x, log = parts[0] if len(parts) == 1 else [torch.cat(part) for part in zip(*parts, strict=True)]
    return x, log


def _chunks(num_rows: int, size: int) -> list[slice]:
    """Rows in chunks of a size; in one where a graph is made, which holds for any number of rows."""
    if becomes_graph():
        return [slice(0, num_rows)]
    return [slice(start, min(start + size, num_rows)) for start in range(0, max(num_rows, 1), size)]


class _Units:
    """The units of each layer that are known, (units, N), from the inputs to the outputs, of which none ever is.

    z (I, N): given for a kernel: units are then written into one matrix, layer under layer, the inputs over z. Without
        it nothing is written in place, so that gradients pass.
    """

    def __init__(self, plan: MaskedPlan, layers: Layers, context: Tensor, z: Tensor | None) -> None:
        self.plan, self.layers, self.tensors = plan, layers, [layer.columns for layer in layers]
        self.known, self.matrix = [context, *(context[:0] for _ in layers)], None
        dtype = context.dtype if z is None else torch.float64
        self.log = context.new_zeros(context.shape[1], dtype=dtype)  # of the steps so far
        if z is not None:
            self.matrix = z.new_empty(plan.rows, z.shape[1])
            torch.cat([context, z], out=self.matrix[: plan.starts[1]])
            self.weights = z.new_empty(plan.weights)
            self.arrays = [tensor.numpy() for tensor in (self.matrix, self.log, self.weights)]
        self.activate([layer.bands(0, counts[0]) for layer, counts in zip(layers[:-1], plan.counts[1:], strict=False)])

    def product(self, layer: int, bands: Sequence[Band]) -> Tensor:
        """Rows of what a layer gives, as far as its known units go: in the matrix where the next units stand."""
        out = None
        if self.matrix is not None and bands:
            start = self.plan.starts[layer + 1] + self.known[layer + 1].shape[0]
            out = self.matrix[start : start + bands[-1].place.stop]
        return self.layers[layer].partial(self.tensors[layer], bands, self.known[layer], out)

    def add(self, layer: int, units: Tensor) -> None:
        """Make units known, the next of a layer; in the matrix they stand already."""
        if self.matrix is None:
            self.known[layer] = torch.cat([self.known[layer], units])
        else:
            start, count = self.plan.starts[layer], self.known[layer].shape[0] + units.shape[0]
            self.known[layer] = self.matrix[start : start + count]

    def activate(self, bands: Sequence[Sequence[Band]]) -> None:
        """Make rows of the hidden layers known, layer after layer, that see no units but known ones."""
        residual, named = Residual(self.plan), ACTIVATIONS.get(self.plan.activation_name or "")
        in_place = named.in_place if named and self.matrix is not None else None
        for i, rows in enumerate(bands):
            if not rows:
                continue
            h = residual.enter(i + 1, self.product(i, rows), overwritten=True)
            after = in_place(h) if in_place else self.plan.activation(h)
            self.add(i + 1, after if self.matrix is None or in_place else h.copy_(after))

    def inside(self, group: Group) -> list[Tensor]:
        """The weights between the units of a group, of each layer: (rows, columns)."""
        tiles, used = [], 0
        for layer, tensors, product in zip(self.layers, self.tensors, group.products, strict=True):
            out = None if self.matrix is None else self.weights[used : used + product.size]
            tiles.append(layer.tile(tensors, product.bands, product.inside, out))
            used += product.size
        return tiles


def _solve(step: Step, units: _Units, group: Group) -> None:
    """A group step by step in plain torch. Nothing is written in place."""
    if not group.looped:
        x, log = step(group.start, units.product(len(group.products) - 1, group.products[-1].bands).T)
        units.add(0, x.T)
        units.log = units.log + log
        return
    before = [units.product(layer, product.bands) for layer, product in enumerate(group.products)]
    inside, fresh = units.inside(group), [rows[:0] for rows in before]  # fresh: made known by the group, by layer

    def rows(layer: int, t: int) -> Tensor:
        counts, below = units.plan.counts[layer], fresh[layer - 1]
        own = slice(counts[t] - counts[group.start], counts[t + 1] - counts[group.start])
        return torch.addmm(before[layer - 1][own], inside[layer - 1][own, : len(below)], below)

    logs = []
    for t in range(group.start, group.stop):
        x, log = step(t, rows(len(before), t).T)
        fresh[0] = torch.cat([fresh[0], x.T])
        logs.append(log)
        residual = Residual(units.plan)
        for layer in range(1, len(before)):
            h = rows(layer, t)
            if len(h):
                h = units.plan.activation(residual.enter(layer, h, overwritten=True))
                fresh[layer] = torch.cat([fresh[layer], h])
    for layer, made in enumerate(fresh):
        units.add(layer, made)
    units.log = units.log + torch.stack(logs).sum(0)


def _solve_compiled(kernel: Kernel, units: _Units, group: Group) -> None:
    """The same by a kernel, in the matrix of the units."""
    for layer in range(0 if group.looped else len(group.products) - 1, len(group.products)):
        units.product(layer, group.products[layer].bands)
    if group.looped:
        units.inside(group)
    kernel(*units.arrays, group.ends, units.plan.residual)
    for layer, end in enumerate(group.ends[:-1, -1].tolist()):
        units.known[layer] = cast(Tensor, units.matrix)[units.plan.starts[layer] : end]
