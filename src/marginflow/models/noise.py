"""Noise models q(eps | x), by name, and noise that is appended between the blocks of a flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from marginflow.base.arguments import as_whole
from marginflow.base.distribution import Distribution
from marginflow.base.settings import require_function
from marginflow.base.shapes import Shape, as_shape, image_shape
from marginflow.distributions import DiagonalNormal, Flow, StandardNormal
from marginflow.nets import MLP, ConvNet
from marginflow.nets.activations import Activation
from marginflow.transforms import Augment

LARGEST_LOG_SCALE = 5.0  # as in the affine layers


def standard_normal(features: Shape) -> StandardNormal:
    """N(0, I), independent of x: the noise of the thesis.

    Args:
        features: number of noise dimensions, or the event shape (C, H, W) of those of images.

    Returns:
        The distribution, which takes no context.

    Examples:
        >>> standard_normal(2).sample(5).shape
        torch.Size([5, 2])
    """
    return StandardNormal(features)


def uniform() -> None:
    """Dequantisation noise u ~ U[0, 1), which takes no model.

    Examples:
        >>> uniform() is None
        True
    """


def diagonal_normal(
    features: Shape,
    *,
    context_features: int,
    hidden: Sequence[int] = (64, 64),
    activation: Activation = "relu",
    residual: bool = False,
) -> DiagonalNormal:
    """A normal distribution whose means and scales a network computes from x.

    q(eps | x) = N(eps; m(x), diag s(x)^2),  |log s| softly below 5

    Args:
        features: number of noise dimensions, or the event shape (C, H, W) of those of images.
        context_features: width of the context of the network, which is x and any context of the user.
        hidden: widths of the hidden layers, for images their channels.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        residual: whether residual connections skip pairs of hidden layers, see `nets.MLP` and, for images,
            `nets.ConvNet`.

    Returns:
        The distribution, whose context has the width context_features.

    Raises:
        ValueError: where context_features is below 1, or hidden does not fit.

    References:
        Huang, Dinh and Courville, Augmented Normalizing Flows: Bridging the Gap Between Generative Flows and Latent
            Variable Models, 2020 (arXiv 2002.07101).

    Examples:
        >>> import torch
        >>> diagonal_normal(2, context_features=3).sample(5, torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    shape, context_features = as_shape(features), as_whole(context_features, "context_features", least=1)
    if len(shape) != 1:
        image_shape(shape, "diagonal_normal")
    network_class = MLP if len(shape) == 1 else ConvNet
    network = network_class(context_features, 2 * shape[0], hidden, activation=activation, residual=residual)
    return DiagonalNormal(shape, network, context_features, bound=LARGEST_LOG_SCALE)


def augmented_between(
    model: Callable[..., Flow], features: int, noise: Distribution, *, after_blocks: int, blocks: int, **options: Any
) -> Flow:
    """A flow whose noise dimensions are appended between its blocks, as new flows around auxiliary dimensions.

    The first blocks transform x alone, into h. `Augment` appends eps ~ q(eps | h), and the other blocks transform both.
    Like any flow that draws noise it is not exact: `log_likelihood` estimates its density.

    Args:
        model: a function of `models` that has blocks.
        features: number of features D of x.
        noise: q, see `Augment`.
        after_blocks: number of blocks before the noise, at least 1.
        blocks: number of blocks in all, more than after_blocks.
        **options: of the model. After the noise its orders and masks start again. Lists of orders and degrees, which
            are for one number of features, are refused.

    Returns:
        The flow over rows (N, D).

    Raises:
        ValueError: where no block is left before or after the noise, or order or degrees is a list.

    Examples:
        >>> from marginflow.models import maf
        >>> flow = augmented_between(maf, 2, StandardNormal(1), after_blocks=1, blocks=3, hidden=[8])
        >>> flow.sample(5).shape, flow.exact
        (torch.Size([5, 2]), False)
    """
    require_function(model, "model", "models.maf")
    features, blocks = as_whole(features, "features", least=1), as_whole(blocks, "blocks")
    after_blocks = as_whole(after_blocks, "after_blocks")
    if not 0 < after_blocks < blocks:
        raise ValueError(
            f"noise between blocks needs blocks before and after it; got after_blocks={after_blocks} of {blocks} blocks"
        )
    for name in ("order", "degrees"):
        if not isinstance(options.get(name, ""), str):
            raise ValueError(
                f"{name} is a list for one number of features, and there are fewer before the noise than after it: "
                "name one, or put the noise in front"
            )
    first = model(features, blocks=after_blocks, **options)
    augment = Augment(noise, features)
    later = dict(options)
    if "seed" in options:
        later["seed"] = as_whole(options["seed"], "seed", most=None) + after_blocks
    last = model(features + augment.num_noise, blocks=blocks - after_blocks, **later)
    return Flow([first.transform, augment, last.transform], last.base)
