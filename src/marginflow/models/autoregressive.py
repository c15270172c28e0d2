"""Flows of masked networks: one alone, stacked, run backwards, with a Gaussian or a mixture for each dimension."""

from __future__ import annotations

from collections.abc import Sequence

from marginflow.base.shapes import Shape
from marginflow.distributions import Flow, StandardLogistic, StandardNormal
from marginflow.models.blocks import (
    BlockOrder,
    Degrees,
    Normed,
    as_blocks,
    autoregressive,
    vector_features,
    with_batch_norm,
)
from marginflow.nets.activations import Activation
from marginflow.transforms import Affine, GaussianMixture, Inverse


def made(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    order: BlockOrder = "sequential",
    degrees: Degrees = "even",
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """One masked network as a density, every conditional a Gaussian.

    p(x) = prod_i N(x_i; m_i(x_<i), exp(2 a_i(x_<i)))

    Args:
        features: number of features D.
        hidden: widths of the hidden layers.
        order: "sequential", "reversed", "random", "alternating" (here the same as "sequential"), or the list of
            dimensions first to last.
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        context_features: width of a context that every feature sees, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of a random order and random degrees.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, or an order or degrees that do not fit.

    References:
        Germain, Gregor, Murray and Larochelle, MADE: Masked Autoencoder for Distribution Estimation, 2015
            (arXiv 1502.03509).

    Examples:
        >>> made(4, hidden=[32]).sample(3).shape
        torch.Size([3, 4])
    """
    size = vector_features(features, "made")
    layers = autoregressive(
        size, [Affine()], hidden, order, seed, degrees=degrees,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow(layers, StandardNormal(size))


def made_mog(
    features: Shape,
    *,
    components: int = 10,
    hidden: Sequence[int] = (512, 512),
    order: BlockOrder = "sequential",
    degrees: Degrees = "even",
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """One masked network as a density, every conditional a mixture of Gaussians.

    p(x) = prod_i sum_k w_ik(x_<i) N(x_i; m_ik(x_<i), s_ik(x_<i)^2)

    Args:
        features: number of features D.
        components: number of Gaussians of each mixture.
        hidden: widths of the hidden layers.
        order: "sequential", "reversed", "random", "alternating" (here the same as "sequential"), or the list of
            dimensions first to last.
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        context_features: width of a context that every feature sees, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of a random order and random degrees.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 1 component, or an order or degrees that do not fit.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).

    Examples:
        >>> made_mog(4, hidden=[32]).sample(3).shape
        torch.Size([3, 4])
    """
    size = vector_features(features, "made_mog")
    layers = autoregressive(
        size, [GaussianMixture(components)], hidden, order, seed, degrees=degrees,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow(layers, StandardLogistic(size))


def maf(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    batch_norm: Normed = False,
    order: BlockOrder = "alternating",
    degrees: Degrees = "even",
    bound: float = Affine.bound,
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """A masked autoregressive flow: `blocks` masked autoregressive layers over N(0, I).

    z_i = (x_i - m_i(x_<i)) exp(-a_i(x_<i)) in every block

    With batch norm the model must be fitted or calibrated before it is evaluated.

    Args:
        features: number of features D.
        hidden: widths of the hidden layers of each block.
        blocks: number of blocks, at least 1.
        batch_norm: True or "after" puts a `BatchNorm` after each block, as in the MAF paper; "before" in front of
            each, as in the thesis; False uses none.
        order: "alternating" (natural in the first block, reversed in the next, ...); "sequential", "reversed" or
            "random" in each; or the list of dimensions for the first block, reversed in the next, ...
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        bound: the largest |log-scale| of a block, softly; positive. The published MAF has none; a large number, such as
            1e3, stands for that.
        context_features: width of a context that every feature sees, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of random orders and degrees; block k takes seed + k.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 1 block, or an order, degrees, batch_norm or bound that do not fit.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).

    Examples:
        >>> maf(4, hidden=[32], blocks=2).sample(3).shape
        torch.Size([3, 4])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "maf")
    layers = autoregressive(
        size, [Affine(bound)] * blocks, hidden, order, seed, degrees=degrees,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow(with_batch_norm(layers, size, batch_norm), StandardNormal(size))


def maf_mog(
    features: Shape,
    *,
    components: int = 10,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    batch_norm: Normed = False,
    order: BlockOrder = "alternating",
    degrees: Degrees = "even",
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """A masked autoregressive flow of `blocks` layers whose base is a `made_mog`, one masked network more.

    p(x) = prod_i sum_k w_ik(u_<i) N(u_i; m_ik(u_<i), s_ik(u_<i)^2) |det du/dx|,  u = maf(x)

    With batch norm the model must be fitted or calibrated before it is evaluated.

    Args:
        features: number of features D.
        components: number of Gaussians of each mixture.
        hidden: widths of the hidden layers of each masked network.
        blocks: number of blocks in front of the mixtures, at least 1.
        batch_norm: True or "after" puts a `BatchNorm` after each block, as in the MAF paper; "before" in front of
            each, as in the thesis; False uses none.
        order: "alternating" (natural in the first block, reversed in the next, ...); "sequential", "reversed" or
            "random" in each; or the list of dimensions for the first block, reversed in the next, ...
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        context_features: width of a context that every feature sees, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of random orders and degrees; block k takes seed + k, the mixtures seed + blocks.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 1 component, fewer than 1 block, or an order, degrees or batch_norm
            that do not fit.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).

    Examples:
        >>> maf_mog(4, hidden=[32], blocks=2).sample(3).shape
        torch.Size([3, 4])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "maf_mog")
    *layers, mixture = autoregressive(
        size, [*[Affine()] * blocks, GaussianMixture(components)], hidden, order, seed, degrees=degrees,
        context_features=context_features, activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    return Flow([*with_batch_norm(layers, size, batch_norm), mixture], StandardLogistic(size))


def iaf(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    order: BlockOrder = "alternating",
    degrees: Degrees = "even",
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    seed: int = 0,
) -> Flow:
    """An inverse autoregressive flow: a `maf` run backwards, quick to sample with gradients.

    x_i = (z_i - m_i(z_<i)) exp(-a_i(z_<i)) in every block

    Its density needs the inverse of the masked networks, dimension by dimension where gradients are wanted. It suits
    learned noise and `fit_to_density`, which need samples and the densities of these.

    Args:
        features: number of features D.
        hidden: widths of the hidden layers of each block.
        blocks: number of blocks, at least 1.
        order: "alternating" (natural in the first block, reversed in the next, ...); "sequential", "reversed" or
            "random" in each; or the list of dimensions for the first block, reversed in the next, ...
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        context_features: width of a context that every feature sees, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        seed: of random orders and degrees; block k takes seed + k.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 1 block, or an order or degrees that do not fit.

    References:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling, Improving Variational Inference with Inverse
            Autoregressive Flow, 2016 (arXiv 1606.04934).

    Examples:
        >>> iaf(4, hidden=[32], blocks=2).sample(3).shape
        torch.Size([3, 4])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "iaf")
    layers = autoregressive(
        size, [Affine()] * blocks, hidden, order, seed, degrees=degrees,
        context_features=context_features, activation=activation, residual=residual,
    )  # fmt: skip
    return Flow([Inverse(layer) for layer in layers], StandardNormal(size))
