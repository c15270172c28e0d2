"""Flow: a transform from data to noise, and the density of that noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from marginflow.base.distribution import (
    Density,
    Distribution,
    context_features_of,
    event_shape_of,
    is_context_optional,
    is_exact,
    optional,
    sample_and_flag,
    takes_pixels,
    warn_of_diverged,
    with_base,
)
from marginflow.base.shapes import check_event
from marginflow.base.transform import Transform
from marginflow.distributions.elementary import ELEMENTARY
from marginflow.transforms import Augment, Sequential
from marginflow.transforms.round_trip import inverse_and_flag


class Flow(Distribution):
    """The density that `transform` (data to noise) pulls back from `base`.

    log p(x) = log p_base(z) + log |det dz/dx|,  z = transform(x)

    transform: a `Transform`, or a list of them, applied to the data first to last.
    base: any density of z, such as `StandardNormal`, another flow, or a `Marginalising`.

    log_prob(x, context): (N, *event) -> (N,), nats. sample(num_samples, context): exact draws,
    through the inverse; draws that are not finite come with a RuntimeWarning, never silently.

    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    >>> import torch
    >>> from marginflow.transforms import Planar
    >>> from marginflow.distributions import StandardNormal
    >>> flow = Flow([Planar(2), Planar(2)], base=StandardNormal(2))
    >>> flow.log_prob(torch.zeros(5, 2)).shape, flow.sample(3).shape
    (torch.Size([5]), torch.Size([3, 2]))
    """

    def __init__(self, transform: Transform | Iterable[Transform], base: Density) -> None:
        super().__init__()
        self.transform = transform if isinstance(transform, Transform) else Sequential(*transform)
        self.base = base
        _ = self.event_shape  # refuses a transform that does not fit the base

    @property
    def event_shape(self) -> torch.Size | None:
        shape = event_shape_of(self.base)
        return None if shape is None else self.transform.inverse_shape(shape)

    @property
    def exact(self) -> bool:
        return self.transform.exact and is_exact(self.base)

    @property
    def context_features(self) -> int:
        return max(self.transform.context_features, context_features_of(self.base))

    @property
    def context_optional(self) -> bool:
        return self.transform.context_features == 0 and is_context_optional(self.base)

    @property
    def takes_pixels(self) -> bool:
        return self.transform.takes_pixels or takes_pixels(self.base)

    def with_base(self, change: Callable[[Density], Distribution]) -> Flow:
        return Flow(self.transform, with_base(self.base, change))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_event(x, self.event_shape, real=False)
        z, log_det = self.transform(x, context)
        return self.base.log_prob(z, *optional(context)) + log_det

    @torch.no_grad()
    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        x, _ = self.transform.inverse(self.base.sample(num_samples, *optional(context)), context)
        warn_of_diverged(x)
        return x

    @torch.no_grad()
    def sample_and_flag(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, flagged = sample_and_flag(self.base, num_samples, context)
        x, missed = inverse_and_flag(self.transform, z, context)
        return x, flagged | missed

    def sample_and_log_prob(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not self.exact or not isinstance(self.base, Distribution):
            raise ValueError(
                "sample_and_log_prob needs an exact flow over a marginflow base; this one draws noise or "
                "stands on a density from elsewhere: use sample and log_likelihood"
            )
        z, log_prob = self.base.sample_and_log_prob(num_samples, context)
        x, log_det = self.transform.inverse(z, context)
        return x, log_prob - log_det


def levels_of(model: Distribution) -> tuple[Transform, Distribution]:
    """Preprocessing and density of a model: Flow(preprocessing, base=density), or all of it density.

    A transform that augments is no preprocessing: its noise belongs to the density. Nor is one over an elementary base.
    """
    if isinstance(model, Flow) and isinstance(model.base, Distribution) and not isinstance(model.base, ELEMENTARY):
        augments = any(isinstance(part, Augment) for part in model.transform.modules())
        if not augments:
            return model.transform, model.base
    return Sequential(), model
