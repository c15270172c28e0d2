"""Flows of couplings: NICE and Real NVP, on vectors."""

from __future__ import annotations

from collections.abc import Sequence

from marginflow.base.shapes import Shape
from marginflow.distributions import Flow, StandardNormal
from marginflow.models.blocks import Normed, as_blocks, couplings, vector_features, with_batch_norm
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

    Features 0, 2, 4 ... stay in the first coupling, 1, 3, 5 ... in the next, and so on.

    Args:
        features: number of features D, at least 2.
        hidden: widths of the hidden layers of each block.
        blocks: number of couplings, at least 1.
        context_features: width of a context that every network takes beside x_a, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `nets.MLP`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 2 features, or fewer than 1 block.

    References:
        Dinh, Krueger and Bengio, NICE: Non-linear Independent Components Estimation, 2015 (arXiv 1410.8516).

    Examples:
        >>> nice(4, hidden=[32]).sample(3).shape
        torch.Size([3, 4])
    """
    blocks = as_blocks(blocks)
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

    Features 0, 2, 4 ... stay in the first coupling, 1, 3, 5 ... in the next, and so on.

    Args:
        features: number of features D, at least 2.
        hidden: widths of the hidden layers of each block.
        blocks: number of couplings, at least 1.
        batch_norm: True or "after" puts a `BatchNorm` after each block, "before" in front of each; False uses none.
            Such a model must be fitted or calibrated before it is evaluated.
        context_features: width of a context that every network takes beside x_a, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `nets.MLP`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 2 features, fewer than 1 block, or another batch_norm.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057):
            on vectors.

    Examples:
        >>> realnvp(4, hidden=[32]).sample(3).shape
        torch.Size([3, 4])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "realnvp")
    layers = couplings(
        size, "realnvp", [Affine()] * blocks, hidden,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow(with_batch_norm(layers, size, batch_norm), StandardNormal(size))
