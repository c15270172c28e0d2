"""Names in figures: word for word, inside the figure, without a warning of a glyph."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from nasty_names import NASTY

from marginflow.base.literal import literal
from marginflow.report import labels, plots


def require_inside(figure: Figure) -> None:
    """Every title, and every name of an axis, lies inside the figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    everything = [each for axes in figure.axes for each in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    for each in [*everything, *figure.texts]:
        if each.get_text():
            box = each.get_window_extent(renderer)
            assert box.x0 >= -1, each.get_text()
            assert box.x1 <= figure.bbox.width + 1, each.get_text()


def test_names_stand_in_every_figure_of_columns_as_they_are(tmp_path: Path) -> None:
    rows = torch.randn(30, len(NASTY))
    figure = plots.marginals(rows, rows, NASTY, shown=len(NASTY))
    path = plots.save(figure, tmp_path / "a.png")
    require_inside(figure)
    in_svg = " ".join(" ".join(ElementTree.parse(path.with_suffix(".svg")).getroot().itertext()).split())
    for axes, name in zip(figure.axes, NASTY, strict=True):
        assert not axes.title.get_parse_math()
        assert not axes.title.get_usetex()
        shown = axes.get_title()
        assert shown.isprintable() or "\n" in shown
        if len(literal(name)) < 30 and all(labels._family(each) for each in literal(name)):
            assert shown.replace("\n", "") == literal(name)
        assert all(" ".join(line.split()) in in_svg for line in shown.split("\n"))


def test_names_fit_into_every_figure_that_has_some() -> None:
    some = [NASTY[i] for i in (0, 1, 10, 12, 14, 18, 25, 26)]
    rows, images = torch.randn(30, 2), torch.zeros(4, 1, 3, 3)
    for figure in (
        plots.scatter(rows, some[0], some[1:3]),
        plots.image_grids(dict.fromkeys(some, images), 2, size=1.5),
        plots.points_by_layer(dict.fromkeys(some, rows), rows[:, 0], some[4]),
        plots.density_of_one(lambda x: -x[:, 0].abs(), rows[:, :1], some[5]),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi="figure")  # warnings are errors
        require_inside(figure)
        own = [each for each in figure.findobj(Text) if isinstance(each, Text) and "$" in each.get_text()]
        assert not any(each.get_parse_math() for each in own)


@settings(max_examples=30)
@given(st.text(max_size=60))
def test_any_text_is_drawn_without_a_warning(text: str) -> None:
    shown, options = labels.plain(text, 3.0, 9, lines=20)
    figure = Figure(figsize=(3, 2))
    figure.text(0, 0.5, shown, **options)
    figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_what_no_font_has_is_written_out() -> None:
    assert labels.plain("a\U0010ffff", 3.0, 9)[0] == "a\\U0010ffff"
    assert labels.plain("über", 3.0, 9)[0] == "über"


@pytest.mark.parametrize("length", [1, 10, 100, 10_000])
def test_a_long_name_keeps_its_ends_and_fits(length: int) -> None:
    name = "begin" + "x" * length + "end"
    shown, options = labels.plain(name, 1.5, 8)
    assert shown.startswith("begin")
    assert shown.endswith("end")
    figure = Figure(figsize=(1.5, 1), dpi=200)
    text = figure.text(0, 0, shown, **options)
    assert text.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width <= 1.5 * 200 * 1.01
    assert shown.count("\n") <= 1
