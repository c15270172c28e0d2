"""A context for images: a vector for the whole image, or an image of its own, taken patch by patch."""

from __future__ import annotations

from torch import Tensor, nn


class Patches(nn.Conv2d):
    """A linear map of patches: (N, in_features) or (N, in_features, f H, f W) -> (N, out_features, H, W).

    A vector, (N, in_features), holds for the whole image: it gives (N, out_features, 1, 1), to be broadcast.

    Args:
        in_features: channels of the context.
        out_features: channels of the output.
        patch: f, how many pixels of the context a pixel of the image is wide, as where only the image was squeezed.

    Examples:
        >>> import torch
        >>> image, patches = torch.zeros(5, 12, 4, 4), Patches(3, 7, patch=2)
        >>> patches.fitted(torch.zeros(5, 3, 8, 8), image).shape, patches.fitted(torch.zeros(5, 3), image).shape
        (torch.Size([5, 7, 4, 4]), torch.Size([5, 7, 1, 1]))
    """

    def __init__(self, in_features: int, out_features: int, patch: int = 1) -> None:
        super().__init__(in_features, out_features, patch, stride=patch)
        self.patch = patch

    def fitted(self, context: Tensor, x: Tensor) -> Tensor:
        """The map of a context, to be added to hidden layers of the size of the images x.

        Args:
            context: (N, in_features) or (N, in_features, f H, f W).
            x: images (N, ..., H, W).

        Returns:
            (N, out_features, 1, 1) of a vector, (N, out_features, H, W) of an image.

        Raises:
            ValueError: where the context does not fit the images.
        """
        context = context.to(self.weight.dtype)
        if context.ndim == 2:
            return self(context[..., None, None].expand(-1, -1, self.patch, self.patch))
        expected = tuple(self.patch * side for side in x.shape[2:])
        if context.shape[2:] != expected:
            raise ValueError(
                f"the context must be a vector, (N, {self.in_channels}), or an image of {expected[0]} x {expected[1]} "
                f"pixels; got shape {tuple(context.shape)}"
            )
        return self(context)
