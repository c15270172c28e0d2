"""A trained flow as the start of a marginalising one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from marginflow.base.adapter import as_distribution
from marginflow.base.arguments import as_whole
from marginflow.base.devices import like_of
from marginflow.base.distribution import Density, Distribution
from marginflow.base.seeds import seeded
from marginflow.distributions import Flow, Marginalising, Product, StandardNormal
from marginflow.nets import MLP, ConvNet
from marginflow.transforms import Coupling, Inverse
from marginflow.transforms.univariate.affine import Affine

SPREAD = 0.3  # of the weights of the last layer of C


def grow(flow: Density, num_noise: int, *, hidden: Sequence[int] = (64, 64), seed: int = 0) -> Distribution:
    """A marginalising flow that starts as a trained flow: its log p(x) is that of the flow, and noise matters at once.

    (x, eps) -> C -> B -> C^-1 -> p(x) N(eps; 0, I)

    C is a random coupling from x to eps, B a coupling from eps to x that starts as the identity, and C^-1 starts with
    the weights of C, so that all of it is the identity. All weights are free. Couplings that all start as the identity
    would not do: then eps is independent of all that reaches x, and under q = N(0, I) the gradient of what makes x
    depend on eps is zero on average.

    Args:
        flow: any density of rows (N, D) or images (N, C, H, W), also one of another library; a copy is taken. Where it
            has preprocessing, the density behind it grows.
        num_noise: number of noise dimensions, of images of noise channels.
        hidden: widths of the hidden layers of each coupling's network.
        seed: of its initialisation.

    Returns:
        The marginalising flow, behind the same preprocessing.

    Raises:
        ValueError: where the flow cannot be sampled, does not say its event shape, or num_noise is below 1.

    Examples:
        >>> from marginflow import models
        >>> flow, x = models.planar(2), torch.randn(5, 2)
        >>> grown = grow(flow, 3)
        >>> bool(torch.allclose(grown.log_prob(x), flow.log_prob(x), atol=1e-5))
        True
    """
    num_noise = as_whole(num_noise, "num_noise", least=1)
    flow = copy.deepcopy(as_distribution(flow))
    if isinstance(flow, Flow) and flow.density is not flow:
        grown = Flow(flow.transform, grow(flow.base, num_noise, hidden=hidden, seed=seed))
        grown.spec = flow.spec
        return grown
    _require_samples(flow)
    shape = flow.event_shape
    if shape is None:
        raise ValueError("the flow does not say its event shape, beside which noise would stand: wrap it, see interop")
    with seeded(seed):
        out, back = (_coupling(shape, num_noise, hidden, of_noise=each) for each in (False, True))
        nn.init.normal_(_last_layer(out).weight, std=SPREAD)
        nn.init.zeros_(_last_layer(back).weight)
    noise = torch.Size([num_noise, *shape[1:]])
    joint = Flow([out, back, Inverse(copy.deepcopy(out))], base=Product(flow, StandardNormal(noise)))
    grown, like = Marginalising(joint, StandardNormal(noise)), like_of(flow)
    grown.spec = flow.spec
    return grown if like is None else grown.to(like)


def _require_samples(flow: Distribution) -> None:
    """Refuse a density that cannot be sampled, as what grows from it could not: ValueError."""
    width, like = flow.context_features, like_of(flow)
    if like is not None and like.is_meta:  # where a run is built before its weights are read
        return
    try:
        flow.sample(1, None if not width or flow.context_optional else torch.zeros(1, width))
    except NotImplementedError as error:
        raise ValueError(f"the flow cannot be sampled ({error}), and so could not what grows from it") from error


def _coupling(shape: torch.Size, num_noise: int, hidden: Sequence[int], *, of_noise: bool) -> Coupling:
    """A coupling in which x stays and eps changes, or the other way round, the identity as it starts."""
    stays = [of_noise == (i >= shape[0]) for i in range(shape[0] + num_noise)]
    network = MLP if len(shape) == 1 else ConvNet
    found = Coupling(stays, network(sum(stays), 2 * (len(stays) - sum(stays)), hidden, activation="tanh"), Affine())
    nn.init.zeros_(_last_layer(found).bias)  # pyright: ignore[reportArgumentType]
    return found


def _last_layer(coupling: Coupling) -> nn.Linear | nn.Conv2d:
    return [each for each in coupling.conditioner.modules() if isinstance(each, nn.Linear | nn.Conv2d)][-1]
