"""Rearrangements: the volume stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from marginflow.masked.degrees import resolve_order
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
        resolved = resolve_order(order, features, torch.Generator().manual_seed(seed))
        self.order: Tensor
        self.inverse_order: Tensor
        self.register_buffer("order", resolved)
        self.register_buffer("inverse_order", torch.argsort(resolved), persistent=False)
        self.features = features
        self._is_identity = bool(torch.equal(resolved, torch.arange(features)))

    def reorder(self, x: Tensor) -> Tensor:
        """x (N, D, ...) in the new order."""
        self.check_features(x.shape[1])
        return x if self._is_identity else x.index_select(1, self.order)

    def restore(self, z: Tensor) -> Tensor:
        """z (N, D, ...) back in the order of x."""
        self.check_features(z.shape[1])
        return z if self._is_identity else z.index_select(1, self.inverse_order)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.reorder(x), no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.restore(z), no_volume(z)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        loaded, mine = state_dict.get(prefix + "order"), self.order.clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if loaded is not None and not torch.equal(loaded.to(mine.device), mine):
            self.order.copy_(mine)
            errors: list[str] = args[-1] if args else kwargs["error_msgs"]
            errors.append(f"{prefix}order is another one: build the model with the order and seed it was trained with")
