"""The masked autoregressive structure on images: pixels in raster order, given those around that came before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.arguments import as_whole, require_context
from marginflow.base.settings import as_choice
from marginflow.base.shapes import Shape, as_shape, image_shape
from marginflow.base.transform import Transform, Univariate
from marginflow.transforms.autoregressive import MaskedAutoregressive


class LocalAutoregressive(Transform):
    """A masked autoregressive transform of images: one network for all pixels, which sees those near and before each.

    z_chw = f(x_chw; params_c(x_<c at (h, w), x at the pixels before (h, w) within reach, h, w, context))
    log_det = sum over c, h, w of log f'

    Pixels come row by row from the top left. Before (h, w) and within reach r are the pixels of r rows above, from
    r columns to the left to r columns to the right, and r pixels to the left. What lies outside the image is 0, and
    the network is told the row and the column. After `Squeeze(p)` a pixel is a patch of p x p pixels, whose
    dependence on each other is complete.

    It equals a `MaskedAutoregressive` of all C H W dimensions whose weights are shared between pixels and zero beyond
    the reach. The inverse takes the pixels whose neighbourhoods are known at once, W + (r + 1)(H - 1) steps in all.

    Args:
        shape: (C, H, W) of x and z.
        hidden: widths of the hidden layers.
        univariate: the scalar function f, `Affine` by default.
        reach: r, at least 1.
        order: "sequential", or "reversed": from the bottom right, channels from the last.
        context_features: width of a context for the whole image, (N, context_features).
        **options: of the `MaskedAutoregressive` at each pixel, such as `activation` and `seed`.

    Raises:
        ValueError: where `shape` is not that of images, reach, order or an option do not fit, or images or context are
            of another shape.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
        Van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks, 2016 (arXiv 1601.06759): the
            neighbourhoods.

    Examples:
        >>> import torch
        >>> layer, x = LocalAutoregressive((4, 3, 3), [16]), torch.randn(5, 4, 3, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        shape: Shape,
        hidden: Sequence[int],
        univariate: Univariate | None = None,
        *,
        reach: int = 1,
        order: str = "sequential",
        context_features: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.shape = as_shape(shape)
        self.features, self.height, self.width = image_shape(self.shape, "LocalAutoregressive")
        self.reach = reach = as_whole(reach, "reach", least=1)
        self.reversed = as_choice(order, ("sequential", "reversed"), "order") == "reversed"
        self._context_features = context_features = as_whole(context_features, "context_features")
        above = [(i, j) for i in range(-reach, 0) for j in range(-reach, reach + 1)]
        self.offsets = [*above, *((0, j) for j in range(-reach, 0))]
        seen = len(self.offsets) * self.features + self.height + self.width + context_features
        self.layer = MaskedAutoregressive(self.features, hidden, univariate, context_features=seen, **options)

    def extra_repr(self) -> str:
        return f"{tuple(self.shape)}, reach={self.reach}, order={'reversed' if self.reversed else 'sequential'}"

    @property
    def context_features(self) -> int:
        return self._context_features

    @property
    def rows_of_network(self) -> int:
        """How many rows an image is to the masked network: its pixels."""
        return self.height * self.width

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        x, context = self._turned(x), self._checked(context, x)
        c, h, w = self.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, c)
        neighbours = self._neighbours(self._padded(x), context)
        z, log_det = self.layer(rows, neighbours.reshape(rows.shape[0], neighbours.shape[-1]))
        z = self._turned(z.reshape(x.shape[0], h, w, c).permute(0, 3, 1, 2))
        return z, log_det.reshape(x.shape[0], h * w).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        z, context = self._turned(z), self._checked(context, z)
        padded = self._padded(torch.zeros_like(z))
        log_det = z.new_zeros(z.shape[0])
        for rows, columns in self._waves(z.device):
            seen = self._neighbours(padded, context, rows, columns).flatten(0, 1)
            x, log_det_of_pixels = self.layer.inverse(z[:, :, rows, columns].transpose(1, 2).flatten(0, 1), seen)
            x = x.unflatten(0, (z.shape[0], rows.shape[0])).transpose(1, 2)
            padded = self._with(padded, x, rows, columns)
            log_det = log_det + log_det_of_pixels.reshape(z.shape[0], rows.shape[0]).sum(1)
        r = self.reach
        return self._turned(padded[:, :, r:, r : r + self.width]), log_det

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        if shape != self.shape:
            raise ValueError(f"LocalAutoregressive was built for images {tuple(self.shape)}; got {tuple(shape)}")
        return shape

    inverse_shape = forward_shape

    def require_input(self, x: Tensor) -> None:
        super().require_input(x)
        self.forward_shape(x.shape[1:])

    def _checked(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """The context in the precision of x; None where the layer takes none."""
        if not self.context_features:
            return None
        require_context(context, self.context_features, x.shape[0], vector=True)
        return None if context is None else context.to(x.dtype)

    def _turned(self, x: Tensor) -> Tensor:
        """x with its first pixel at the top left: (N, C, H, W)."""
        return x.flip(1, 2, 3) if self.reversed else x

    def _padded(self, x: Tensor) -> Tensor:
        """x within zeros, as many as are in reach to the left, to the right and above."""
        return functional.pad(x, (self.reach, self.reach, self.reach, 0))

    def _neighbours(
        self, padded: Tensor, context: Tensor | None, rows: Tensor | None = None, columns: Tensor | None = None
    ) -> Tensor:
        """What the network is told at the pixels (rows, columns), or at all: (N, pixels, features)."""
        h, w, r = self.height, self.width, self.reach
        n, device = padded.shape[0], padded.device
        if rows is None or columns is None:
            near = [padded[:, :, r + i : r + i + h, r + j : r + j + w].flatten(2) for i, j in self.offsets]
            rows, columns = (each.flatten() for each in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
        else:
            near = [padded[:, :, rows + r + i, columns + r + j] for i, j in self.offsets]
        place = torch.cat([torch.eye(h)[rows.cpu()], torch.eye(w)[columns.cpu()]], 1).to(device, padded.dtype)
        parts = [torch.cat(near, 1).transpose(1, 2), place.expand(n, *place.shape)]
        if context is not None:
            parts.append(context[:, None].expand(-1, place.shape[0], -1))
        return torch.cat(parts, 2)

    def _waves(self, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """Rows and columns of the pixels, in groups whose neighbours are all in groups before."""
        waves: dict[int, list[tuple[int, int]]] = {}
        for row in range(self.height):
            for column in range(self.width):
                waves.setdefault(column + (self.reach + 1) * row, []).append((row, column))
        return [
            (torch.tensor(rows, device=device), torch.tensor(columns, device=device))
            for rows, columns in (zip(*waves[k], strict=True) for k in sorted(waves))
        ]

    def _with(self, padded: Tensor, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Padded images with pixels put in, as a new tensor where a gradient must pass."""
        if torch.is_grad_enabled():
            padded = padded.clone()
        padded[:, :, rows + self.reach, columns + self.reach] = x
        return padded
