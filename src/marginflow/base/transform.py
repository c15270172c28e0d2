"""The contracts of a transform, from data to noise, and of a monotonic scalar function."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from marginflow.base.arguments import shown
from marginflow.base.call import RemembersArguments
from marginflow.base.noise_sites import Sites
from marginflow.base.shapes import require_real
from marginflow.base.support import REAL


def no_volume(x: Tensor) -> Tensor:
    """The log_det of the identity, (N,), real also where x is pixels."""
    return torch.zeros(x.shape[0], device=x.device, dtype=x.dtype if x.is_floating_point() else None)


def of_pixels(log_det: Tensor, x: Tensor) -> Tensor:
    """The log-determinant (N,) of what adds the same to it for each pixel of x (N, C, ...), or once for a vector."""
    return (log_det * math.prod(x.shape[2:])).expand(x.shape[0])


class Transform(RemembersArguments, nn.Module, ABC):
    """An invertible map in the direction data -> noise.

    forward(x, context)  (N, *event) -> z, log|det dz/dx| (N,)
    inverse(z, context)  (N, *event) -> x, log|det dx/dz| (N,)

    The context, where the transform uses one, has one row for each row of x. All log-determinants are in nats, summed
    over the event. The attribute `features` is the size of dimension 1 that the transform was built for, None where it
    takes any; `of_vectors` says whether it takes vectors (N, D) alone.
    """

    features: int | None = None
    of_vectors = False

    @property
    def exact(self) -> bool:
        """False where the transform draws noise: log_det is then the likelihood contribution of the draw."""
        return True

    @property
    def context_features(self) -> int:
        """The width of the context that the transform uses; 0 where it uses none."""
        return 0

    @property
    def takes_pixels(self) -> bool:
        """Whether whole grey levels go in, because it dequantises them."""
        return False

    @property
    def any_precision(self) -> bool:
        """Whether it has no weights, and leaves rows in the precision that they have."""
        return False

    @property
    def takes_float64(self) -> bool:
        """Whether rows in float64 go in as they are, and come out in the precision of the transform."""
        return False

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to noise.

        Args:
            x: (N, *event).
            context: (N, C) or (N, C, ...), one row for each row of x; None where the transform uses none.

        Returns:
            z, (N, *event), and log|det dz/dx|, (N,), in nats.
        """

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map noise to data.

        Args:
            z: (N, *event).
            context: (N, C) or (N, C, ...), one row for each row of z; None where the transform uses none.

        Returns:
            x, (N, *event), and log|det dx/dz|, (N,), in nats.
        """

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[tuple[Tensor, Tensor]]:
        """The sites at which `forward` draws noise; returns z, and log_det without the -log q(eps | x) of the noise."""
        yield from ()
        return self(x, context)

    def _inverse_with_noise(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """x of `inverse`, and the noise of each site of `_noise` that it leaves behind."""
        return self.inverse(z, context)[0], []

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The event shape of z for x of a given event shape.

        Args:
            shape: the event shape of x, (D,) or (C, H, W).

        Returns:
            The event shape of z.

        Raises:
            ValueError: where the transform does not fit the shape.
        """
        self._require_shape(shape)
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The event shape of x for z of a given event shape.

        Args:
            shape: the event shape of z, (D,) or (C, H, W).

        Returns:
            The event shape of x.

        Raises:
            ValueError: where the transform does not fit the shape.
        """
        self._require_shape(shape)
        return shape

    def inverse_support(self, each: Constraint) -> Constraint:
        """What each number of x keeps to, as far as is known, where each number of z keeps to a constraint.

        Args:
            each: a constraint of torch.distributions, of single numbers, such as `constraints.real`.

        Returns:
            One for the numbers of x, which may be wider than need be.
        """
        return REAL

    def require_input(self, x: Tensor) -> None:
        """Refuse rows of another width than the transform was built for, and whole numbers.

        Args:
            x: (N, *event).

        Raises:
            ValueError: where x is not floating point, or dimension 1 has another size than `features`.
        """
        require_real(x)
        self._require_shape(x.shape[1:])

    def _require_shape(self, shape: torch.Size) -> None:
        """Refuse events that are no vectors where it takes these alone, and another size of dimension 1."""
        if self.of_vectors and len(shape) != 1:
            raise ValueError(
                f"{type(self).__name__} works on vectors (D,); got events of shape {tuple(shape)}: put "
                f"Flatten({tuple(shape)}) in front"
            )
        self.require_features(shape[0])

    def require_features(self, features: int) -> None:
        """Refuse another size of dimension 1 than the transform was built for.

        Args:
            features: the size of dimension 1.

        Raises:
            ValueError: where it differs from that of the transform.
        """
        if self.features is not None and features != self.features:
            raise ValueError(
                f"{type(self).__name__} was built for {self.features} features; got {features}: "
                "build it for as many as reach it"
            )


class Identity(Transform):
    """The identity.

    z = x,  log_det = 0

    Examples:
        >>> import torch
        >>> Identity()(torch.ones(1, 2))
        (tensor([[1., 1.]]), tensor([0.]))
    """

    @property
    def any_precision(self) -> bool:
        return True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z, no_volume(z)

    def inverse_support(self, each: Constraint) -> Constraint:
        return each


def require_transform(transform: object, what: str = "a transform") -> None:
    """Refuse what is no transform: ValueError."""
    if not isinstance(transform, Transform):
        raise ValueError(f"{what} must be a transform, such as Planar(2); got {shown(transform)}")


def as_univariate(given: object) -> Univariate:
    """What has the methods of a `Univariate`; ValueError for what has not, and for a class, which is to be built."""
    if isinstance(given, type) or not all(hasattr(given, name) for name in ("num_params", "forward", "inverse")):
        raise ValueError(f"univariate must be a scalar function, such as Affine(); got {shown(given)}")
    return cast(Univariate, given)


class Univariate(Protocol):
    """A strictly increasing scalar function with `num_params` parameters for each element.

    forward(x, params)  x (...), params (..., num_params) -> y, log dy/dx (...)
    inverse(y, params)  y (...), params (..., num_params) -> x, log dx/dy (...)

    It has no state: all that varies comes in through `params`, unbounded real numbers.

    It may also have `kernel`, the name and the constant of its compiled inverse in `nets/masked/kernel_numba.py`, with
    which autoregressive sampling runs several times faster than without.
    """

    @property
    def num_params(self) -> int:
        """The number of parameters of each element."""
        ...

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The function and the logarithm of its derivative, element by element.

        Args:
            x: (...).
            params: (..., num_params), unbounded.

        Returns:
            y and log dy/dx, both (...).
        """
        ...

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse function and the logarithm of its derivative, element by element.

        Args:
            y: (...).
            params: (..., num_params), unbounded.

        Returns:
            x and log dx/dy, both (...).
        """
        ...
