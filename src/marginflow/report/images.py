"""Images in grids: grey levels as they are, no pixel lost or mixed with its neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from marginflow.report.labels import title
from marginflow.report.panels import panels

DOTS = 120  # an inch of a PNG


def image_grids(grids: Mapping[str, Tensor], levels: int, columns: int = 4, size: float = 5.0) -> Figure:
    """Grids of images side by side: name -> pixels (N, C, H, W). columns: in a row. size: of a grid, in inches."""
    figure, every = panels(len(grids), width=size, height=size, columns=columns)
    for axes, (name, pixels) in zip(every, grids.items(), strict=True):
        sheet = image_grid(pixels, levels)
        loses_none = max(sheet.shape[:2]) <= DOTS * size
        axes.imshow(sheet, interpolation="nearest" if loses_none else "antialiased")
        title(axes, name, 10)
        axes.set_axis_off()
    return figure


def most_images(height: int, width: int, most: int = 64, size: float = 5.0) -> int:
    """How many images of a size a grid can show, a dot a pixel at least; one, however large."""
    side = int(DOTS * size // (max(height, width) + 1))
    return max(1, min(most, side * side))


def image_grid(pixels: Tensor, levels: int) -> np.ndarray:
    """Images (N, C, H, W) tiled into one array (rows, columns, 3) of uint8, with a pixel of white between.

    Of one channel they are grey, of three red, green and blue; of another number the channels lie side by side in grey.
    A pixel that is no number is magenta.
    """
    coloured = _coloured(pixels, levels)
    n, height, width, _ = coloured.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for i, image in enumerate(coloured):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = image
    return sheet


def _coloured(pixels: Tensor, levels: int) -> np.ndarray:
    """Images as red, green and blue in 0 ... 255, (N, H, W, 3)."""
    values = pixels.detach().double().cpu()
    if values.shape[1] not in (1, 3):
        values = torch.cat(list(values.split(1, 1)), 3)
    whole = (values.nan_to_num() * (255 / (levels - 1))).round().clamp(0, 255).to(torch.uint8)
    coloured = whole.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
    coloured[values.isnan().any(1).numpy()] = (255, 0, 255)
    return coloured
