"""Flows of couplings: NICE and Real NVP, on vectors."""

from __future__ import annotations

from collections.abc import Sequence

from marginflow.base.shapes import Shape
from marginflow.distributions import Flow, StandardNormal
from marginflow.models.blocks import Normed, couplings, require_blocks, vector_features, with_batch_norm
from marginflow.nets.activations import Activation
from marginflow.transforms import Additive, Affine, Scaling


def nice(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 4,
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """NICE: `blocks` additive couplings and a scaling layer over N(0, I).

    z_a = x_a,  z_b = x_b - m(x_a) in every block;  at the end z = exp(s) x

    features: D, at least 2. hidden: widths of the hidden layers of each block. blocks: number of couplings; features
        0, 2, 4 ... stay in the first, 1, 3, 5 ... in the next, and so on.
    context_features, activation, residual, dropout: of the networks, see `nets.MLP`.

    Dinh, Krueger, Bengio, NICE: Non-linear Independent Components Estimation, 2015 (arXiv 1410.8516).

    >>> nice(4, hidden=[32]).sample(3).shape
    torch.Size([3, 4])
    """
    require_blocks(blocks)
    size = vector_features(features, "nice")
    layers = couplings(
        size, "nice", [Additive()] * blocks, hidden,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow([*layers, Scaling(size)], StandardNormal(size))


def realnvp(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    batch_norm: Normed = False,
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """Real NVP on vectors: `blocks` affine couplings over N(0, I).

    z_a = x_a,  z_b = (x_b - m(x_a)) exp(-s(x_a)) in every block

    features: D, at least 2. batch_norm: as in `maf`. hidden, blocks and the rest: as in `nice`.

    Dinh, Sohl-Dickstein, Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803); on vectors as in
    Papamakarios, Pavlakou, Murray, 2017 (arXiv 1705.07057).

    >>> realnvp(4, hidden=[32]).sample(3).shape
    torch.Size([3, 4])
    """
    require_blocks(blocks)
    size = vector_features(features, "realnvp")
    layers = couplings(
        size, "realnvp", [Affine()] * blocks, hidden,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow(with_batch_norm(layers, size, batch_norm), StandardNormal(size))
