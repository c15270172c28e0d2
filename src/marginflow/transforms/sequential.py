"""The two ways to build a transform from others: one after the other, and backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from torch.utils.checkpoint import checkpoint

from marginflow.base.arguments import common_width
from marginflow.base.noise_sites import Sites
from marginflow.base.transform import Transform, no_volume, require_transform
from marginflow.transforms.chain import WrittenOut, in_one_node, joined

Direction = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Sequential(Transform):
    """Transforms one after the other; data enter the first.

    log_det = sum of the parts' log_det

    With no transforms it is the identity.

    Where the attribute `recompute` is true and gradients are wanted, only what enters each part is stored, and the rest
    is computed once more in the backward pass: memory for time. Parts that hold a `Sequential` of their own leave that
    to it. See `training.TrainConfig.checkpoint`.

    Args:
        *transforms: the parts, first to last in the direction data -> noise.

    Raises:
        ValueError: where a part is no transform, or parts take contexts of different widths.

    References:
        Chen, Xu, Zhang and Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv 1604.06174): recompute.

    Examples:
        >>> import torch
        >>> from marginflow.transforms import Planar
        >>> len(Sequential(Planar(2), Planar(2)))
        2
    """

    def __init__(self, *transforms: Transform) -> None:
        super().__init__()
        for i, transform in enumerate(transforms):
            require_transform(transform, f"part {i}, counted from 0,")
        common_width(transform.context_features for transform in transforms)  # or no context would fit
        self.transforms = nn.ModuleList(transforms)
        self.recompute = False

    def __repr__(self) -> str:
        return f"Sequential{repr(self.transforms).removeprefix('ModuleList')}"

    def __iter__(self) -> Iterator[Transform]:
        return cast("Iterator[Transform]", iter(self.transforms))

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: int) -> Transform:
        return cast(Transform, self.transforms[index])

    @property
    def exact(self) -> bool:
        return all(transform.exact for transform in self)

    @property
    def context_features(self) -> int:
        return max((transform.context_features for transform in self), default=0)

    @property
    def takes_pixels(self) -> bool:
        return any(transform.takes_pixels for transform in self)

    @property
    def any_precision(self) -> bool:
        return all(transform.any_precision for transform in self)

    @property
    def takes_float64(self) -> bool:
        return next((each.takes_float64 for each in self if not each.any_precision), False)

    def _through(
        self, transform: Transform, direction: Direction, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What one direction of a part makes of x, storing all that its gradient needs, or to be recomputed."""
        if self.recompute and torch.is_grad_enabled() and not _is_nested(transform):
            return cast("tuple[Tensor, Tensor]", checkpoint(direction, x, context, use_reentrant=False))
        return direction(x, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = None
        recomputed = self.recompute and torch.is_grad_enabled()
        for group in ([each] for each in self) if recomputed else joined(self, x):
            if len(group) > 1:
                x, log_det = in_one_node(cast("list[WrittenOut]", group), x, context)
            else:
                x, log_det = self._through(group[0], group[0], x, context)
            total = _plus(total, log_det)
        return x, no_volume(x) if total is None else total

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[tuple[Tensor, Tensor]]:
        total = None
        for transform in self:
            x, log_det = yield from transform._noise(x, context)
            total = _plus(total, log_det)
        return x, no_volume(x) if total is None else total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = None
        for transform in reversed(list(self)):
            z, log_det = self._through(transform, transform.inverse, z, context)
            total = log_det if total is None else total + log_det
        return z, no_volume(z) if total is None else total

    def _inverse_with_noise(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        found: list[Tensor] = []
        for transform in reversed(list(self)):
            z, eps = transform._inverse_with_noise(z, context)
            found = [*eps, *found]
        return z, found

    def inverse_support(self, each: Constraint) -> Constraint:
        for transform in reversed(list(self)):
            each = transform.inverse_support(each)
        return each

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        for transform in self:
            shape = transform.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        for transform in reversed(list(self)):
            shape = transform.inverse_shape(shape)
        return shape


def _plus(total: Tensor | None, log_det: Tensor) -> Tensor:
    """A sum of log-determinants in the precision of the last, as float64 rows are brought to another on their way."""
    if total is None:
        return log_det
    return (total if total.dtype == log_det.dtype else total.to(log_det.dtype)) + log_det


def in_sequence(transforms: Transform | Iterable[Transform]) -> Transform:
    """One transform, or a list of them in sequence; ValueError for what is neither."""
    if isinstance(transforms, Iterable) and not isinstance(transforms, str | type | Tensor | Transform):
        return Sequential(*transforms)
    require_transform(transforms, "what is not a list of transforms")
    return cast(Transform, transforms)


def _is_nested(transform: Transform) -> bool:
    return any(isinstance(part, Sequential) for part in transform.modules())


class Inverse(Transform):
    """The inverse of a transform as a transform: its forward is the other's inverse.

    Around a masked autoregressive transform this is the inverse autoregressive flow.

    Args:
        transform: an exact transform.

    Raises:
        ValueError: where the transform draws noise.

    References:
        Kingma and others, Improving Variational Inference with Inverse Autoregressive Flow, 2016 (arXiv 1606.04934).

    Examples:
        >>> import torch
        >>> from marginflow.transforms import Planar
        >>> z, log_det = Inverse(Planar(2))(torch.zeros(5, 2))
        >>> z.shape
        torch.Size([5, 2])
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        require_transform(transform)
        if not transform.exact:
            raise ValueError(f"only an exact transform can run backwards; {type(transform).__name__} draws noise")
        self.transform = transform

    @property
    def context_features(self) -> int:
        return self.transform.context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(z, context)

    def inverse_support(self, each: Constraint) -> Constraint:
        moves_only = self.transform.inverse_support(each) is each  # as a permutation does, whichever way it goes
        return each if moves_only else super().inverse_support(each)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.transform.forward_shape(shape)
