"""The plan of a masked network: what follows from degrees alone, and the groups of steps that its inverse resolves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from marginflow.nets.autograd import left_to_autograd

if TYPE_CHECKING:
    from marginflow.nets.masked.linear import Band, MaskedLinear

GROUP = 128  # inputs, or units of a layer, that are resolved between two rounds of matrix products


class Product(NamedTuple):
    """Rows of a layer that a group of the inverse computes.

    bands: where they stand. inside: the columns of units of the group. size: how many weights lie there.
    """

    bands: list[Band]
    inside: slice
    size: int


class Group(NamedTuple):
    """Steps start ... stop, resolved together.

    products: of the hidden layers and, last, of the output.
    ends (layers, steps + 1): where each layer that a kernel resolves ends before each step, and after the last, in a
        matrix of all units (see `MaskedPlan.starts`), under which stand the parameters of the group.
    looped: whether the hidden units are computed step by step. In a group of one step, for speed, they are not: none of
        them depends on another step of the group.
    """

    start: int
    stop: int
    products: list[Product]
    ends: np.ndarray
    looped: bool


@dataclass(frozen=True)
class MaskedPlan:
    """A masked network but for its weights and the order of its inputs: plain data.

    Step t = 0 ... T - 1 knows the context and the inputs of the steps before it. It gives inputs[t] of the inputs of
    the network, and outputs[t] of its outputs are its parameters.

    num_params: P, where every step has P outputs for each of its inputs, as a scalar function needs; None where not.
    ragged: whether not every step has one input and P outputs, which is the quick case.
    counts[l][t]: how many units of layer l, from the inputs (context and x) to the outputs, are known before step t,
        t = 0 ... T; of the outputs, how many belong to the steps before.
    starts: of each layer in a matrix of the units of all, layer under layer, from the inputs to the outputs.
    groups: of the inverse, in the order in which they are resolved.
    rows, weights: what the largest of them takes: of a matrix of all units, and of weights between its units.
    activation_name: None where the activation is one of the user's own, which may have parameters, draw noise or
        work in place.
    """

    inputs: list[int]
    outputs: list[int]
    num_params: int | None
    ragged: bool
    context_features: int
    counts: list[list[int]]
    starts: list[int]
    groups: list[Group]
    rows: int
    weights: int
    activation: Callable[[Tensor], Tensor]
    activation_name: str | None
    residual: bool


class Residual:
    """The residual connections of one pass: what the first, third, fifth ... hidden layer has added up to."""

    def __init__(self, plan: MaskedPlan) -> None:
        self.plan = plan
        self.total: Tensor | None = None

    def enter(self, layer: int, h: Tensor, *, overwritten: bool = False) -> Tensor:
        """What hidden layer `layer`, counted from 1, is before its activation, with what came before, added in place.

        overwritten: whether the activation writes over what it is given.
        """
        if self.plan.residual and layer % 2 == 1:
            if self.total is not None:
                h = h + self.total if left_to_autograd() else h.add_(self.total)
            self.total = h.clone() if overwritten else h
        return h


def plan_of(
    inputs: list[int],
    outputs: list[int],
    context_features: int,
    counts: list[list[int]],
    layers: Sequence[MaskedLinear],
    activation: Callable[[Tensor], Tensor],
    activation_name: str | None,
    residual: bool,
) -> MaskedPlan:
    """The plan of a network with these layers, and what follows from its counts."""
    ratio = sum(outputs) // max(sum(inputs), 1)
    num_params = ratio if outputs == [ratio * width for width in inputs] else None
    starts = list(accumulate((layer[-1] for layer in counts[:-1]), initial=0))
    groups = groups_of(counts, starts, layers)
    return MaskedPlan(
        inputs=inputs,
        outputs=outputs,
        num_params=num_params,
        ragged=num_params is None or set(inputs) != {1},
        context_features=context_features,
        counts=counts,
        starts=starts,
        groups=groups,
        rows=int(max(group.ends[-1, -1] for group in groups)),
        weights=max(sum(product.size for product in group.products) for group in groups),
        activation=activation,
        activation_name=activation_name,
        residual=residual,
    )


def groups_of(counts: Sequence[Sequence[int]], starts: Sequence[int], layers: Sequence[MaskedLinear]) -> list[Group]:
    """The groups in which the inverse of a network resolves its steps."""
    groups = []
    for start, stop in cut_into_groups(counts[:-1], GROUP):
        products = []
        for layer, below, above in zip(layers, counts[:-1], counts[1:], strict=True):
            size = (above[stop] - above[start]) * (below[stop] - below[start])
            products.append(Product(layer.bands(above[start], above[stop]), slice(below[start], below[stop]), size))
        ends = np.array([layer[start : stop + 1] for layer in counts]) + np.array(starts)[:, None]
        ends[-1] -= counts[-1][start]
        looped = stop > start + 1
        groups.append(Group(start, stop, products, ends if looped else ends[:: len(counts) - 1], looped))
    return groups


def cut_into_groups(counts: Sequence[Sequence[int]], most: int) -> list[tuple[int, int]]:
    """Steps 0 ... T in groups (start, stop), none with more than `most` inputs or units of one layer.

    A group of one step may have more.
    """
    num_steps = len(counts[0]) - 1
    groups, start = [], 0
    for stop in range(1, num_steps + 1):
        too_large = any(layer[stop] - layer[start] > most for layer in counts)
        if too_large and stop - 1 > start:
            groups.append((start, stop - 1))
            start = stop - 1
    return [*groups, (start, num_steps)]
