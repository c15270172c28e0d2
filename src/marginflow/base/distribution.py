"""The contracts of a density and of a distribution, and what their callers share."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Density(Protocol):
    """All that a density from elsewhere must offer to be a base or to be marginalised."""

    def log_prob(self, x: Tensor, context: Tensor | None = None, /) -> Tensor:
        """log p(x | context) in nats: (N, *event) -> (N,)."""
        ...

    def sample(self, num_samples: int, context: Tensor | None = None, /) -> Tensor:
        """Independent draws: (num_samples, *event)."""
        ...


def optional(context: Tensor | None) -> tuple[Tensor, ...]:
    """The context as positional arguments, none where there is none: densities from elsewhere may not take one."""
    return () if context is None else (context,)


def event_shape_of(density: Density) -> torch.Size | None:
    """The shape of one event; None where a density from elsewhere does not say."""
    shape = getattr(density, "event_shape", None)
    return None if shape is None else torch.Size(shape)


def is_exact(density: Density) -> bool:
    """Whether log_prob is the log density itself; what comes from elsewhere is taken at its word."""
    return getattr(density, "exact", True)


def context_features_of(density: Density, unknown: int = 0) -> int:
    """The width of the context that it uses; `unknown` where it does not say."""
    return getattr(density, "context_features", unknown)


def is_context_optional(density: Density) -> bool:
    """Whether the context may be left out."""
    return getattr(density, "context_optional", False)


def takes_pixels(density: Density) -> bool:
    """Whether its rows are whole grey levels."""
    return getattr(density, "takes_pixels", False)


def not_finite(x: Tensor) -> Tensor:
    """Which rows hold a value that is no finite number, (N,)."""
    return ~torch.isfinite(x.flatten(1)).all(1)


def warn_of_diverged(samples: Tensor) -> None:
    """Flag samples that are not finite with a RuntimeWarning: they are never returned silently."""
    diverged = int(not_finite(samples).sum())
    if diverged:
        warnings.warn(f"{diverged} of {len(samples)} samples are not finite", RuntimeWarning, stacklevel=3)


def check_num_samples(num_samples: int) -> None:
    """Refuse a negative number of draws."""
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative; got {num_samples}")


class Distribution(nn.Module, ABC):
    """A distribution over events of `event_shape`.

    log_prob(x, context)    (N, *event) -> (N,), log p(x) in nats
    sample(num, context)    -> (num, *event), independent draws without gradients

    The context, where a part uses one, has one row for each row of x (for each sample in `sample`).
    """

    @property
    def event_shape(self) -> torch.Size | None:
        """The shape of one event; None where a density from elsewhere does not say."""
        return None

    @property
    def exact(self) -> bool:
        """Whether log_prob is the log density itself.

        False once a part draws noise: log_prob is then one random draw of log w with E[w] = p(x),
        a lower bound on average (`log_likelihood` tightens it).
        """
        return True

    @property
    def context_features(self) -> int:
        """The width of the context that some part uses; 0 where none does."""
        return 0

    @property
    def context_optional(self) -> bool:
        """Whether the context may be left out, as by a mixture, which then averages over it."""
        return False

    @property
    def takes_pixels(self) -> bool:
        """Whether rows are whole grey levels, uint8, because it dequantises them."""
        return False

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Density, Tensor, Tensor | None]:
        """The density that stands inside, with rows and context as that one takes them; itself where there is none.

        What appends noise or a label draws it once, from torch's global generator.
        """
        return self, x, context

    def with_base(self, change: Callable[[Density], Distribution]) -> Distribution:
        """The same weights over another base, which `change` makes of its own; of itself where it has none."""
        return change(self)

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats: (N, *event) -> (N,)."""

    @abstractmethod
    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        """Independent draws without gradients: (num_samples, *event)."""

    @abstractmethod
    def sample_and_log_prob(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reparameterised draws and their log_prob, gradients kept; ValueError unless `exact`."""

    @torch.no_grad()
    def sample_and_flag(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The draws of `sample`, and which of them not to trust, (num_samples,).

        Those are the ones that hold a value that is not finite, and where a flow maps noise to samples, those whose way
        back misses the noise by more than 1e-3: they have left the range in which the precision inverts.
        """
        x = self.sample(num_samples, context)
        return x, not_finite(x)

    def sample_each(self, num_samples: int, context: Tensor) -> Tensor:
        """Several draws for each row of a context: context (M, C, ...) -> (M, num_samples, *event)."""
        check_num_samples(num_samples)
        drawn = self.sample(len(context) * num_samples, context.repeat_interleave(num_samples, 0))
        return drawn.unflatten(0, (len(context), num_samples))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_prob(x, context)


def sample_and_flag(density: Density, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Draws of any density, and which of them not to trust; see `Distribution.sample_and_flag`."""
    if isinstance(density, Distribution):
        return density.sample_and_flag(num_samples, context)
    x = density.sample(num_samples, *optional(context))
    return x, not_finite(x)


def innermost(density: Density, x: Tensor, context: Tensor | None = None) -> tuple[Density, Tensor, Tensor | None]:
    """The density inside all wrappers, with rows and context as that one takes them; see `Distribution.unwrap`."""
    while isinstance(density, Distribution):
        inner, x, context = density.unwrap(x, context)
        if inner is density:
            break
        density = inner
    return density, x, context


def with_base(density: Density, change: Callable[[Density], Distribution]) -> Distribution:
    """Any density over another base; see `Distribution.with_base`."""
    return density.with_base(change) if isinstance(density, Distribution) else change(density)


class Wrapper(Distribution, ABC):
    """A distribution around another density, `flow`, whose events it shares."""

    def __init__(self, flow: Density) -> None:
        super().__init__()
        self.flow = flow

    @property
    def event_shape(self) -> torch.Size | None:
        return event_shape_of(self.flow)

    @property
    def exact(self) -> bool:
        return is_exact(self.flow)

    @property
    def takes_pixels(self) -> bool:
        return takes_pixels(self.flow)

    def own_flow(self) -> Distribution:
        """The flow, where it is a distribution of ours, which alone draws with gradients; ValueError else."""
        if not isinstance(self.flow, Distribution):
            raise ValueError("sample_and_log_prob needs a marginflow density inside; use sample and log_prob")
        return self.flow
