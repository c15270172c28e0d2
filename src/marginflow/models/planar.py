"""Flows of single contractions and expansions: planar and radial."""

from __future__ import annotations

from marginflow.base.shapes import Shape
from marginflow.distributions import Flow, StandardNormal
from marginflow.models.blocks import as_blocks, vector_features
from marginflow.transforms import Planar, Radial


def planar(features: Shape, *, blocks: int = 8, activation: str = "tanh", context_features: int = 0) -> Flow:
    """A planar flow: `blocks` planar layers over N(0, I).

    z = P_blocks(... P_1(x)),  P_k(x) = x + u_hat_k h(w_k.x + b_k)

    Args:
        features: number of features D.
        blocks: number of layers, at least 1.
        activation: h, one of "tanh", "sigmoid", "arctan", "softsign".
        context_features: width of a context, 0 for none; a linear map of it is added to the parameters of each layer.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 1 block, or an unknown activation.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    Examples:
        >>> planar(2).sample(3).shape
        torch.Size([3, 2])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "planar")
    layers = [Planar(size, activation, context_features=context_features) for _ in range(blocks)]
    return Flow(layers, StandardNormal(size))


def radial(features: Shape, *, blocks: int = 8, context_features: int = 0) -> Flow:
    """A radial flow: `blocks` radial layers over N(0, I).

    z = R_blocks(... R_1(x)),  R_k(x) = x + beta_k (x - c_k) / (alpha_k + |x - c_k|)

    Args:
        features: number of features D.
        blocks: number of layers, at least 1.
        context_features: width of a context, 0 for none; a linear map of it is added to the parameters of each layer.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, or fewer than 1 block.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    Examples:
        >>> radial(2).sample(3).shape
        torch.Size([3, 2])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "radial")
    return Flow([Radial(size, context_features=context_features) for _ in range(blocks)], StandardNormal(size))
