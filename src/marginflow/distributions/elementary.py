"""The distributions that flows start from."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn import functional

from marginflow.base.arguments import Values, as_tensor, as_whole, shown
from marginflow.base.constants import HoldsConstants
from marginflow.base.devices import like_of, to_like
from marginflow.base.distribution import Distribution
from marginflow.base.settings import as_positive, require_function
from marginflow.base.shapes import Shape, as_shape, sum_event
from marginflow.base.support import of_events
from marginflow.base.units import LOG_ROOT_TWO_PI

FURTHEST = 40.0  # |log s|, with which squares of samples are finite in float32


class _Elementary(HoldsConstants, Distribution, ABC):
    """A distribution over events of one shape that stands on no other."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = as_shape(shape)
        self._like: Tensor
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # carries dtype and device

    def _constants(self) -> dict[str, Tensor]:
        return {"_like": torch.zeros((), device="cpu")}

    @property
    def event_shape(self) -> torch.Size:
        return self._shape

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._sample(num_samples, context)
        return x, self._log_prob(x, context)

    def extra_repr(self) -> str:
        return str(tuple(self._shape))


class StandardNormal(_Elementary):
    """The normal distribution N(0, I).

    log p(x) = -1/2 |x|^2 - D/2 log 2 pi

    Args:
        shape: number of features D, or an event shape such as (C, H, W).

    Raises:
        ValueError: where the shape is neither, or holds a negative size.

    Examples:
        >>> import torch
        >>> StandardNormal(2).log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -0.5 * sum_event(x.square()) - self._shape.numel() * LOG_ROOT_TWO_PI

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return torch.randn(num_samples, *self._shape, dtype=self._like.dtype, device=self._like.device)


class StandardLogistic(_Elementary):
    """Independent features, each with the standard logistic distribution.

    log p(x) = -sum (x + 2 log(1 + exp(-x)))

    The base of a flow whose last transform returns the logit of a cumulative distribution function.

    Args:
        shape: number of features D, or an event shape such as (C, H, W).

    Raises:
        ValueError: where the shape is neither, or holds a negative size.

    Examples:
        >>> import torch
        >>> StandardLogistic(2).log_prob(torch.zeros(1, 2))
        tensor([-2.7726])
    """

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -sum_event(x.abs() + 2 * functional.softplus(-x.abs()))

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        u = torch.rand(num_samples, *self._shape, dtype=torch.float64, device=self._like.device)
        return torch.logit(u, eps=1e-16).to(self._like.dtype)  # in float32 u would reach 0 and 1


class DiagonalNormal(_Elementary):
    """A normal distribution with independent features, whose mean m and scale s are trained or follow from a context.

    log p(x) = -1/2 |(x - m) / s|^2 - sum log s - D/2 log 2 pi

    Args:
        shape: number of features D, or an event shape such as (C, H, W).
        conditioner: maps the context to mean and log-scale, concatenated along dimension 1:
            (N, C, ...) -> (N, 2 D, ...). Without one, m and log s are parameters, initialised at 0.
        context_features: width C of the context that the conditioner takes; 0 without one.
        bound: a soft bound b on the |log s| of a conditioner, b tanh(log s / b); None leaves log s as it is, up to 40,
            where squares of x would overflow in float32.

    Raises:
        ValueError: where only one of conditioner and context_features is given.

    Examples:
        >>> import torch
        >>> noise = DiagonalNormal(2, conditioner=torch.nn.Linear(3, 4), context_features=3)
        >>> noise.sample(5, torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        shape: Shape,
        conditioner: Callable[[Tensor], Tensor] | None = None,
        context_features: int = 0,
        bound: float | None = None,
    ) -> None:
        super().__init__(shape)
        self._context_features = context_features = as_whole(context_features, "context_features")
        self.bound = None if bound is None else as_positive(bound, "bound")
        if conditioner is not None:
            require_function(conditioner, "conditioner", "nets.MLP(3, 4)")
        if (conditioner is None) != (context_features == 0):
            raise ValueError(
                "a conditioner and context_features go together; got "
                f"conditioner={shown(conditioner)}, context_features={context_features}"
            )
        self.conditioner = conditioner
        if conditioner is None:
            self.mean = nn.Parameter(torch.zeros(self._shape))
            self.log_scale = nn.Parameter(torch.zeros(self._shape))

    @property
    def context_features(self) -> int:
        return self._context_features

    def _mean_and_log_scale(self, num_rows: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.conditioner is None:
            return self.mean.expand(num_rows, *self._shape), self.log_scale.expand(num_rows, *self._shape)
        joined = self.conditioner(to_like(cast(Tensor, context), like_of(self.conditioner)))
        expected = (num_rows, 2 * self._shape[0], *self._shape[1:])
        if joined.shape != expected:
            raise ValueError(
                f"the conditioner must return mean and log-scale of shape {expected}; got {tuple(joined.shape)}"
            )
        mean, log_scale = joined.chunk(2, 1)
        if self.bound is not None:
            log_scale = self.bound * torch.tanh(log_scale / self.bound)
        return mean, log_scale.clamp(-FURTHEST, FURTHEST)

    @staticmethod
    def _log_density(standard: Tensor, log_scale: Tensor) -> Tensor:
        return sum_event(-0.5 * standard.square() - log_scale - LOG_ROOT_TWO_PI)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        mean, log_scale = self._mean_and_log_scale(x.shape[0], context)
        return self._log_density((x - mean) * torch.exp(-log_scale), log_scale)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self._sample_and_log_prob(num_samples, context)[0]

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._mean_and_log_scale(num_samples, context)
        standard = torch.randn_like(mean)
        return mean + standard * torch.exp(log_scale), self._log_density(standard, log_scale)


class Uniform(_Elementary):
    """The uniform distribution on a box.

    p(x) = prod 1 / (high - low) inside, 0 (log_prob -inf) outside

    Args:
        shape: number of features D, or an event shape such as (C, H, W).
        low: lower bound, a number or a tensor that broadcasts to the shape.
        high: upper bound, above `low` in every feature.

    Raises:
        ValueError: where low is not below high in some feature, or a bound does not broadcast to the shape.

    Examples:
        >>> import torch
        >>> Uniform(2, -1.0, 1.0).log_prob(torch.tensor([[0.0, 0.5], [0.0, 2.0]]))
        tensor([-1.3863,    -inf])
    """

    def __init__(self, shape: Shape, low: Values = 0.0, high: Values = 1.0) -> None:
        super().__init__(shape)
        for name, bound in (("low", low), ("high", high)):
            self.register_buffer(name, _bound(bound, name, self._shape))
        self.low: Tensor
        self.high: Tensor
        if not self.low.is_meta and not bool((self.low < self.high).all()):
            raise ValueError(f"low must be below high in every feature; got low={shown(low)}, high={shown(high)}")

    @property
    def support(self) -> Constraint:
        return of_events(constraints.interval(self.low, self.high), self._shape)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        inside = ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
        log_prob = torch.where(inside, -torch.log(self.high - self.low).sum(), -math.inf)
        return log_prob.masked_fill(x.isnan().flatten(1).any(1), math.nan)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        unit = torch.rand(num_samples, *self._shape, dtype=self.low.dtype, device=self.low.device)
        return self.low + (self.high - self.low) * unit


def _bound(bound: Values, name: str, shape: torch.Size) -> Tensor:
    """A bound of each feature; ValueError where it is no number, or does not broadcast to the shape."""
    values = as_tensor(bound, name).to(torch.get_default_device(), torch.get_default_dtype())
    try:
        return values.expand(shape).clone()
    except RuntimeError:
        raise ValueError(
            f"{name} must be a number, or broadcast to the shape {tuple(shape)}; got shape {tuple(values.shape)}"
        ) from None


ELEMENTARY = (StandardNormal, StandardLogistic, DiagonalNormal, Uniform)  # where flows start from
