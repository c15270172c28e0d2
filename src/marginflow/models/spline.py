"""Neural spline flows, in both structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from marginflow.base.settings import as_choice
from marginflow.base.shapes import Shape
from marginflow.base.transform import Transform
from marginflow.distributions import Flow, StandardNormal
from marginflow.models.blocks import Normed, as_blocks, autoregressive, couplings, vector_features, with_batch_norm
from marginflow.nets.activations import Activation
from marginflow.transforms import RationalQuadratic


def nsf(
    features: Shape,
    *,
    structure: Literal["autoregressive", "coupling"] = "autoregressive",
    bins: int = 8,
    bound: float = 5.0,
    hidden: Sequence[int] = (512, 512),
    blocks: int = 5,
    batch_norm: Normed = False,
    context_features: int = 0,
    activation: Activation = "relu",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """A neural spline flow: `blocks` layers of monotonic rational-quadratic splines over N(0, I).

    z_i = spline(x_i; knots_i(x_<i)), or z_b = spline(x_b; knots(x_a)), in every block

    The splines are the identity outside [-bound, bound], so standardise the data. The autoregressive structure
    alternates its order from block to block. The coupling structure is quick both ways.

    Args:
        features: number of features D; at least 2 for couplings.
        structure: "autoregressive", as in `maf`, or "coupling", as in `realnvp`.
        bins: number of bins of each spline.
        bound: half the length of the interval [-bound, bound] of the splines.
        hidden: widths of the hidden layers of each block.
        blocks: number of blocks, at least 1.
        batch_norm: True or "after" puts a `BatchNorm` after each block, "before" in front of each; False uses none.
        context_features: width of a context on which the density depends, 0 for none.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `nets.MLP` for couplings, otherwise
            `MaskedAutoregressive`.
        dropout: probability of leaving out a hidden unit in training mode, in which there is then no inverse.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: for an image shape, fewer than 1 block, another structure or batch_norm, bins or a bound out of
            range, or couplings of one feature.

    References:
        Durkan, Bekasov, Murray and Papamakarios, Neural Spline Flows, 2019 (arXiv 1906.04032).

    Examples:
        >>> nsf(4, hidden=[32], blocks=2).sample(3).shape
        torch.Size([3, 4])
    """
    blocks = as_blocks(blocks)
    size = vector_features(features, "nsf")
    options: dict[str, Any] = {
        "context_features": context_features, "activation": activation, "residual": residual, "dropout": dropout,
    }  # fmt: skip
    splines = [RationalQuadratic(bins, bound)] * blocks
    layers: Sequence[Transform]
    as_choice(structure, ("autoregressive", "coupling"), "structure")
    if structure == "coupling":
        layers = couplings(size, "nsf", splines, hidden, **options)
    else:
        layers = autoregressive(size, splines, hidden, "alternating", 0, **options)
    return Flow(with_batch_norm(layers, size, batch_norm), StandardNormal(size))
