"""Masked autoregressive flows on images: over patches given those near them, and after 1 x 1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from marginflow.base.arguments import as_whole
from marginflow.base.shapes import Shape, as_shape, image_shape
from marginflow.base.transform import Transform
from marginflow.distributions import Flow, StandardLogistic, StandardNormal
from marginflow.models.blocks import BlockOrder, Degrees, as_blocks, autoregressive, order_of_block
from marginflow.nets.activations import Activation
from marginflow.transforms import (
    ActNorm,
    Affine,
    Conv1x1,
    Flatten,
    GaussianMixture,
    Inverse,
    LocalAutoregressive,
    Squeeze,
    Whiten,
)


def maf_local(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    patch: int = 4,
    reach: int = 1,
    components: int = 0,
    bound: float = 3.0,
    degrees: Degrees = "even",
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """A masked autoregressive flow on images: one masked network a block, over patches given those next to them.

    In every block each value is transformed given all values before it in its patch and in the patches within reach
    that come before, in raster order; the next block takes the reverse order. The network is the same for all patches
    but takes their position. So an image of 8 x 8 patches gives it 64 rows to learn from, and its weights do not grow
    with the image. A `Whiten` precedes each block: without it the block takes many times as long to learn what
    neighbouring values have in common.

    Args:
        features: event shape (C, H, W).
        hidden: widths of the hidden layers of each block.
        blocks: number of blocks, at least 1.
        patch: p, for patches of p x p pixels, which must divide both sides.
        reach: in patches, at least 1, see `LocalAutoregressive`.
        components: 0 for N(0, I) as the base; otherwise one block more follows, whose scalar functions are mixtures of
            so many Gaussians, as in `maf_mog`.
        bound: the largest |log-scale| of a block, softly; positive.
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        context_features: width of a context for the whole image, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of random degrees; block k takes seed + k.

    Returns:
        The flow over images (N, C, H, W).

    Raises:
        ValueError: for a shape that is no image, fewer than 1 block, or a patch, reach, degrees, components or bound
            that do not fit.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
        van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks, 2016 (arXiv 1601.06759): weights
            shared between pixels.

    Examples:
        >>> maf_local((1, 8, 8), hidden=[32], blocks=2).sample(3).shape
        torch.Size([3, 1, 8, 8])
    """
    blocks = as_blocks(blocks)
    shape = as_shape(features)
    image_shape(shape, "maf_local")
    components, seed = as_whole(components, "components"), as_whole(seed, "seed", most=None)
    squeeze = Squeeze(patch)
    squeezed = squeeze.forward_shape(shape)
    univariates = [*[Affine(bound)] * blocks, *([GaussianMixture(components)] if components else [])]
    layers = [
        each
        for block, univariate in enumerate(univariates)
        for each in (
            Whiten(squeezed[0]),
            LocalAutoregressive(
                squeezed, hidden, univariate, reach=reach, order=str(order_of_block("alternating", block)),
                context_features=context_features, degrees=degrees, activation=activation, residual=residual,
                dropout=dropout, seed=seed + block,
            ),
        )
    ]  # fmt: skip
    _initialise_near_identity(layers)
    base = StandardLogistic(shape) if components else StandardNormal(shape)
    return Flow([squeeze, *layers, Inverse(Squeeze(patch))], base)


@torch.no_grad()
def _initialise_near_identity(layers: Sequence[Transform]) -> None:
    """Let the affine layers leave white data nearly white at first; a mixture would start with all components alike."""
    for layer in layers:
        if isinstance(layer, LocalAutoregressive) and isinstance(layer.layer.univariate, Affine):
            for tensor in layer.layer.network.output_layer.tensors:
                tensor.mul_(0.1)


def maf_conv(
    features: Shape,
    *,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    patch: int = 2,
    order: BlockOrder = "alternating",
    degrees: Degrees = "even",
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """A masked autoregressive flow on images with an invertible 1 x 1 convolution in front of each block.

    The future work of the thesis: pixels and channels that lie next to each other are mixed before each block, by
    weights that are learned. An `ActNorm` precedes each convolution.

    Args:
        features: event shape (C, H, W).
        hidden: widths of the hidden layers of each block.
        blocks: number of blocks, at least 1.
        patch: the convolution mixes the channels of patches of patch x patch pixels, which must divide both sides; 1
            mixes the channels of each pixel.
        order: "alternating" (natural in the first block, reversed in the next, ...); "sequential", "reversed" or
            "random" in each; or the list of dimensions for the first block, reversed in the next, ...
        degrees: of the hidden units, "even", "sequential", "random", or a list for each layer, see
            `MaskedAutoregressive`.
        context_features: width of a context that every value sees, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of the convolutions, random orders and degrees; block k takes seed + k.

    Returns:
        The flow over images (N, C, H, W).

    Raises:
        ValueError: for a shape that is no image, fewer than 1 block, a patch that does not divide both sides, or an
            order or degrees that do not fit.

    References:
        I. Lee, Masked Autoregressive Flows with a Marginalising Flow Framework, 2020.
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039): the
            convolutions.

    Examples:
        >>> maf_conv((1, 8, 8), hidden=[32], blocks=2).sample(3).shape
        torch.Size([3, 1, 8, 8])
    """
    blocks = as_blocks(blocks)
    shape = as_shape(features)
    channels, height, width = image_shape(shape, "maf_conv")
    patch, seed = as_whole(patch, "patch", least=1), as_whole(seed, "seed", most=None)
    if height % patch or width % patch:
        raise ValueError(
            f"patch must divide both sides of the images, {height} x {width}; got patch={patch}: patch=1 always does"
        )
    channels *= patch**2
    masked = autoregressive(
        shape.numel(), [Affine()] * blocks, hidden, order, seed, degrees=degrees, context_features=context_features,
        activation=activation, residual=residual, dropout=dropout,
    )  # fmt: skip
    layers = [
        each
        for block, layer in enumerate(masked)
        for each in (
            Squeeze(patch), ActNorm(channels), Conv1x1(channels, seed + block), Inverse(Squeeze(patch)),
            Flatten(shape), layer, Inverse(Flatten(shape)),
        )
    ]  # fmt: skip
    return Flow(layers, StandardNormal(shape))
