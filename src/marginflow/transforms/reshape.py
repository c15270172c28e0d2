"""Rearrangements: the volume stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.masked.order import Order
from marginflow.shapes import Shape, as_shape
from marginflow.transforms.base import Transform, no_volume


class Flatten(Transform):
    """Images to rows: (N, C, H, W) -> (N, C H W), planes one after the other.

    shape: the event shape of x.

    >>> import torch
    >>> Flatten((3, 32, 32))(torch.zeros(5, 3, 32, 32))[0].shape
    torch.Size([5, 3072])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = as_shape(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1), no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.reshape(-1, *self.shape), no_volume(z)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        if shape != self.shape:
            raise ValueError(f"Flatten was built for events of shape {tuple(self.shape)}; got {tuple(shape)}")
        return torch.Size([shape.numel()])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        if shape != (self.shape.numel(),):
            raise ValueError(
                f"Flatten{tuple(self.shape)} makes {self.shape.numel()} features; what follows has shape {tuple(shape)}"
            )
        return self.shape

    def extra_repr(self) -> str:
        return str(tuple(self.shape))


class Permutation(Transform):
    """Reorder the features: z[:, i] = x[:, order[i]], log_det = 0.

    features: D, or the number of channels of images.
    order: "sequential" (as they are), "reversed", "random" (drawn from `seed`) or the list of features first to last.

    The order is saved with the weights; loading those of another order is refused.

    >>> import torch
    >>> Permutation(3, [2, 0, 1])(torch.tensor([[10.0, 11.0, 12.0]]))[0]
    tensor([[12., 10., 11.]])
    """

    def __init__(self, features: int, order: str | Sequence[int] = "reversed", seed: int = 0) -> None:
        super().__init__()
        self.features = features
        self.order = Order(features, order, seed)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_features(x.shape[1])
        return self.order.reorder(x), no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_features(z.shape[1])
        return self.order.restore(z), no_volume(z)
