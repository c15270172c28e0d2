"""Images in grids."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch

from marginflow.report import plots
from marginflow.report.images import most_images


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_are_no_colours_lie_side_by_side(channels: int) -> None:
    pixels = torch.randint(17, (1, channels, 3, 4), dtype=torch.uint8)
    sheet = plots.image_grid(pixels, 17)
    assert sheet.shape == (3, 4 * channels, 3)
    for i in range(channels):
        expected = np.round(pixels[0, i].double().numpy() * 255 / 16)
        np.testing.assert_array_equal(sheet[:, 4 * i : 4 * i + 4, 1], expected)


def test_levels_are_not_stretched_to_what_occurs() -> None:
    sheet = plots.image_grid(torch.tensor([[[[3, 4]]]], dtype=torch.uint8), 256)
    assert sheet[0, :, 0].tolist() == [3, 4]
    axes = plots.image_grids({"grey": torch.full((4, 1, 2, 2), 7, dtype=torch.uint8)}, 256).axes[0]
    assert set(np.unique(np.asarray(axes.images[0].get_array()))) == {7, 255}


def test_pixels_out_of_range_do_not_wrap_and_what_is_no_number_is_marked() -> None:
    sheet = plots.image_grid(torch.tensor([[[[-1.0, 300.0, math.inf, math.nan]]]]), 256)
    assert sheet[0].tolist() == [[0] * 3, [255] * 3, [255] * 3, [255, 0, 255]]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 40), (3, 40, 1), (1, 28, 28), (3, 300, 500)])
def test_grids_of_any_shape_are_drawn(shape: tuple[int, int, int]) -> None:
    count = most_images(*shape[1:])
    figure = plots.image_grids({"data": torch.zeros(count, *shape), "samples": torch.zeros(count, *shape)}, 256)
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    assert [axes.get_title() for axes in figure.axes] == ["data", "samples"]


def test_a_grid_holds_as_many_images_as_it_has_dots_for() -> None:
    assert most_images(8, 8) == most_images(32, 32) == 64
    assert most_images(100, 100) == 25
    assert most_images(2000, 3000) == 1
