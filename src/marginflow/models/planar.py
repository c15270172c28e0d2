"""Flows of single contractions and expansions: planar and radial."""

from __future__ import annotations

from marginflow.base.shapes import Shape
from marginflow.distributions import Flow, StandardNormal
from marginflow.models.blocks import require_blocks, vector_features
from marginflow.transforms import Planar, Radial


def planar(features: Shape, *, blocks: int = 8, activation: str = "tanh", context_features: int = 0) -> Flow:
    """A planar flow: `blocks` planar layers over N(0, I).

    z = P_blocks(... P_1(x)),  P_k(x) = x + u_hat_k h(w_k.x + b_k)

    features: D. blocks: number of layers. activation: h. context_features: see `Planar`.

    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    >>> planar(2).sample(3).shape
    torch.Size([3, 2])
    """
    require_blocks(blocks)
    size = vector_features(features, "planar")
    layers = [Planar(size, activation, context_features=context_features) for _ in range(blocks)]
    return Flow(layers, StandardNormal(size))


def radial(features: Shape, *, blocks: int = 8, context_features: int = 0) -> Flow:
    """A radial flow: `blocks` radial layers over N(0, I).

    z = R_blocks(... R_1(x)),  R_k(x) = x + beta_k (x - c_k) / (alpha_k + |x - c_k|)

    features: D. blocks: number of layers. context_features: see `Radial`.

    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    >>> radial(2).sample(3).shape
    torch.Size([3, 2])
    """
    require_blocks(blocks)
    size = vector_features(features, "radial")
    return Flow([Radial(size, context_features=context_features) for _ in range(blocks)], StandardNormal(size))
