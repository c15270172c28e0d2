"""Marginalising flows: noise dimensions beside the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.adapter import as_distribution
from marginflow.base.arguments import Values, as_rows, common_width
from marginflow.base.devices import to_like
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import Sites
from marginflow.base.support import of_each_number, of_events
from marginflow.data.schema import Schema
from marginflow.transforms import Augment


class Marginalising(Distribution):
    """The marginal p(x) of a joint density p(x, eps): any flow, marginalised over noise dimensions.

    p(x) = integral of p(x, eps) d eps
    log_prob(x) = log p(x, eps) - log q(eps | x),  eps ~ q(eps | x)

    `log_prob` takes one sample of the noise; its mean over the noise is a lower bound of log p(x). `log_likelihood`
    estimates log p(x) itself with K samples. Sampling is exact: (x, eps) is sampled jointly and eps dropped; q is not
    evaluated.

    Args:
        flow: any object with log_prob and sample, over data and noise concatenated along dimension 1.
        noise: q(eps | x), such as `StandardNormal(num_noise)`. Where it takes a context as wide as x it sees x; where
            it takes a wider one the user's context is appended to x.

    Raises:
        ValueError: where the flow is no wider than the noise, or the noise is not exact or has no event shape.

    References:
        I. Lee, Masked Autoregressive Flows with a Marginalising Flow Framework, 2020.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> from marginflow.distributions import StandardNormal
        >>> model = Marginalising(models.planar(2 + 3), noise=StandardNormal(3))
        >>> model.log_prob(torch.zeros(5, 2)).shape, model.sample(4).shape
        (torch.Size([5]), torch.Size([4, 2]))
    """

    def __init__(self, flow: Density, noise: Distribution) -> None:
        super().__init__()
        self.augment, self.flow = Augment(noise), as_distribution(flow)
        shape = self.event_shape  # refuses a flow too narrow for the noise
        if shape is not None:
            self.augment = Augment(noise, shape[0])  # which knows now how wide x is
        common_width((self.flow.context_features, self.augment.context_features))

    @property
    def elementary(self) -> bool:
        return False

    @property
    def event_shape(self) -> torch.Size | None:
        shape = self.flow.event_shape
        return None if shape is None else self.augment.inverse_shape(shape)

    @property
    def exact(self) -> bool:
        return False

    @property
    def context_features(self) -> int:
        return max(self.flow.context_features, self.augment.context_features)

    @property
    def context_optional(self) -> bool:
        return self.augment.context_features == 0 and self.flow.context_optional

    @property
    def takes_float64(self) -> bool:
        return self.flow.takes_blanks  # whose rows go in as they are

    @property
    def reparameterised(self) -> bool:
        return self.flow.reparameterised

    @property
    def schema(self) -> Schema | None:
        return self.flow.schema

    @property
    def encodes_context(self) -> bool:
        return self.flow.encodes_context

    @property
    def support(self) -> Constraint:
        return of_events(of_each_number(self.flow.support), self.event_shape)

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        return self.flow, self.augment(x, context)[0], context

    def with_base(self, change: Callable[[Density], Distribution]) -> Marginalising:
        return Marginalising(self.flow.with_base(change), self.augment.noise)

    def log_joint(self, x: Values, eps: Values, context: Values | None = None) -> Tensor:
        """The joint log density log p(x, eps), which the thesis calls the likelihood.

        Args:
            x: rows (N, *event).
            eps: noise (N, *noise), a row for each row of x.
            context: (N, ...) where the flow uses one, or one row for all.

        Returns:
            log p(x, eps), (N,), in nats.

        Raises:
            ValueError: where x, eps or the context do not fit, or eps has another number of rows than x.
        """
        x, context = self._fitting(x, context)
        noise = self.augment.noise
        eps = to_like(as_rows(eps, noise.event_shape, dtype=x.dtype, what="eps"), x)
        if eps.shape[0] != x.shape[0]:
            raise ValueError(f"eps must have a row for each of the {x.shape[0]} rows of x; got {eps.shape[0]}")
        return self.flow._log_prob(torch.cat([x, eps], 1), context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        joint, minus_log_q = self.augment(x, context)
        return self.flow._log_prob(joint, context) + minus_log_q

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        joint, _ = yield from self.augment._noise(x, context)
        return (yield from self.flow._noise(joint, context))

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.augment.inverse(self.flow._sample(num_samples, context))[0]

    def _sample_with_noise(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        joint, of_flow = self.flow._sample_with_noise(num_samples, context)
        x, eps = self.augment._inverse_with_noise(joint, context)
        return x, [*eps, *of_flow]

    def _sample_and_flag(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        joint, flagged = self.flow._sample_and_flag(num_samples, context)
        return self.augment.inverse(joint)[0], flagged

    def _sample_and_bound(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        joint, log_joint = self.flow._sample_and_log_prob(num_samples, context)
        x, _ = self.augment.inverse(joint)
        return x, log_joint - self.augment.log_noise(joint[:, x.shape[1] :], x, context)
