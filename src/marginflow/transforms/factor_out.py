"""Features that leave a flow early: what makes it multiscale."""

from __future__ import annotations

import torch
from torch import Tensor

from marginflow.base.arguments import as_whole
from marginflow.base.noise_sites import Sites
from marginflow.base.transform import Transform
from marginflow.transforms.sequential import in_sequence


class FactorOut(Transform):
    """Factor out the last features, which leave the flow as they are; only the first are transformed further.

    z = (T(x_1 ... x_k), x_k+1 ... x_D),  log_det = that of T

    A bijection of events of one shape: nothing is remembered from one call to the next, and a new model can sample.
    Transforms nested so, with a `Squeeze` and its inverse at the ends of each, are a multiscale flow.

    Args:
        features: D, or the number of channels of images.
        going_on: k, the number of features, from the first, that are transformed.
        transforms: T, one transform or a list; for images it must return the height and width that it took.

    Raises:
        ValueError: where `going_on` leaves no feature to either part, or T changes the shape of its features.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803), section 3.6.

    Examples:
        >>> import torch
        >>> from marginflow.transforms import Planar
        >>> x = torch.randn(5, 3)
        >>> z, _ = FactorOut(3, 2, Planar(2))(x)
        >>> z.shape, torch.equal(z[:, 2], x[:, 2])
        (torch.Size([5, 3]), True)
    """

    def __init__(self, features: int, going_on: int, transforms: Transform | list[Transform]) -> None:
        super().__init__()
        features, going_on = as_whole(features, "features", least=1), as_whole(going_on, "going_on")
        if not 0 < going_on < features:
            raise ValueError(
                f"some features must be transformed and some leave; got {going_on} to transform, of {features}: "
                f"between 1 and {features - 1} may be"
            )
        self.features, self.going_on = features, going_on  # the argument's name stands in saved models
        self.leaving = features - going_on
        self.transform = in_sequence(transforms)

    @property
    def exact(self) -> bool:
        return self.transform.exact

    @property
    def context_features(self) -> int:
        return self.transform.context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        first, rest = x.split([self.going_on, self.leaving], 1)
        z, log_det = self.transform(first, context)
        return torch.cat([z, rest], 1), log_det

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[tuple[Tensor, Tensor]]:
        self.require_input(x)
        first, rest = x.split([self.going_on, self.leaving], 1)
        z, log_det = yield from self.transform._noise(first, context)
        return torch.cat([z, rest], 1), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        first, rest = z.split([self.going_on, self.leaving], 1)
        x, log_det = self.transform.inverse(first, context)
        return torch.cat([x, rest], 1), log_det

    def _inverse_with_noise(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        self.require_input(z)
        first, rest = z.split([self.going_on, self.leaving], 1)
        x, eps = self.transform._inverse_with_noise(first, context)
        return torch.cat([x, rest], 1), eps

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        self.require_features(shape[0])
        return self._beside(self.transform.forward_shape(torch.Size([self.going_on, *shape[1:]])), shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        self.require_features(shape[0])
        return self._beside(self.transform.inverse_shape(torch.Size([self.going_on, *shape[1:]])), shape)

    def _beside(self, shape: torch.Size, whole: torch.Size) -> torch.Size:
        """The shape of the transformed features beside those that left; ValueError where they do not fit."""
        if shape != (self.going_on, *whole[1:]):
            raise ValueError(
                f"what is transformed must return in its shape, {(self.going_on, *whole[1:])}, to stand beside what "
                f"left; it returns {tuple(shape)}: end with the inverse of each Squeeze"
            )
        return whole

    def extra_repr(self) -> str:
        return f"{self.going_on} of {self.features} features are transformed"
