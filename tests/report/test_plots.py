"""Figures: that the numbers end up where they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from marginflow.data import DataSpec
from marginflow.distributions import StandardNormal
from marginflow.report import plots
from marginflow.training import EpochRecord


def test_image_grid_puts_every_image_in_its_place() -> None:
    pixels = torch.randint(17, (5, 1, 3, 4), dtype=torch.uint8)
    sheet = plots.image_grid(pixels, 17)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 2, 3)
    for i in range(5):
        top, left = i // 3 * 4, i % 3 * 5
        expected = np.round(pixels[i, 0].double().numpy() * 255 / 16)
        for channel in range(3):
            np.testing.assert_array_equal(sheet[top : top + 3, left : left + 4, channel], expected)


def test_image_grid_keeps_colours() -> None:
    pixels = torch.randint(256, (1, 3, 2, 2), dtype=torch.uint8)
    np.testing.assert_array_equal(plots.image_grid(pixels, 256), pixels[0].permute(1, 2, 0).numpy())


def test_density_map_has_its_axes_the_right_way_round() -> None:
    axes = Figure().subplots()
    plots.density(
        axes, lambda x: StandardNormal(2).log_prob(x - torch.tensor([1.0, -2.0])), (-3, 3, -4, 4), "", size=81
    )
    values = np.asarray(axes.images[0].get_array())
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert np.linspace(-3, 3, 81)[column] == pytest.approx(1, abs=0.05)
    assert np.linspace(-4, 4, 81)[row] == pytest.approx(-2, abs=0.05)


def test_training_curves_mark_the_best() -> None:
    history = [
        EpochRecord(1, 3.0, 2.5, True, 1.0),
        EpochRecord(2, 2.0, None, False, 1.0),
        EpochRecord(3, 1.0, 2.7, False, 1.0),
    ]
    axes = plots.training_curves(history).axes[0]
    training, validation, best = (line.get_xydata() for line in axes.lines)
    np.testing.assert_array_equal(training, [[1, 3], [2, 2], [3, 1]])
    np.testing.assert_array_equal(validation, [[1, 2.5], [3, 2.7]])
    np.testing.assert_array_equal(best, [[1, 2.5]])
    assert "best: 2.500 in epoch 1" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    output = tmp_path / "a.png"
    output.write_text("old")
    with pytest.raises(ValueError, match="at least 2 features"):
        plots.write_picture(torch.zeros(3, 1), DataSpec((1,)), output)
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_of_very_many_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a picture shows 100,000 at most; got 100,001: write them to \.csv"):
        plots.require_picture(100_001, features=2)
    plots.require_picture(100_000, features=2)
