"""Densities from elsewhere: all that is known of them, and our contract around them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from marginflow.base.distribution import Density, Distribution
from marginflow.base.shapes import as_shape


def event_shape_of(density: Density) -> torch.Size | None:
    """The shape of one event; None where a density from elsewhere does not say."""
    shape = getattr(density, "event_shape", None)
    return None if shape is None else as_shape(shape)


def is_exact(density: Density) -> bool:
    """Whether log_prob is the log density itself; what comes from elsewhere is taken at its word."""
    return getattr(density, "exact", True)


def context_features_of(density: Density, unknown: int = 0) -> int:
    """The width of the context that it uses; `unknown` where it does not say."""
    width = getattr(density, "context_features", None)
    return unknown if width is None else width


def is_context_optional(density: Density) -> bool:
    """Whether the context may be left out."""
    return getattr(density, "context_optional", False)


def takes_pixels(density: Density) -> bool:
    """Whether its rows are whole grey levels."""
    return getattr(density, "takes_pixels", False)


def optional(context: Tensor | None) -> tuple[Tensor, ...]:
    """The context as positional arguments, none where there is none: densities from elsewhere may not take one."""
    return () if context is None else (context,)


def as_distribution(density: Density, context_features: int = 0) -> Distribution:
    """A density as a `Distribution`: itself where it is one, in an `Adapter` where it is not.

    context_features: the width of its context, where it does not say. ValueError for what is no density.
    """
    return density if isinstance(density, Distribution) else Adapter(density, context_features)


def require_distribution(model: object) -> None:
    """Refuse what is no `Distribution`: ValueError."""
    if not isinstance(model, Distribution):
        raise ValueError(f"{type(model).__name__} is not a marginflow distribution: wrap it in Flow([], base=...)")


def sample_and_flag(density: Density, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Draws of any density, and which of them not to trust; see `Distribution.sample_and_flag`."""
    return as_distribution(density).sample_and_flag(num_samples, context)


class Adapter(Distribution):
    """A density from elsewhere, with log_prob and sample of our form, as a `Distribution`.

    given: the density; its attributes event_shape, exact, context_features and context_optional are believed where it
    has them. context_features: where it has not.
    """

    def __init__(self, given: Density, context_features: int = 0) -> None:
        super().__init__()
        if isinstance(given, torch.distributions.Distribution):
            raise ValueError(
                f"{type(given).__name__} is one of torch's: marginflow.interop.from_torch makes a density of it"
            )
        if not isinstance(given, Density) or isinstance(given, type):
            what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
            raise ValueError(f"expected a density, with the methods log_prob and sample; got {what}")
        self.given = given
        self._context_features = context_features_of(given, context_features)

    @property
    def event_shape(self) -> torch.Size | None:
        return event_shape_of(self.given)

    @property
    def exact(self) -> bool:
        return is_exact(self.given)

    @property
    def context_features(self) -> int:
        return self._context_features

    @property
    def context_optional(self) -> bool:
        return is_context_optional(self.given)

    @property
    def takes_pixels(self) -> bool:
        return takes_pixels(self.given)

    def with_base(self, change: Callable[[Density], Distribution]) -> Distribution:
        return change(self.given)

    def _used(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return optional(context if self._context_features else None)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_prob = self.given.log_prob(x, *self._used(context))
        if not isinstance(log_prob, Tensor) or log_prob.shape != (len(x),):
            got = tuple(log_prob.shape) if isinstance(log_prob, Tensor) else type(log_prob).__name__
            raise ValueError(
                f"{type(self.given).__name__}.log_prob must give a tensor ({len(x)},) for so many rows; got {got}"
            )
        return log_prob

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.given.sample(num_samples, *self._used(context))
