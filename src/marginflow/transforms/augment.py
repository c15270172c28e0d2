"""Noise dimensions beside the data: what the marginalising flow adds, usable anywhere in a flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.arguments import as_whole, shown
from marginflow.base.distribution import Distribution
from marginflow.base.noise_sites import Sites, site_of
from marginflow.base.transform import Transform


def _noise_context(noise: Distribution, x: Tensor, context: Tensor | None) -> Tensor | None:
    """What q sees: nothing, x, or x with the user's context appended along dimension 1, spread over H x W for images.

    The width that q takes as its context decides.
    """
    if noise.context_features == 0:
        return None
    if context is None or noise.context_features == x.shape[1]:
        return x
    if context.ndim < x.ndim:
        context = context.reshape(*context.shape, *[1] * (x.ndim - context.ndim))
        context = context.expand(*context.shape[:2], *x.shape[2:])
    if context.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"a context beside images of shape {tuple(x.shape[1:])} must be a vector or an image of their size; "
            f"got shape {tuple(context.shape)}"
        )
    return torch.cat([x, context.to(x.dtype)], 1)


def _noise_features(noise: Distribution) -> int:
    if not isinstance(noise, Distribution) or noise.event_shape is None or not noise.exact:
        raise ValueError(
            "the noise must be an exact distribution with an event_shape, such as StandardNormal(2); "
            f"got {shown(noise)}"
        )
    return noise.event_shape[0]


class Augment(Transform):
    """Append noise dimensions to the data along dimension 1; the inverse drops them.

    x -> (x, eps),  eps ~ q(eps | x),  log_det = -log q(eps | x)

    log_det is the likelihood contribution of a draw; the inverse never evaluates q and reports 0. It can stand between
    the blocks of a flow as well as in front of it.

    Args:
        noise: the distribution q of eps; where it takes a context as wide as x it sees x, where it takes a wider one
            the user's context is appended to x.
        features: the width of x, where known: then noise that takes a wider context says that it uses the rest of it.

    Raises:
        ValueError: where the noise is not an exact distribution with an event shape, or takes a context narrower than
            `features`, or the context does not fit the size of the images.

    References:
        Chen, Lu, Chenli, Zhu and Tian, VFlow: More Expressive Generative Flows with Variational Data Augmentation, 2020
            (arXiv 2002.09741).
        Huang, Dinh and Courville, Augmented Normalizing Flows: Bridging the Gap Between Generative Flows and Latent
            Variable Models, 2020 (arXiv 2002.07101).

    Examples:
        >>> import torch
        >>> from marginflow.distributions import StandardNormal
        >>> joint, log_det = Augment(StandardNormal(3))(torch.zeros(5, 2))
        >>> joint.shape, log_det.shape
        (torch.Size([5, 5]), torch.Size([5]))
    """

    def __init__(self, noise: Distribution, features: int | None = None) -> None:
        super().__init__()
        self.num_noise = _noise_features(noise)
        features = None if features is None else as_whole(features, "features", least=1)
        self.noise, self.features = noise, features
        if features is not None and 0 < noise.context_features < features:
            raise ValueError(
                f"the noise sees {noise.context_features} features, x has {features}: build it with "
                f"context_features={features}, or more for a context beside x"
            )

    @property
    def exact(self) -> bool:
        return False

    @property
    def context_features(self) -> int:
        seen = self.noise.context_features
        return max(0, seen - self.features) if seen and self.features is not None else 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_features(x.shape[1])
        eps, log_q = self.noise._sample_and_log_prob(x.shape[0], _noise_context(self.noise, x, context))
        return torch.cat([x, eps], 1), -log_q

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[tuple[Tensor, Tensor]]:
        self.require_features(x.shape[1])
        eps = yield site_of(self.noise, x.shape[0], _noise_context(self.noise, x, context))
        return torch.cat([x, eps], 1), x.new_zeros(x.shape[0])

    def log_noise(self, eps: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log q(eps | x), (N,), for given noise."""
        return self.noise._log_prob(eps, _noise_context(self.noise, x, context))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z[:, : z.shape[1] - self.num_noise], z.new_zeros(z.shape[0])

    def _inverse_with_noise(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        num_features = z.shape[1] - self.num_noise
        return z[:, :num_features], [z[:, num_features:]]

    def inverse_support(self, each: Constraint) -> Constraint:
        return each

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        self.require_features(shape[0])
        return torch.Size([shape[0] + self.num_noise, *shape[1:]])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] <= self.num_noise:
            raise ValueError(
                f"the joint needs more than the {self.num_noise} noise dimensions; got {tuple(shape)}: build "
                f"the flow over (data + {self.num_noise}) features"
            )
        return torch.Size([shape[0] - self.num_noise, *shape[1:]])
