"""A density of another library behind our contract."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from marginflow.base.distribution import Distribution
from marginflow.base.not_finite import not_finite
from marginflow.base.shapes import Shape, as_shape
from marginflow.base.transform import Transform
from marginflow.distributions import Flow, StandardNormal
from marginflow.transforms.round_trip import TOLERANCE, miss


@dataclass(frozen=True)
class Maps:
    """How the map of a library's flows is called, each way with its log-determinant.

    Args:
        attribute: which a module that shows its map has.
        forward: the call from rows to noise.
        inverse: the call from noise to rows.
    """

    attribute: str
    forward: Callable[[Any, Tensor, Tensor | None], tuple[Tensor, Tensor]]
    inverse: Callable[[Any, Tensor, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Calls:
    """How a library's densities are called; each is given the module first, then as in `Distribution`.

    Args:
        library: its name, for messages.
        log_prob: log p of rows.
        sample: draws.
        sample_and_log_prob: reparameterised draws and their log p.
        maps: how the map inside is called, where the library shows it.
    """

    library: str
    log_prob: Callable[[Any, Tensor, Tensor | None], Tensor]
    sample: Callable[[Any, int, Tensor | None], Tensor]
    sample_and_log_prob: Callable[[Any, int, Tensor | None], tuple[Tensor, Tensor]]
    maps: Maps | None = None


class Foreign(Distribution):
    """A density of another library as a `Distribution`; its parameters are trained, moved and saved with it.

    Samples are flagged, where the library shows its map, by the round trip from x to noise and to x again: the noise
    that they were drawn from is not known here. Made by `from_zuko`, `from_nflows`, `from_normflows` and `from_torch`.

    Args:
        module: the density.
        calls: how it is called.
        event_shape: of one row.
        context_features: the width of its context; 0 without one.
        support: where it may be positive; None where it does not say, and where it depends on the context.

    Raises:
        ValueError: where the module cannot be called with rows of that shape and contexts of that width.
    """

    def __init__(
        self,
        module: nn.Module,
        calls: Calls,
        event_shape: torch.Size,
        context_features: int = 0,
        support: Constraint | None = None,
    ) -> None:
        super().__init__()
        self._support = None if context_features else support
        self.module, self.calls = module, calls
        self._shape, self._context_features = event_shape, context_features
        try_once(calls.library, calls.log_prob, module, event_shape, context_features)

    @property
    def elementary(self) -> bool:
        return False

    @property
    def event_shape(self) -> torch.Size:
        return self._shape

    @property
    def context_features(self) -> int:
        return self._context_features

    @property
    def support(self) -> Constraint:
        return super().support if self._support is None else self._support

    @property
    def shows_map(self) -> bool:
        """Whether its map from rows to noise can be called."""
        return self.calls.maps is not None and hasattr(self.module, self.calls.maps.attribute)

    def to_latent(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and log |det dz/dx| at rows x; ValueError where the density shows no map."""
        return self._maps().forward(self.module, x, self._used(context))

    def from_latent(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x and log |det dx/dz| at noise z; ValueError where the density shows no map."""
        return self._maps().inverse(self.module, z, self._used(context))

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        """A `Flow` over its own map, to the N(0, I) that its noise is taken for; itself where it shows none."""
        return Flow(ForeignMap(self), StandardNormal(self._shape)) if self.shows_map else self, x, context

    def _maps(self) -> Maps:
        if self.calls.maps is None or not self.shows_map:
            raise ValueError(f"this density of {self.calls.library} does not show its map from rows to noise")
        return self.calls.maps

    def _used(self, context: Tensor | None) -> Tensor | None:
        return context if self._context_features else None

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        if x.shape[0] == 0:  # which not every library can take
            return x.new_zeros(0)
        log_prob = self.calls.log_prob(self.module, x, self._used(context))
        if log_prob.shape != (x.shape[0],):
            raise ValueError(
                f"this density of {self.calls.library} gives log_prob of shape {tuple(log_prob.shape)} for "
                f"{x.shape[0]} rows; expected ({x.shape[0]},): its events may be of another shape than "
                f"{tuple(self._shape)}"
            )
        return log_prob

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        if num_samples == 0:
            return self._none()
        return self.calls.sample(self.module, num_samples, self._used(context))

    def _sample_and_flag(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._sample(num_samples, context)
        flagged = not_finite(x)
        if self.shows_map and num_samples:
            there = torch.where(flagged.view(-1, *[1] * (x.ndim - 1)), torch.zeros_like(x), x)
            flagged = flagged | (
                miss(there, self.from_latent(self.to_latent(there, context)[0], context)[0]) > TOLERANCE
            )
        return x, flagged

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if num_samples == 0:
            return self._none(), self._none().flatten()[:0]
        return self.calls.sample_and_log_prob(self.module, num_samples, self._used(context))

    def _none(self) -> Tensor:
        """No draws, where and in the precision that draws would be."""
        return next(self.module.parameters(), torch.zeros(())).detach().new_empty(0, *self._shape)


class ForeignMap(Transform):
    """The map inside a density of another library that shows it."""

    def __init__(self, foreign: Foreign) -> None:
        super().__init__()
        self.foreign = foreign

    @property
    def context_features(self) -> int:
        return self.foreign.context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.foreign.to_latent(x, context)
        return z, log_det.to(z.dtype)  # some begin to sum in the default precision

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = self.foreign.from_latent(z, context)
        return x, log_det.to(x.dtype)


@contextmanager
def built_for_others(library: str, context_features: int, rows: str = "") -> Iterator[None]:
    """What a library raises inside, where it is given what it was not built for, becomes a ValueError that says so."""
    try:
        yield
    except (RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"this density of {library} cannot be called with {rows}{context_features} context features ({error}): "
            f"give the {'shape and the ' if rows else ''}context_features that it was built for"
        ) from error


@torch.no_grad()
def try_once(
    library: str, call: Callable[..., Any], module: nn.Module, shape: torch.Size, context_features: int
) -> None:
    """Call a copy of the module with two rows and contexts, as it will be: ValueError where it was built for others.

    A copy, because layers of some libraries initialise themselves by the first rows that they see.
    """
    like = next(module.parameters(), torch.zeros(()))
    context = like.new_zeros(2, context_features) if context_features else None
    rows = torch.stack([like.new_zeros(shape), like.new_ones(shape)])
    with built_for_others(library, context_features, f"rows of shape {tuple(shape)} and "), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(ValueError):  # as of zeros that lie outside the support
            call(copy.deepcopy(module).eval(), rows, context)


def require_methods(flow: object, library: str, *methods: str) -> None:
    """Refuse what is not a module, or lacks one of the methods."""
    missing = [f"no {name}" for name in methods if not callable(getattr(flow, name, None))]
    if not isinstance(flow, nn.Module):
        missing = ["no parameters, as it is not a module"]
    if missing:
        raise ValueError(
            f"{type(flow).__name__} has {' and '.join(missing)}; expected a density of {library}, a module with "
            f"{' and '.join(methods)}"
        )


def shape_of(said: Shape | None, given: Shape | None, library: str) -> torch.Size:
    """The event shape that the flow says, or the caller does; ValueError where they differ or neither does."""
    if said is None and given is None:
        raise ValueError(f"this density of {library} does not say the shape of its events: give shape=...")
    shape = as_shape(cast(Shape, said if given is None else given))
    if said is not None and as_shape(said) != shape:
        raise ValueError(
            f"this density of {library} has events of shape {tuple(as_shape(said))}; got shape={given}: leave it out"
        )
    return shape
