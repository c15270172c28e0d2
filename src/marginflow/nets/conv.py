"""Convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from marginflow.base.arguments import as_whole
from marginflow.nets.activations import Activation
from marginflow.nets.init import channels_last, start_at_zero
from marginflow.nets.layered import Layered
from marginflow.nets.patches import Patches


class ConvNet(Layered):
    """A convolutional network that keeps height and width: (N, in_features, H, W) -> (N, out_features, H, W).

    The first and the last convolution are of 3 x 3 pixels, those between of `kernel` x `kernel`, as in Glow. The last
    one starts at zero, so that an affine coupling starts as the identity.

    With residual=True and kernel=3 it is the network of Real NVP, without batch norm.

    Args:
        in_features: channels of x.
        out_features: channels of the output.
        hidden: channels of the hidden layers.
        kernel: side of the kernels between the first and the last, an odd number of pixels.
        activation: as for `MLP`.
        context_features: number of features C of the context; a context is a vector for the whole image, (N, C), or an
            image, (N, C, f H, f W), with f the `context_patch`.
        context_patch: f, how many pixels of the context a pixel of x is wide.
        residual: as for `MLP`.
        dropout: as for `MLP`.

    Raises:
        ValueError: where kernel is not odd, or hidden, activation or dropout do not fit.

    References:
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039), section
            3.3.
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).

    Examples:
        >>> import torch
        >>> ConvNet(3, 6, hidden=[16, 16])(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (64, 64),
        *,
        kernel: int = 1,
        activation: Activation = "relu",
        context_features: int = 0,
        context_patch: int = 1,
        residual: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            in_features, out_features, hidden, activation=activation, context_features=context_features,
            residual=residual, dropout=dropout,
        )  # fmt: skip
        if as_whole(kernel, "kernel", least=1) % 2 == 0:
            raise ValueError(f"kernel must be an odd number of pixels, so that it has a middle; got {kernel}")
        widths = list(pairwise([self.in_features, *self.hidden, self.out_features]))
        sizes = [3, *[kernel] * (len(widths) - 2), 3][-len(widths) :]
        self.layers.extend(
            nn.Conv2d(below, above, size, padding=size // 2) for (below, above), size in zip(widths, sizes, strict=True)
        )
        patch, seen = as_whole(context_patch, "context_patch", least=1), self.context_features
        self.of_context = Patches(seen, widths[0][1], patch) if seen else None
        at_the_end = [self.layers[-1], *([] if self.hidden or self.of_context is None else [self.of_context])]
        start_at_zero(*at_the_end)
        channels_last(self)

    def first(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = self.layers[0](x)
        return h if context is None or self.of_context is None else h + self.of_context.fitted(context, x)
