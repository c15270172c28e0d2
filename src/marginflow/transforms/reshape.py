"""Rearrangements: the volume stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.arguments import as_whole
from marginflow.base.shapes import Shape, as_shape, image_shape
from marginflow.base.transform import Transform, no_volume
from marginflow.nets.masked.order import FeatureOrder


class Flatten(Transform):
    """Flatten images to vectors, (N, C, H, W) -> (N, C H W), channel after channel.

    log_det = 0

    Args:
        shape: the event shape of x.

    Raises:
        ValueError: where `shape` is no event shape, or rows have another.

    Examples:
        >>> import torch
        >>> Flatten((3, 32, 32))(torch.zeros(5, 3, 32, 32))[0].shape
        torch.Size([5, 3072])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = as_shape(shape)

    @property
    def any_precision(self) -> bool:
        return True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.forward_shape(x.shape[1:])
        return x.flatten(1), no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.inverse_shape(z.shape[1:])
        return z.reshape(z.shape[0], *self.shape), no_volume(z)

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

    def inverse_support(self, each: Constraint) -> Constraint:
        return each

    def extra_repr(self) -> str:
        return str(tuple(self.shape))


class Permutation(Transform):
    """A fixed permutation of the features.

    z[:, i] = x[:, order[i]],  log_det = 0

    The order is saved with the weights; loading those of another order is refused.

    Args:
        features: D, or the number of channels of images.
        order: "sequential" (as they are), "reversed", "random" (drawn from `seed`) or the list of features first to
            last.
        seed: for a random order.

    Raises:
        ValueError: where `order` is not a permutation of the features, or `features` is below 1.

    Examples:
        >>> import torch
        >>> Permutation(3, [2, 0, 1])(torch.tensor([[10.0, 11.0, 12.0]]))[0]
        tensor([[12., 10., 11.]])
    """

    def __init__(self, features: int, order: str | Sequence[int] = "reversed", seed: int = 0) -> None:
        super().__init__()
        self.features = as_whole(features, "features", least=1)
        self.order = FeatureOrder(self.features, order, seed)

    def __repr__(self) -> str:
        return f"Permutation({self.features}, {self.order})"

    @property
    def any_precision(self) -> bool:
        return True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_features(x.shape[1])
        return self.order.reorder(x), no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_features(z.shape[1])
        return self.order.restore(z), no_volume(z)

    def inverse_support(self, each: Constraint) -> Constraint:
        return each


class Squeeze(Transform):
    """Squeeze patches of pixels into channels, (N, C, H, W) -> (N, f^2 C, H / f, W / f).

    z[:, (f i + j) C + c, h, w] = x[:, c, f h + i, f w + j],  log_det = 0

    The pixels of a patch come one after the other, each with all its channels. So half of the channels are half of the
    pixels, and a mask of channels can be a checkerboard of pixels, see `models.realnvp_images`.

    Args:
        factor: f, the side of a patch.

    Raises:
        ValueError: where `factor` is no whole number of at least 1, or events are no images or have sides that f
            does not divide; for the inverse, where f^2 does not divide the channels.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).

    Examples:
        >>> import torch
        >>> Squeeze()(torch.arange(4.0).view(1, 1, 2, 2))[0].flatten()
        tensor([0., 1., 2., 3.])
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = as_whole(factor, "factor", least=1)

    @property
    def any_precision(self) -> bool:
        return True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        c, h, w = self.forward_shape(x.shape[1:])
        f = self.factor
        return x.reshape(x.shape[0], c // f**2, h, f, w, f).permute(0, 3, 5, 1, 2, 4).reshape(
            x.shape[0], c, h, w
        ), no_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        c, h, w = self.inverse_shape(z.shape[1:])
        f = self.factor
        return z.reshape(z.shape[0], f, f, c, h // f, w // f).permute(0, 3, 4, 1, 5, 2).reshape(
            z.shape[0], c, h, w
        ), no_volume(z)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        c, h, w = image_shape(shape, "Squeeze")
        f = self.factor
        if h % f or w % f:
            raise ValueError(
                f"Squeeze makes channels of patches of {f} x {f} pixels, so both sides must be multiples of {f}; "
                f"got {h} x {w}: pad or crop the images, or squeeze less often"
            )
        return torch.Size([c * f**2, h // f, w // f])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        c, h, w = image_shape(shape, "Squeeze")
        f = self.factor
        if c % f**2:
            raise ValueError(
                f"Squeeze makes {f**2} channels of each, so what follows must have a multiple of {f**2}; got {c}: "
                "change the number of channels in between"
            )
        return torch.Size([c // f**2, h * f, w * f])

    def inverse_support(self, each: Constraint) -> Constraint:
        return each

    def extra_repr(self) -> str:
        return f"factor={self.factor}"
