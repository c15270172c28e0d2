"""Two features: what shares an axis, what is drawn to scale, and what a map leaves out."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from marginflow.data import DataSpec
from marginflow.distributions import StandardNormal
from marginflow.report import figures, plots
from marginflow.report.maps import highest_colour


def test_samples_of_a_table_are_not_drawn_to_scale_and_points_of_a_plane_are() -> None:
    x = torch.randn(200, 2)
    assert figures.have_one_unit(DataSpec((2,)))
    assert not figures.have_one_unit(DataSpec((2,), columns=("age", "income")))
    for one_unit, aspect in ((True, 1.0), (False, "auto")):
        assert plots.scatter(x, "", same_unit=one_unit).axes[0].get_aspect() == aspect
        figure = plots.density_of_two(StandardNormal(2).log_prob, x, ["a", "b"], samples=x, same_unit=one_unit)
        assert [axes.get_aspect() for axes in figure.axes[:3]] == [aspect] * 3


def test_what_would_be_a_strip_is_not_drawn_to_scale() -> None:
    assert plots.scatter(torch.randn(200, 2) * torch.tensor([1.0, 1e5]), "").axes[0].get_aspect() == "auto"


def test_data_samples_and_density_share_one_box() -> None:
    x, samples = torch.rand(300, 2), torch.rand(100, 2)
    samples[:7] += 50
    x[0] = 1e9
    first, second, third = plots.density_of_two(StandardNormal(2).log_prob, x, ["a", "b"], samples=samples).axes[:3]
    for axes in (first, second, third):
        assert axes.get_xlim() == first.get_xlim()
        assert axes.get_ylim() == first.get_ylim()
    assert tuple(third.images[0].get_extent()) == (*first.get_xlim(), *first.get_ylim())
    assert first.get_xlim()[1] < 1.5
    assert first.get_title() == "300 test rows\n1 of 300 points outside"
    assert second.get_title() == "100 samples\n7 of 100 points outside"
    assert np.asarray(second.collections[0].get_offsets()).shape == (93, 2)


def test_peaks_without_mass_do_not_darken_a_map() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(0.5, 1.0, 22_500)
    assert highest_colour(values) == values.max()
    values[:4] = 50.0
    assert highest_colour(values) <= 1.0
    one = np.zeros(100)
    one[3] = 2.0
    assert highest_colour(one) == 2.0
    assert highest_colour(np.zeros(100)) == 0.0


def test_a_map_of_next_to_nothing_says_so() -> None:
    def titled(offset: float) -> str:
        normal = StandardNormal(2)
        axes = plots.density_of_two(lambda x: normal.log_prob(x - offset), torch.randn(50, 2), ["a", "b"]).axes[1]
        return axes.get_title()

    assert titled(0.0) == "p(x)"
    assert titled(10.0) == "p(x)\nunder 0.1% of it in this box"
    assert titled(1e4) == "p(x)\nnothing of it in this box"


def test_a_map_that_is_no_number_somewhere_says_where() -> None:
    def log_prob(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0] > 0, StandardNormal(2).log_prob(x), math.nan)

    figure = plots.density_of_two(log_prob, torch.randn(50, 2), ["a", "b"])
    assert "not finite at" in figure.axes[1].get_title()
    figure.savefig(io.BytesIO(), format="png")


def test_latents_far_out_are_shown_where_they_are() -> None:
    near, far = torch.randn(100, 2).clamp(-3, 3), torch.randn(100, 2) * 1000
    first, second = plots.points_by_layer({"near": near, "far": far}, near[:, 0], "").axes
    assert first.get_xlim() == first.get_ylim() == (-4, 4)
    assert np.asarray(second.collections[0].get_offsets()).shape == (100, 2)
    near[:3] = 100.0
    (first,) = plots.points_by_layer({"near": near}, near[:, 0], "").axes
    assert first.get_title() == "near\n3 of 100 points outside"
    (first,) = plots.points_by_layer({"none": torch.full((9, 2), math.nan)}, near[:9, 0], "").axes
    assert first.get_title() == "none\n9 of 9 points outside"


def test_a_picture_of_samples_names_what_it_leaves_out(tmp_path: Path) -> None:
    spec = DataSpec((3,), columns=("$a$", "<b>", "c"))
    plots.write_picture(torch.randn(20, 3), spec, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 300


def test_points_side_by_side_share_their_axes() -> None:
    data, samples = torch.rand(100, 2), torch.rand(100, 2) * torch.tensor([5.0, -2.0])
    first, second = plots.scatters({"data": (data, data[:, 0]), "samples": (samples, samples[:, 0])}).axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim() == second.get_ylim()
    assert first.get_xlim()[1] > 4 > 0 > first.get_ylim()[0]
    assert len(np.asarray(second.collections[0].get_offsets())) == 100
