"""Masked autoregressive flows on images whose masked networks see what is near, the same network everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from marginflow.distributions import StandardLogistic, StandardNormal
from marginflow.flow import Flow
from marginflow.hidden import Activation
from marginflow.models.stacks import Degrees, check_blocks, order_of_block
from marginflow.shapes import Shape, as_shape, image_shape
from marginflow.transforms import Affine, GaussianMixture, Inverse, LocalAutoregressive, Squeeze, Transform, Whiten


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

    In every block each value is transformed given all values before it in its patch and in the patches within
    reach that come before, in raster order; the next block goes backwards. The network is the same for all patches
    but knows where it is, so an image of 8 x 8 patches gives it 64 rows to learn from, and its weights do not grow with
    the image.

    features: (C, H, W). patch: p, patches have p x p pixels, which must divide both sides. reach: in patches, see
    `LocalAutoregressive`. components: 0 for N(0, I) as the base; otherwise one block more whose scalar functions are
    mixtures of so many Gaussians, as in `maf_mog`. bound: the largest |log-scale| of a block, softly. The rest: as in
    `maf`; each block is preceded by a `Whiten`, without
    which it takes many times as long to learn what neighbouring values have in common.

    Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057), with
    weights shared as in van den Oord, Kalchbrenner, Kavukcuoglu, Pixel Recurrent Neural Networks, 2016
    (arXiv 1601.06759).

    >>> maf_local((1, 8, 8), hidden=[32], blocks=2).sample(3).shape
    torch.Size([3, 1, 8, 8])
    """
    check_blocks(blocks)
    shape = as_shape(features)
    image_shape(shape, "maf_local")
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
    _start_near_identity(layers)
    base = StandardLogistic(shape) if components else StandardNormal(shape)
    return Flow([squeeze, *layers, Inverse(Squeeze(patch))], base)


@torch.no_grad()
def _start_near_identity(layers: Sequence[Transform]) -> None:
    """Let the affine layers leave white data nearly white at first; a mixture would start with all components alike."""
    for layer in layers:
        if isinstance(layer, LocalAutoregressive) and isinstance(layer.layer.univariate, Affine):
            for tensor in layer.layer.network.output_layer.tensors:
                tensor.mul_(0.1)
