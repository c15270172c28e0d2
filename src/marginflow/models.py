"""Named flows, each a few lines: a function of the features that returns a `Flow` over a standard normal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from marginflow.distributions import StandardNormal
from marginflow.flow import Flow
from marginflow.shapes import Shape, as_shape
from marginflow.transforms.autoregressive import MaskedAutoregressive
from marginflow.transforms.base import Transform
from marginflow.transforms.normalise import BatchNorm
from marginflow.transforms.planar import Planar


def _vector_features(features: Shape, model: str) -> int:
    """The number of features of a model over vectors; image shapes are refused."""
    shape = as_shape(features)
    if len(shape) != 1:
        raise ValueError(
            f"{model} works on vectors; got the event shape {tuple(shape)}: give {shape.numel()} features and put "
            f"Flatten({tuple(shape)}) in front"
        )
    return shape[0]


def _check_blocks(blocks: int) -> None:
    if blocks < 1:
        raise ValueError(f"blocks must be at least 1; got {blocks}")


def planar(features: Shape, *, blocks: int = 8, activation: str = "tanh") -> Flow:
    """A planar flow: `blocks` planar layers over N(0, I).

    z = P_blocks(... P_1(x)),  P_k(x) = x + u_hat_k h(w_k.x + b_k)

    features: D. blocks: number of layers. activation: h.

    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    >>> planar(2).sample(3).shape
    torch.Size([3, 2])
    """
    _check_blocks(blocks)
    size = _vector_features(features, "planar")
    return Flow([Planar(size, activation) for _ in range(blocks)], StandardNormal(size))


def _order_of_block(order: str | Sequence[int], block: int) -> str | Sequence[int]:
    """What the order of a stack means for one of its blocks."""
    if order == "alternating":
        return "sequential" if block % 2 == 0 else "reversed"
    return order if isinstance(order, str) or block % 2 == 0 else list(order)[::-1]


def maf(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    batch_norm: bool | Literal["before", "after"] = False,
    order: Literal["alternating", "sequential", "reversed", "random"] | Sequence[int] = "alternating",
    degrees: str | Sequence[Sequence[int]] = "even",
    context_features: int = 0,
    activation: str | Callable[[Tensor], Tensor] = "relu",
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """A masked autoregressive flow: `blocks` masked autoregressive layers over N(0, I).

    z_i = (x_i - m_i(x_<i)) exp(-a_i(x_<i)) in every block

    features: D. hidden: widths of the hidden layers of each block. blocks: number of blocks.
    batch_norm: True or "after" puts a `BatchNorm` after each block, as in the MAF paper, "before" in
        front of each, as in the thesis. Such a model must be fitted or calibrated before it is evaluated.
    order: "alternating" (natural in the first block, reversed in the next, ...); "sequential", "reversed" or
        "random" in each; or the list of dimensions for the first block, reversed in the next, ...
    degrees, context_features, activation, dropout, seed: see `MaskedAutoregressive`; block k draws from seed + k.

    Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density Estimation, 2017
    (arXiv 1705.07057).

    >>> maf(4, hidden=[32], blocks=2).sample(3).shape
    torch.Size([3, 4])
    """
    _check_blocks(blocks)
    size = _vector_features(features, "maf")
    if isinstance(order, str) and order not in ("alternating", "sequential", "reversed", "random"):
        raise ValueError(
            f'order must be "alternating", "sequential", "reversed", "random" or a list of dimensions; got {order!r}'
        )
    if batch_norm not in (False, True, "before", "after"):
        raise ValueError(f'batch_norm must be True, False, "before" or "after"; got {batch_norm!r}')
    transforms: list[Transform] = []
    for block in range(blocks):
        made = MaskedAutoregressive(
            size,
            hidden,
            order=_order_of_block(order, block),
            degrees=degrees,
            context_features=context_features,
            activation=activation,
            dropout=dropout,
            seed=seed + block,
        )
        if batch_norm:
            transforms += [BatchNorm(size), made] if batch_norm == "before" else [made, BatchNorm(size)]
        else:
            transforms.append(made)
    return Flow(transforms, StandardNormal(size))
