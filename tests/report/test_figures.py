"""The figures of a run: which there are, and that the numbers end up where they should."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marginflow import data, models
from marginflow.base.data_warning import DataWarning
from marginflow.data import Batch, DataSpec
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.report import figures, plots
from marginflow.training import EpochRecord
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise


def drawn(paths: list[Path]) -> set[str]:
    """Names of the figures, each there as PNG and as SVG and not blank."""
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 150
            low, high = image.convert("L").getextrema()
            assert high - low > 100, f"{path} does not read in grey"
        assert path.with_suffix(".svg").read_text().lstrip().startswith("<?xml")
    return {path.stem for path in paths}


@pytest.mark.slow
def test_a_run_in_two_dimensions_with_noise(tmp_path: Path) -> None:
    model = Flow([], base=Marginalising(models.planar(3, blocks=2), StandardNormal(1)))
    paths = figures.of_run(model, Batch(torch.randn(300, 2)), DataSpec((2,)), tmp_path)
    assert drawn(paths) == {"marginals", "density", "latents", "layers", "bound"}
    assert "p(x), by IW-64" in (tmp_path / "density.svg").read_text()


def test_a_table_and_a_single_column(tmp_path: Path) -> None:
    spec = DataSpec((3,), columns=("height", "weight", "age"))
    model = Flow([], base=models.maf(3, hidden=[8], blocks=2))
    assert drawn(figures.of_run(model, Batch(torch.randn(300, 3)), spec, tmp_path)) == {"marginals", "latents"}
    one = Flow([], base=models.planar(1))
    names = drawn(figures.of_run(one, Batch(torch.randn(300, 1)), DataSpec((1,), columns=("height",)), tmp_path))
    assert names == {"marginals", "density", "latents"}


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["fresh", "once"])
def test_images(tmp_path: Path, noise: str) -> None:
    digits = data.load("digits", noise=noise)
    preprocessing = [*([] if noise == "once" else [Dequantise(17)]), Logit(0.05), Flatten((1, 8, 8))]
    model = Flow(preprocessing, base=models.maf(64, hidden=[8], blocks=1))
    assert drawn(figures.of_run(model, digits.test.take(), digits.spec, tmp_path)) == {"samples", "latents"}


def test_the_density_on_the_map_is_that_of_rows_as_given() -> None:
    standardise = Standardise(2)
    standardise.set_statistics(torch.tensor([1.0, -2.0]), torch.tensor([4.0, 9.0]))
    model = Flow([standardise], base=models.planar(2, blocks=1))
    x = torch.randn(20, 2)
    torch.testing.assert_close(figures.log_prob_of(model)(x), model.log_prob(x).detach())


def test_training_figures_are_in_bits_for_images(tmp_path: Path) -> None:
    history = [EpochRecord(1, 100.0, 90.0, True, 1.0), EpochRecord(2, 80.0, 70.0, True, 1.0)]
    spec = DataSpec((1, 8, 8), levels=17, dequantised=True)
    model = Flow([], base=Marginalising(models.planar(65), StandardNormal(1)))
    assert drawn(figures.of_training(history, model, spec, None, tmp_path)) == {"training"}
    assert "bound on the NLL, bits/dim" in (tmp_path / "training.svg").read_text()
    axes = plots.training_curves(history, "NLL, bits/dim", spec.bits_per_dim).axes[0]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), (np.array([90, 70]) / 64 + math.log(17)) / math.log(2))


def test_histograms_are_densities_of_all_rows() -> None:
    z = torch.cat([torch.zeros(30, 1), torch.full((10, 1), 100.0)])
    figure = plots.latents(z)
    edges = figure.axes[0].patches[0].get_data()
    assert float((edges.values * np.diff(edges.edges)).sum()) == pytest.approx(0.75)
    assert "25.0% beyond" in figure.axes[0].get_title()


def test_marginals_lay_samples_over_data() -> None:
    rows, samples = torch.randn(500, 20), torch.randn(400, 20) + 1
    figure = plots.marginals(rows, samples, [f"c{i}" for i in range(20)])
    assert len(figure.axes) == 16
    assert figure.axes[3].get_title() == "c3"
    of_data, of_samples = (patch.get_data() for patch in figure.axes[0].patches)
    middle = (of_data.edges[1:] + of_data.edges[:-1]) / 2
    shift = np.average(middle, weights=of_samples.values) - np.average(middle, weights=of_data.values)
    assert shift == pytest.approx(1, abs=0.3)
    assert "first 16 of 20" in (figure.get_suptitle() or "")


def test_the_bound_is_drawn_against_the_number_of_draws() -> None:
    figure = plots.bound_against_samples([1, 10, 100], [3.0, 2.0, 1.5], [0.1, 0.1, 0.1], 3.2, [1, 5, 60])
    above, below = figure.axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), [3.2, 3.2])
    np.testing.assert_array_equal(above.lines[1].get_xydata(), [[1, 3.0], [10, 2.0], [100, 1.5]])
    np.testing.assert_array_equal(below.lines[0].get_ydata(), [1, 5, 60])


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plots.save(plots.scatter(torch.eye(2), "two points"), tmp_path / f"{name}.png")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_only_rows_of_two_features_are_watched() -> None:
    moons = data.load("half_moons", num_train=50, num_validation=50, num_test=50)
    watched = figures.snapshots(moons, 100)
    assert watched is not None
    assert watched.epochs == {1, 5, 20, 100}
    assert figures.snapshots(data.load("digits"), 100) is None


def test_a_figure_that_fails_is_named_and_the_others_are_drawn(tmp_path: Path) -> None:
    class Broken(Flow):
        def _sample_and_flag(self, num_samples: int, context: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((num_samples, 3), torch.nan), torch.ones(num_samples, dtype=torch.bool)

    spec = DataSpec((3,), columns=("a", "b", "c"))
    whole, broken = models.maf(3, hidden=[8], blocks=2), Broken([], StandardNormal(3))
    test = Batch(torch.randn(60, 3))
    assert drawn(figures.of_run(Flow([], base=whole), test, spec, tmp_path)) == {"marginals", "latents"}
    with pytest.warns(DataWarning, match="the figure marginals is not drawn: 60 of 60 samples are not finite"):
        paths = figures.of_run(Flow([], base=broken), test, spec, tmp_path)
    assert drawn(paths) == {"latents"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latents.png", "latents.svg"]  # none of the other model


@pytest.mark.parametrize(("model", "name"), [("made_mog", "logistic"), ("maf", "N(0, 1)")])
def test_latents_stand_beside_the_base_of_their_flow(tmp_path: Path, model: str, name: str) -> None:
    density = models.made_mog(3, hidden=[8]) if model == "made_mog" else models.maf(3, hidden=[8], blocks=1)
    figures.of_run(Flow([], base=density), Batch(torch.randn(50, 3)), DataSpec((3,)), tmp_path)
    assert name in (tmp_path / "latents.svg").read_text()


def test_a_model_that_needs_a_context_is_drawn_at_those_of_the_rows(tmp_path: Path) -> None:
    model = Flow([], base=models.maf(2, hidden=[8], blocks=1, context_features=3))
    test = Batch(torch.randn(50, 2), torch.randn(50, 3))
    spec = DataSpec((2,), context_features=3)
    assert drawn(figures.of_run(model, test, spec, tmp_path)) == {"marginals", "latents", "layers"}


def test_a_table_of_two_columns_is_not_drawn_to_scale() -> None:
    rows, model = Batch(torch.randn(60, 2) * torch.tensor([1.0, 2.0])), Flow([], base=models.planar(2))
    for columns, aspect in (((), 1.0), (("age", "income"), "auto")):
        figure = figures._of_rows(model, rows, DataSpec((2,), columns=columns), 0)["density"]()
        assert [axes.get_aspect() for axes in figure.axes[:3]] == [aspect] * 3
