"""Densities from elsewhere: what they say of themselves, and the contract of a `Distribution` around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType

import numpy as np
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.arguments import as_whole
from marginflow.base.distribution import Density, Distribution
from marginflow.base.frames import column_names
from marginflow.base.shapes import as_shape
from marginflow.base.transform import Transform

FOREIGN = {"zuko": "from_zuko", "nflows": "from_nflows", "normflows": "from_normflows", "FrEIA": "from_freia"}


def event_shape_of(density: Density) -> torch.Size | None:
    """The event shape of any density.

    Args:
        density: a `Distribution`, or a density from elsewhere.

    Returns:
        Its event shape, such as (D,) or (C, H, W); None where a density from elsewhere does not say.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> event_shape_of(StandardNormal(2))
        torch.Size([2])
    """
    shape = getattr(density, "event_shape", None)
    return None if shape is None else as_shape(shape)


def is_exact(density: Density) -> bool:
    """Whether log_prob of any density is the log density itself.

    Args:
        density: a `Distribution`, or a density from elsewhere.

    Returns:
        Its attribute `exact`; True where a density from elsewhere does not say.

    Examples:
        >>> from marginflow import models
        >>> from marginflow.distributions import Marginalising, StandardNormal
        >>> is_exact(StandardNormal(2)), is_exact(Marginalising(models.planar(3), StandardNormal(1)))
        (True, False)
    """
    return getattr(density, "exact", True)


def context_features_of(density: Density, unknown: int = 0) -> int:
    """The width of the context that any density uses.

    Args:
        density: a `Distribution`, or a density from elsewhere.
        unknown: the width to return where a density from elsewhere does not say.

    Returns:
        The number of features of its context; 0 where it uses none.

    Examples:
        >>> from marginflow import models
        >>> context_features_of(models.maf(2, hidden=[16], context_features=3))
        3
    """
    width = getattr(density, "context_features", None)
    return unknown if width is None else width


def is_context_optional(density: Density) -> bool:
    """Whether the context of any density may be left out.

    Args:
        density: a `Distribution`, or a density from elsewhere.

    Returns:
        Its attribute `context_optional`; False where a density from elsewhere does not say.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> is_context_optional(StandardNormal(2))
        False
    """
    return getattr(density, "context_optional", False)


def takes_pixels(density: Density) -> bool:
    """Whether the rows of any density are pixels, whole grey levels.

    Args:
        density: a `Distribution`, or a density from elsewhere.

    Returns:
        Its attribute `takes_pixels`; False where a density from elsewhere does not say.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> takes_pixels(StandardNormal(2))
        False
    """
    return getattr(density, "takes_pixels", False)


def optional(context: Tensor | None) -> tuple[Tensor, ...]:
    """The context as positional arguments, as densities from elsewhere may take none.

    Args:
        context: (N, C, ...), or None.

    Returns:
        (context,), or () where it is None.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> StandardNormal(2).sample(3, *optional(None)).shape
        torch.Size([3, 2])
    """
    return () if context is None else (context,)


def as_distribution(density: Density, context_features: int = 0) -> Distribution:
    """A density as a `Distribution`: itself where it is one, in an `Adapter` where it is not.

    Args:
        density: with the methods log_prob and sample.
        context_features: the width of its context, where it does not say.

    Returns:
        A `Distribution` that shares its weights.

    Raises:
        ValueError: where it is no density.
    """
    return density if isinstance(density, Distribution) else Adapter(density, context_features)


def require_distribution(model: object) -> None:
    """Refuse what is no `Distribution` with a ValueError."""
    if isinstance(model, Distribution):
        return
    _refuse_foreign(model)
    name = f"the {'class' if isinstance(model, type) else 'function'} {getattr(model, '__name__', '')}"
    if isinstance(model, type | FunctionType | MethodType | partial):
        raise ValueError(f"{name} is not a marginflow distribution: call it, model(...), and give what it returns")
    raise ValueError(f"{type(model).__name__} is not a marginflow distribution: {_remedy(model)}")


def _remedy(model: object) -> str:
    """How to come by a distribution, from what is none."""
    if isinstance(model, Transform):
        return "wrap it in Flow([model], base=marginflow.distributions.StandardNormal(features))"
    if isinstance(model, Density):
        return "wrap it in Flow([], base=model)"
    if isinstance(model, Tensor | np.ndarray | list | tuple) or column_names(model):
        return "the model comes first, then the rows, as in fit(model, x)"
    return "build one, such as marginflow.models.maf(features), or load one by marginflow.load(path)"


def _refuse_foreign(given: object) -> None:
    """Refuse flows of other libraries, and torch's distributions: ValueError that names what takes them."""
    name = type(given).__name__
    for kind in type(given).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in FOREIGN and not isinstance(given, torch.distributions.Distribution):
            raise ValueError(
                f"{name} is one of {library}'s, not a marginflow distribution: give "
                f"marginflow.interop.{FOREIGN[library]}(model)"
            )
    if isinstance(given, torch.distributions.Distribution):
        raise ValueError(f"{name} is one of torch's: marginflow.interop.from_torch makes a density of it")


def sample_and_flag(density: Density, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Samples of any density, and which of them not to trust; see `Distribution.sample_and_flag`.

    Args:
        density: a `Distribution`, or a density from elsewhere.
        num_samples: number of samples N.
        context: (N, C, ...), a row for each sample; None where the density uses none.

    Returns:
        The samples (N, *event), and a mask (N,), True at those not to trust.

    Raises:
        ValueError: where it is no density, num_samples is negative, or the context does not fit.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> samples, flagged = sample_and_flag(StandardNormal(2), 3)
        >>> samples.shape, flagged
        (torch.Size([3, 2]), tensor([False, False, False]))
    """
    return as_distribution(density).sample_and_flag(num_samples, context)


class Adapter(Distribution):
    """A density from elsewhere, with the methods of a `Density`, as a `Distribution`.

    Args:
        given: the density; its attributes event_shape, exact, context_features, context_optional and takes_pixels are
            believed where it has them.
        context_features: the width of its context, where it does not say.

    Raises:
        ValueError: where it is no density, or one of torch's.
    """

    def __init__(self, given: Density, context_features: int = 0) -> None:
        super().__init__()
        if isinstance(given, torch.distributions.Distribution):
            _refuse_foreign(given)
        if not isinstance(given, Density) or isinstance(given, type):
            _refuse_foreign(given)
            what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
            raise ValueError(f"expected a density, with the methods log_prob and sample; got {what}")
        self.given = given
        self._context_features = context_features_of(given, as_whole(context_features, "context_features"))

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

    @property
    def support(self) -> Constraint:
        said = getattr(self.given, "support", None)
        return said if isinstance(said, Constraint) else super().support

    def with_base(self, change: Callable[[Density], Distribution]) -> Distribution:
        return change(self.given)

    def _used(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return optional(context if self._context_features else None)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_prob = self.given.log_prob(x, *self._used(context))
        if not isinstance(log_prob, Tensor) or log_prob.shape != (x.shape[0],):
            got = tuple(log_prob.shape) if isinstance(log_prob, Tensor) else type(log_prob).__name__
            raise ValueError(
                f"{type(self.given).__name__}.log_prob must give a tensor ({x.shape[0]},) for so many rows; got {got}"
            )
        return log_prob

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.given.sample(num_samples, *self._used(context))
