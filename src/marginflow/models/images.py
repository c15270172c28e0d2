"""Flows of images: Real NVP, Glow, Flow++, and masked autoregressive flows with 1 x 1 convolutions.

They keep the event shape (C, H, W), so that z is an image too. Noise dimensions are channels: an image flow over
(C + k, H, W) inside a `Marginalising` is a VFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from marginflow.base.arguments import as_whole
from marginflow.base.settings import as_flag
from marginflow.base.shapes import Shape, as_shape, image_shape
from marginflow.base.transform import Transform
from marginflow.distributions import Flow, StandardNormal
from marginflow.models.blocks import as_blocks
from marginflow.nets import ConvNet, GatedConvNet
from marginflow.nets.activations import Activation, as_hidden
from marginflow.transforms import (
    ActNorm,
    Affine,
    Conv1x1,
    Coupling,
    FactorOut,
    Inverse,
    LogisticMixture,
    Sequential,
    Squeeze,
)

Steps = Callable[[tuple[int, int, int], int], list[Transform]]  # of a level: from its (C, H, W), and its number from 0


def multiscale(shape: tuple[int, int, int], levels: int, steps: Steps, *, factor_out: bool = True) -> Transform:
    """Levels of steps, each on images squeezed to half their sides; shapes are known before any image is seen.

    factor_out: except after the last level, half of the channels leave, and the others are squeezed once more.

    >>> flow = multiscale((1, 8, 8), 2, lambda shape, level: [Conv1x1(shape[0])])
    >>> flow.forward_shape(as_shape((1, 8, 8)))
    torch.Size([1, 8, 8])
    """
    return _level(shape, 0, levels, steps, factor_out)


def _level(shape: tuple[int, int, int], level: int, levels: int, steps: Steps, factor_out: bool) -> Transform:
    channels, height, width = 4 * shape[0], shape[1] // 2, shape[2] // 2
    layers = steps((channels, height, width), level)
    if level + 1 < levels:
        remaining = channels // 2 if factor_out else channels
        deeper = _level((remaining, height, width), level + 1, levels, steps, factor_out)
        layers = [*layers, FactorOut(channels, remaining, deeper) if factor_out else deeper]
    return Sequential(Squeeze(), *layers, Inverse(Squeeze()))


def image_features(features: Shape, model: str, levels: SupportsIndex) -> tuple[tuple[int, int, int], int]:
    """The shape of images, and how often they are squeezed; ValueError where they cannot be so often."""
    levels = as_whole(levels, "levels", least=1)
    shape = image_shape(as_shape(features), model)
    if shape[1] % 2**levels or shape[2] % 2**levels:
        fitting = max(n for n in range(16) if shape[1] % 2**n == shape[2] % 2**n == 0)
        raise ValueError(
            f"{model} halves the sides of images once a level, so with levels={levels} both must be "
            f"multiples of {2**levels}; got {shape[1]} x {shape[2]}: "
            + (f"at most levels={fitting} fits" if fitting else "pad or crop them to even sides")
        )
    return shape, levels


def half(channels: int, *, first_stays: bool = True) -> list[bool]:
    """A mask of channels, after `Squeeze` that of the upper or lower pixel of each two.

    >>> half(4)
    [True, True, False, False]
    """
    return [(i < channels // 2) == first_stays for i in range(channels)]


def checkerboard(channels: int, *, white_stays: bool = True) -> list[bool]:
    """After `Squeeze` the mask of a checkerboard of pixels: the first and last of each four, or the two between.

    >>> checkerboard(4)
    [True, False, False, True]
    """
    return [(4 * i // channels in (0, 3)) == white_stays for i in range(channels)]


def realnvp_images(
    features: Shape,
    *,
    levels: int = 2,
    hidden: Sequence[int] = (64, 64, 64),
    bound: float = 5.0,
    context_features: int = 0,
    activation: Activation = "relu",
    dropout: float = 0.0,
) -> Flow:
    """Real NVP on images: couplings by checkerboards and by channels, multiscale, over N(0, I).

    Each level squeezes patches of 2 x 2 pixels to channels. Three couplings follow whose masks are checkerboards of
    pixels, then three whose masks are halves of the channels. Except after the last level, half of the channels then
    leave the flow. Networks see the squeezed image, so that for both kinds of masks nothing is computed for what stays.
    `ActNorm` takes the place of batch norm.

    Args:
        features: event shape (C, H, W), both sides multiples of 2^levels.
        levels: how often images are squeezed.
        hidden: channels of the hidden layers of each network, all by 3 x 3 convolutions, residual where there are three
            or more of one width.
        bound: the largest |log-scale| of a coupling, softly; positive. Scales of many couplings multiply, so deep
            flows, as of large images, need less.
        context_features: width of a context, a vector (N, C') or an image (N, C', H, W); 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.

    Returns:
        The flow over images (N, C, H, W).

    Raises:
        ValueError: for a shape that is no image, sides that cannot be halved so often, or a bound out of range.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).

    Examples:
        >>> realnvp_images((1, 8, 8), hidden=[16]).sample(3).shape
        torch.Size([3, 1, 8, 8])
    """
    (shape, levels), hidden = image_features(features, "realnvp_images", levels), as_hidden(hidden)

    def steps(shape: tuple[int, int, int], level: int) -> list[Transform]:
        channels = shape[0]
        masks = [checkerboard(channels, white_stays=i % 2 == 0) for i in range(3)]
        masks += [half(channels, first_stays=i % 2 == 0) for i in range(3)]
        residual = len(hidden) >= 3 and len(set(hidden[::2])) == 1
        return [
            each
            for mask in masks
            for each in (
                ActNorm(channels),
                _coupling(
                    mask, hidden, context_features, level, bound=bound, kernel=3, activation=activation,
                    residual=residual, dropout=dropout,
                ),
            )
        ]  # fmt: skip

    return Flow(multiscale(shape, levels, steps), StandardNormal(shape))


def glow(
    features: Shape,
    *,
    levels: int = 2,
    blocks: int = 4,
    hidden: Sequence[int] = (64, 64),
    bound: float = 5.0,
    learned_prior: bool = True,
    context_features: int = 0,
    activation: Activation = "relu",
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """Glow: steps of activation normalisation, 1 x 1 convolution and affine coupling, multiscale, over N(0, I).

    Each level squeezes patches of 2 x 2 pixels to channels and takes its steps. Except after the last level, half of
    the channels then leave the flow. With learned_prior they are normal with a mean and a scale that one convolution
    computes from those that stay: one more coupling.

    Args:
        features: event shape (C, H, W), both sides multiples of 2^levels.
        levels: how often images are squeezed.
        blocks: number of steps a level, at least 1.
        hidden: channels of the hidden layers of each network, see `nets.ConvNet`.
        bound: the largest |log-scale| of a coupling, softly; positive. Scales of many couplings multiply, so deep
            flows, as of large images, need less.
        learned_prior: whether the channels that leave after a level depend on those that stay.
        context_features: width of a context, a vector (N, C') or an image (N, C', H, W); 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of the 1 x 1 convolutions.

    Returns:
        The flow over images (N, C, H, W).

    Raises:
        ValueError: for a shape that is no image, sides that cannot be halved so often, fewer than 1 block, or a bound
            out of range.

    References:
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039).

    Examples:
        >>> glow((1, 8, 8), hidden=[16], blocks=2).sample(3).shape
        torch.Size([3, 1, 8, 8])
    """
    blocks = as_blocks(blocks)
    shape, levels = image_features(features, "glow", levels)
    learned_prior, seed = as_flag(learned_prior, "learned_prior"), as_whole(seed, "seed", most=None)

    def steps(shape: tuple[int, int, int], level: int) -> list[Transform]:
        channels = shape[0]
        couplings = [
            _coupling(
                half(channels), hidden, context_features, level, bound=bound, activation=activation, dropout=dropout
            )
            for _ in range(blocks)
        ]
        layers = _mixed(couplings, seed + level * blocks)
        if learned_prior and level + 1 < levels:
            layers.append(_coupling(half(channels), [], context_features, level))
        return layers

    return Flow(multiscale(shape, levels, steps), StandardNormal(shape))


def flowpp(
    features: Shape,
    *,
    levels: int = 2,
    blocks: int = 4,
    components: int = 8,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    context_features: int = 0,
    dropout: float = 0.0,
    seed: int = 0,
) -> Flow:
    """Flow++: couplings by mixtures of logistics, whose networks are gated convolutions and self-attention.

    Steps of activation normalisation, 1 x 1 convolution and coupling as in `glow`; every level squeezes, nothing
    leaves. Variational dequantisation, the paper's other part, is `Dequantise` with a noise model.

    Args:
        features: event shape (C, H, W), both sides multiples of 2^levels.
        levels: how often images are squeezed.
        blocks: number of steps a level, at least 1.
        components: number of logistics of each mixture.
        width: channels of the hidden layers of each network, see `nets.GatedConvNet`.
        depth: number of pairs of gated convolution and attention in each network.
        heads: number of attention heads, which must divide the width; 0 leaves attention out.
        context_features: width of a context, a vector (N, C') or an image (N, C', H, W); 0 for none.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.
        seed: of the 1 x 1 convolutions.

    Returns:
        The flow over images (N, C, H, W).

    Raises:
        ValueError: for a shape that is no image, sides that cannot be halved so often, fewer than 1 block, fewer than 1
            component, or heads that do not divide the width.

    References:
        Ho, Chen, Srinivas, Duan and Abbeel, Flow++: Improving Flow-Based Generative Models with Variational
            Dequantization and Architecture Design, 2019 (arXiv 1902.00275).

    Examples:
        >>> flowpp((1, 4, 4), levels=1, width=16, blocks=2).sample(3).shape
        torch.Size([3, 1, 4, 4])
    """
    blocks = as_blocks(blocks)
    shape, levels = image_features(features, "flowpp", levels)
    seed, depth = as_whole(seed, "seed", most=None), as_whole(depth, "depth", least=1)
    univariate = LogisticMixture(components)

    def steps(shape: tuple[int, int, int], level: int) -> list[Transform]:
        channels, height, breadth = shape
        networks = [
            GatedConvNet(
                channels // 2, channels // 2 * univariate.num_params, (height, breadth), width=width, blocks=depth,
                heads=heads, context_features=context_features, context_patch=2 ** (level + 1), dropout=dropout,
            )
            for _ in range(blocks)
        ]  # fmt: skip
        return _mixed([Coupling(half(channels), network, univariate) for network in networks], seed + level * blocks)

    return Flow(multiscale(shape, levels, steps, factor_out=False), StandardNormal(shape))


def _mixed(couplings: list[Coupling], seed: int) -> list[Transform]:
    """Each coupling with an `ActNorm` and a 1 x 1 convolution in front of it; convolution k takes seed + k."""
    return [
        each
        for k, coupling in enumerate(couplings)
        for each in (ActNorm(coupling.num_features), Conv1x1(coupling.num_features, seed + k), coupling)
    ]


def _coupling(
    mask: list[bool],
    hidden: Sequence[int],
    context_features: int,
    level: int,
    *,
    bound: float = Affine.bound,
    **options: Any,
) -> Coupling:
    """An affine coupling of squeezed images; a context image is as large as what was squeezed so often."""
    univariate = Affine(bound)
    network = ConvNet(
        sum(mask), univariate.num_params * (len(mask) - sum(mask)), hidden,
        context_features=context_features, context_patch=2 ** (level + 1), **options,
    )  # fmt: skip
    return Coupling(mask, network, univariate)
