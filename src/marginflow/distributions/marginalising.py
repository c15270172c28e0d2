"""Marginalising flows: noise dimensions beside the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from marginflow.base.distribution import (
    Density,
    Distribution,
    context_features_of,
    event_shape_of,
    is_context_optional,
    optional,
    sample_and_flag,
    with_base,
)
from marginflow.base.shapes import check_event
from marginflow.transforms import Augment


class Marginalising(Distribution):
    """The marginal p(x) of a joint density p(x, eps): any flow, marginalised over noise dimensions.

    p(x) = integral of p(x, eps) d eps
    log_prob(x) = log p(x, eps) - log q(eps | x),  eps ~ q(eps | x)

    One draw: on average a lower bound of log p(x), never above it. `log_likelihood` estimates
    log p(x) itself with K draws. Sampling is exact: draw (x, eps) jointly, drop eps; q is not evaluated.

    flow: any object with log_prob and sample, over data and noise joined along dimension 1.
    noise: q(eps | x), such as StandardNormal(num_noise); where it takes a context as wide as x it sees x, where it
        takes a wider one the user's context is appended to x.

    I. Lee, Masked Autoregressive Flows with a Marginalising Flow Framework, 2020.

    >>> import torch
    >>> from marginflow import models
    >>> from marginflow.distributions import StandardNormal
    >>> model = Marginalising(models.planar(2 + 3), noise=StandardNormal(3))
    >>> model.log_prob(torch.zeros(5, 2)).shape, model.sample(4).shape
    (torch.Size([5]), torch.Size([4, 2]))
    """

    def __init__(self, flow: Density, noise: Distribution) -> None:
        super().__init__()
        if not isinstance(flow, Density):
            raise ValueError(f"flow must have the methods log_prob and sample; got {type(flow).__name__}")
        self.augment = Augment(noise)
        self.flow = flow
        shape = self.event_shape  # refuses a flow too narrow for the noise
        if shape is not None:
            self.augment = Augment(noise, shape[0])  # which knows now how wide x is

    @property
    def noise(self) -> Distribution:
        """The distribution q(eps | x)."""
        return self.augment.noise

    @property
    def event_shape(self) -> torch.Size | None:
        shape = event_shape_of(self.flow)
        return None if shape is None else self.augment.inverse_shape(shape)

    @property
    def exact(self) -> bool:
        return False

    @property
    def context_features(self) -> int:
        return max(context_features_of(self.flow), self.augment.context_features)

    @property
    def context_optional(self) -> bool:
        return self.augment.context_features == 0 and is_context_optional(self.flow)

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Density, Tensor, Tensor | None]:
        return self.flow, self.augment(x, context)[0], context

    def with_base(self, change: Callable[[Density], Distribution]) -> Marginalising:
        return Marginalising(with_base(self.flow, change), self.noise)

    def log_joint(self, x: Tensor, eps: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x, eps): (N, *event), (N, *noise) -> (N,), nats; what the thesis calls the likelihood."""
        return self.flow.log_prob(torch.cat([x, eps], 1), *optional(context))

    def draw(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One importance weight of each row: log p(x, eps) and log q(eps | x) at the same eps ~ q, both (N,)."""
        check_event(x, self.event_shape)
        joint, minus_log_q = self.augment(x, context)
        return self.flow.log_prob(joint, *optional(context)), -minus_log_q

    def split(self, joint: Tensor, log_joint: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x of joint draws (x, eps), and log p(x, eps) - log q(eps | x), (N,): on average at least log p(x) there."""
        x, _ = self.augment.inverse(joint)
        return x, log_joint - self.augment.log_noise(joint[:, x.shape[1] :], x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        log_joint, log_q = self.draw(x, context)
        return log_joint - log_q

    @torch.no_grad()
    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        x, _ = self.augment.inverse(self.flow.sample(num_samples, *optional(context)))
        return x

    @torch.no_grad()
    def sample_and_flag(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        joint, flagged = sample_and_flag(self.flow, num_samples, context)
        return self.augment.inverse(joint)[0], flagged

    def sample_and_log_prob(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise ValueError(
            "the log density of a marginal is estimated, not exact: use sample, and log_likelihood for its density"
        )
