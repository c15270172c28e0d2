"""The plan of a masked network: what follows from degrees alone, and the blocks in which its inverse is resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from marginflow.nets.masked.linear import Band, MaskedLinear

BLOCK = 128  # dimensions, and units of a layer, that are resolved between two rounds of matrix products


class Product(NamedTuple):
    """Rows top ... bottom of a layer in a block of the inverse.

    known: columns that the units before the block make up. inside: columns after those, of units in the block.
    bands: where the rows stand.
    """

    layer: int
    top: int
    bottom: int
    known: int
    inside: int
    bands: list[Band]

    @property
    def num_weights(self) -> int:
        """Weights between units of the block."""
        return (self.bottom - self.top) * self.inside


class Block(NamedTuple):
    """Dimensions start ... stop, resolved together.

    products: of the hidden layers and, last, of the output. ends: see `kernel_numba.resolve`.
    looped: whether the loop computes the hidden units. In a block of one dimension it need not: none of them depends
        on another dimension of the block.
    """

    start: int
    stop: int
    products: list[Product]
    ends: np.ndarray
    looped: bool


@dataclass(frozen=True)
class MaskedPlan:
    """A masked network but for its weights and the order of its dimensions: plain data.

    features, num_params, context_features, residual: see `MaskedNetwork`. activation: the function;
    activation_name: None where it is one of the user's own, which may have parameters, draw noise or work in place.

    counts[l][d]: how many units of layer l, from the inputs (context and x) to the last hidden layer, have a
        degree of at most d, d = 0 ... D; so many are known once the first d dimensions are.
    blocks: of the inverse, in the order in which they are resolved.
    """

    features: int
    num_params: int
    context_features: int
    counts: list[list[int]]
    blocks: list[Block]
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
            h = h if self.total is None else h.add_(self.total)
            self.total = h.clone() if overwritten else h
        return h


def blocks_of(counts: Sequence[Sequence[int]], layers: Sequence[MaskedLinear], num_params: int) -> list[Block]:
    """The blocks in which the inverse of a network resolves its dimensions."""
    offsets = np.cumsum([0, *(layer[-1] for layer in counts)])
    blocks = []
    for start, stop in cut_into_blocks(counts):
        products = []
        for i, layer in enumerate(layers):
            is_output = i == len(layers) - 1
            top, bottom = (d * num_params if is_output else counts[i + 1][d] for d in (start, stop))
            known, upto = counts[i][start], counts[i][stop]
            products.append(Product(i, top, bottom, known, upto - known, layer.bands(top, bottom)))
        ends = np.array([np.array(layer[start : stop + 1]) + o for layer, o in zip(counts, offsets, strict=False)])
        looped = stop > start + 1
        blocks.append(Block(start, stop, products, ends if looped else ends[:1], looped))
    return blocks


def cut_into_blocks(counts: Sequence[Sequence[int]], most: int = BLOCK) -> list[tuple[int, int]]:
    """Dimensions 0 ... D in blocks (start, stop), none with more than `most` dimensions or units of one layer.

    A block of one dimension may have more.
    """
    num_dims = len(counts[0]) - 1
    blocks, start = [], 0
    for stop in range(1, num_dims + 1):
        too_large = any(layer[stop] - layer[start] > most for layer in counts)
        if too_large and stop - 1 > start:
            blocks.append((start, stop - 1))
            start = stop - 1
    return [*blocks, (start, num_dims)]
