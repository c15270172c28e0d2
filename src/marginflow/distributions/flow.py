"""Flow: a transform from data to noise, and the density of that noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.adapter import as_distribution
from marginflow.base.arguments import common_width
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import Sites
from marginflow.base.support import of_each_number, of_events
from marginflow.base.transform import Transform
from marginflow.data.schema import Schema
from marginflow.transforms import Augment
from marginflow.transforms.round_trip import inverse_and_flag
from marginflow.transforms.sequential import Sequential, in_sequence


class Flow(Distribution):
    """A normalising flow: the density of data that a transform maps to a base distribution.

    log p(x) = log p_base(z) + log |det dz/dx|,  z = transform(x)

    `log_prob(x, context)` maps (N, *event) to (N,), in nats. `sample(num_samples, context)` inverts the transform at
    samples of the base, so its samples follow the model exactly; a RuntimeWarning counts those that are not finite.

    Args:
        transform: a `Transform` from data to noise, or a list of them, applied to the data first to last.
        base: any density of z, such as `StandardNormal`, another flow, or a `Marginalising`.

    Raises:
        ValueError: where the base is no density, the transform does not fit its event shape, or both take contexts of
            different widths.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    Examples:
        >>> import torch
        >>> from marginflow.transforms import Planar
        >>> from marginflow.distributions import StandardNormal
        >>> flow = Flow([Planar(2), Planar(2)], base=StandardNormal(2))
        >>> flow.log_prob(torch.zeros(5, 2)).shape, flow.sample(3).shape
        (torch.Size([5]), torch.Size([3, 2]))
    """

    def __init__(self, transform: Transform | Iterable[Transform], base: Density) -> None:
        super().__init__()
        self.transform = in_sequence(transform)
        self.base = as_distribution(base)
        shape, width = self.base.event_shape, self.transform.context_features
        self._event_shape = None if shape is None else self.transform.inverse_shape(shape)  # once: every call looks
        self._context_features = common_width((width, self.base.context_features))
        self._context_optional = width == 0 and self.base.context_optional
        self._takes_pixels = self.transform.takes_pixels or self.base.takes_pixels
        moved = self.transform.any_precision and self.base.takes_float64
        self._takes_float64 = moved or self.transform.takes_float64
        is_bare = isinstance(self.transform, Sequential) and not len(self.transform)
        self._schema = self.base.schema if is_bare else None
        self._encodes_context = self.base.encodes_context

    @property
    def elementary(self) -> bool:
        return False

    @property
    def event_shape(self) -> torch.Size | None:
        return self._event_shape

    @property
    def exact(self) -> bool:
        return self.transform.exact and self.base.exact

    @property
    def context_features(self) -> int:
        return self._context_features

    @property
    def context_optional(self) -> bool:
        return self._context_optional

    @property
    def takes_pixels(self) -> bool:
        return self._takes_pixels

    @property
    def takes_float64(self) -> bool:
        return self._takes_float64

    @property
    def reparameterised(self) -> bool:
        return self.base.reparameterised

    @property
    def schema(self) -> Schema | None:
        return self._schema

    @property
    def encodes_context(self) -> bool:
        return self._encodes_context

    @property
    def support(self) -> Constraint:
        if isinstance(self.transform, Sequential) and not len(self.transform):
            return self.base.support
        return of_events(self.transform.inverse_support(of_each_number(self.base.support)), self.event_shape)

    @property
    def _is_preprocessed(self) -> bool:
        """Whether the transform prepares rows for the base: not where that is elementary, or noise is added for it."""
        augments = any(isinstance(part, Augment) for part in self.transform.modules())
        return not augments and not self.base.elementary

    @property
    def preprocessing(self) -> Transform:
        return self.transform if self._is_preprocessed else super().preprocessing

    @property
    def density(self) -> Distribution:
        return self.base if self._is_preprocessed else self

    def with_base(self, change: Callable[[Density], Distribution]) -> Flow:
        return Flow(self.transform, self.base.with_base(change))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        z, log_det = self.transform(x, context)
        return self.base._log_prob(z, context) + log_det

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        z, log_det = yield from self.transform._noise(x, context)
        return (yield from self.base._noise(z, context)) + log_det

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.transform.inverse(self.base._sample(num_samples, context), context)[0]

    def _sample_with_noise(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        z, of_base = self.base._sample_with_noise(num_samples, context)
        x, eps = self.transform._inverse_with_noise(z, context)
        return x, [*eps, *of_base]

    def _sample_and_flag(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, flagged = self.base._sample_and_flag(num_samples, context)
        x, missed_round_trip = inverse_and_flag(self.transform, z, context)
        return x, flagged | missed_round_trip

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.transform.exact:
            raise self._not_reparameterised()
        z, log_prob = self.base._sample_and_log_prob(num_samples, context)
        x, log_det = self.transform.inverse(z, context)
        return x, log_prob - log_det
