"""What models are stacked from: couplings and masked autoregressive layers, batch norm between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np

from marginflow.base.arguments import as_whole
from marginflow.base.settings import as_choice, as_sizes
from marginflow.base.shapes import Shape, as_shape
from marginflow.base.transform import Transform, Univariate
from marginflow.nets import MLP
from marginflow.nets.masked.degrees import ORDERS
from marginflow.transforms import BatchNorm, Coupling, MaskedAutoregressive

BlockOrder = Literal["alternating", "sequential", "reversed", "random"] | Sequence[int]
Degrees = str | Sequence[Sequence[int]]
Normed = bool | Literal["before", "after"]


def vector_features(features: Shape, model: str) -> int:
    """The number of features of a model over vectors; image shapes are refused."""
    shape = as_shape(features)
    if len(shape) != 1:
        raise ValueError(
            f"{model} works on vectors; got the event shape {tuple(shape)}: give {shape.numel()} features and put "
            f"Flatten({tuple(shape)}) in front"
        )
    return shape[0]


def as_blocks(blocks: SupportsIndex) -> int:
    """A number of blocks, at least 1; ValueError otherwise."""
    return as_whole(blocks, "blocks", least=1)


def with_batch_norm(blocks: Sequence[Transform], size: int, batch_norm: Normed) -> list[Transform]:
    """Blocks with a `BatchNorm` after each (True or "after"), before each, or none."""
    if not isinstance(batch_norm, bool | np.bool_):
        as_choice(batch_norm, ("before", "after"), "batch_norm", ", True or False")
    if not batch_norm:
        return list(blocks)
    pairs = [[BatchNorm(size), each] if batch_norm == "before" else [each, BatchNorm(size)] for each in blocks]
    return [each for pair in pairs for each in pair]


def order_of_block(order: BlockOrder, block: int) -> str | Sequence[int]:
    """What the order of a stack means for one of its blocks."""
    if isinstance(order, str) and order == "alternating":
        return "sequential" if block % 2 == 0 else "reversed"
    return order if isinstance(order, str) or block % 2 == 0 else order[::-1]


def autoregressive(
    size: int, univariates: Sequence[Univariate], hidden: Sequence[int], order: BlockOrder, seed: int, **options: Any
) -> list[MaskedAutoregressive]:
    """A masked autoregressive layer for each scalar function; layer k takes seed + k."""
    if isinstance(order, str):
        as_choice(order, ("alternating", *ORDERS), "order", ", or a list of dimensions")
    else:
        order = as_sizes(order, "order", least=None)
    seed = as_whole(seed, "seed", most=None)
    return [
        MaskedAutoregressive(size, hidden, univariate, order=order_of_block(order, block), seed=seed + block, **options)
        for block, univariate in enumerate(univariates)
    ]


def couplings(
    size: int, model: str, univariates: Sequence[Univariate], hidden: Sequence[int], **options: Any
) -> list[Coupling]:
    """A coupling for each scalar function, in which features 0, 2, 4 ... and 1, 3, 5 ... stay by turns."""
    if size < 2:
        raise ValueError(
            f"a coupling needs features that stay and features that change, so {model} needs at least 2; got {size}: "
            'take maf, add noise dimensions, or structure = "autoregressive" of nsf'
        )
    layers = []
    for block, univariate in enumerate(univariates):
        mask = [i % 2 == block % 2 for i in range(size)]
        num_params = univariate.num_params * (size - sum(mask))
        layers.append(Coupling(mask, MLP(sum(mask), num_params, hidden, **options), univariate))
    return layers
