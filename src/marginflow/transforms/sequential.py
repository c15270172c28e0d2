"""The two ways to build a transform from others: one after the other, and backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from marginflow.base.noise import Sites
from marginflow.base.transform import Transform, no_volume

Direction = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Sequential(Transform):
    """Transforms one after the other; data enters the first. With none it is the identity.

    log_det = sum of the parts' log_det

    recompute: whether, where gradients are wanted, only what enters each part is kept, and the rest computed once more
        on the way back: memory for time. Parts that hold a `Sequential` of their own are left to that. See
        `train.checkpoint`; Chen, Xu, Zhang, Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016
        (arXiv 1604.06174).

    >>> import torch
    >>> from marginflow.transforms import Planar
    >>> len(Sequential(Planar(2), Planar(2)))
    2
    """

    def __init__(self, *transforms: Transform) -> None:
        super().__init__()
        for transform in transforms:
            if not isinstance(transform, Transform):
                raise ValueError(f"expected transforms, first to last; got {type(transform).__name__}")
        self.transforms = nn.ModuleList(transforms)
        self.recompute = False

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

    def _through(
        self, transform: Transform, direction: Direction, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What one direction of a part makes of x, keeping all that its gradient needs, or to be recomputed."""
        if self.recompute and torch.is_grad_enabled() and not _is_nested(transform):
            return cast("tuple[Tensor, Tensor]", checkpoint(direction, x, context, use_reentrant=False))
        return direction(x, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = None
        for transform in self:
            x, log_det = self._through(transform, transform, x, context)
            total = log_det if total is None else total + log_det
        return x, no_volume(x) if total is None else total

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[tuple[Tensor, Tensor]]:
        total = None
        for transform in self:
            x, log_det = yield from transform._noise(x, context)
            total = log_det if total is None else total + log_det
        return x, no_volume(x) if total is None else total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = None
        for transform in reversed(list(self)):
            z, log_det = self._through(transform, transform.inverse, z, context)
            total = log_det if total is None else total + log_det
        return z, no_volume(z) if total is None else total

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        for transform in self:
            shape = transform.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        for transform in reversed(list(self)):
            shape = transform.inverse_shape(shape)
        return shape


def _is_nested(transform: Transform) -> bool:
    return any(isinstance(part, Sequential) for part in transform.modules())


class Inverse(Transform):
    """A transform run backwards: its forward is the other's inverse.

    transform: an exact transform; ValueError for one that draws noise.

    Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016
    (arXiv 1606.04934), is this around a masked autoregressive transform.

    >>> import torch
    >>> from marginflow.transforms import Planar
    >>> z, log_det = Inverse(Planar(2))(torch.zeros(5, 2))
    >>> z.shape
    torch.Size([5, 2])
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
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

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.transform.forward_shape(shape)
