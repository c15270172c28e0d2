"""Columns of a table in figures: levels by name, numbers in the file's units, what is missing counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import visits
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from pyarrow import parquet

from marginflow.data import Column, DataSet, Grid, Schema, load
from marginflow.data.warp import Warp
from marginflow.report import plots


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    path = tmp_path_factory.mktemp("tables") / "visits.parquet"
    parquet.write_table(visits(2000).drop_columns(["id"]), path)
    return load("table", path=str(path), schema={})


def panel(figure: Figure, name: str) -> Axes:
    (found,) = (each for each in figure.axes if each.get_title() == name)
    figure.canvas.draw()
    return found


def bars(axes: Axes) -> list[float]:
    return [each.get_width() for each in axes.patches if isinstance(each, Rectangle)]


def test_levels_are_named_and_their_shares_are_those_of_the_rows(data: DataSet) -> None:
    assert data.schema is not None
    x, samples = torch.as_tensor(data.train.x[:]), torch.as_tensor(data.test.x[:])
    axes = panel(plots.column_marginals(x, samples, data.schema), "city")
    assert [each.get_text() for each in axes.get_yticklabels()] == ["Paris", "Paris, TX", 'the "old" town']
    of_rows, of_samples = np.split(np.array(bars(axes)), 2)
    for found, rows in ((of_rows, x), (of_samples, samples)):
        np.testing.assert_allclose(found, np.bincount(rows[:, 0].long(), minlength=3) / len(rows))


def test_numbers_are_in_the_units_of_the_file_and_blanks_are_counted(data: DataSet) -> None:
    assert data.schema is not None
    x, samples = torch.as_tensor(data.train.x[:]), torch.as_tensor(data.test.x[:])
    figure = plots.column_marginals(x, samples, data.schema)
    paid = panel(figure, "paid")
    assert x[:, 2].max() / 3 < paid.get_xlim()[1] < x[:, 2].max() / 1.9  # steps of 0.5
    age = panel(figure, "age")
    missing = float(x[:, 1].isnan().double().mean())
    assert age.get_xlabel().startswith(f"missing: {missing:.1%} of rows, ")
    assert "outside" not in age.get_xlabel()
    for axes in (paid, age):
        for patch in (each for each in axes.patches if isinstance(each, StepPatch)):
            heights, edges, _ = patch.get_data()
            assert 0.9 < float((np.asarray(heights) * np.diff(np.asarray(edges))).sum()) < 1 + 1e-9
    day = panel(figure, "day")
    assert all(each.get_text()[:5] in ("2024-", "2023-") for each in day.get_xticklabels() if each.get_text())


def test_a_bin_holds_whole_steps_of_a_grid() -> None:
    column = Column("n", "integer", "int64", grid=Grid(5, 2), warp=Warp("standardise"))
    x = torch.arange(12.0).repeat(40)[:, None]
    axes = panel(plots.column_marginals(x, x, Schema((column,))), "n")
    (data, _) = (each for each in axes.patches if isinstance(each, StepPatch))
    heights, edges, _ = data.get_data()
    np.testing.assert_allclose(heights, 1 / 60)
    np.testing.assert_allclose(edges, np.arange(-0.5, 60, 5))


def test_rare_levels_are_one_bar_and_what_is_missing_has_its_own() -> None:
    many = Column("many", "category", levels=tuple(f"level {i}" for i in range(20)))
    some = Column("some", "ordered", levels=("low", "a name much too long for a panel"), blank=True)
    x = torch.stack([torch.arange(400.0).sqrt().floor(), torch.where(torch.arange(400) % 4 == 0, torch.nan, 1.0)], 1)
    figure = plots.column_marginals(x, x, Schema((many, some)))
    axes = panel(figure, "many")
    assert [each.get_text() for each in axes.get_yticklabels()][-2:] == ["level 19", "13 others"]
    assert sum(bars(axes)) == pytest.approx(2)
    axes = panel(figure, "some")
    low, high, missing = (each.get_text() for each in axes.get_yticklabels())
    assert (low, missing) == ("low", "missing")
    assert high.startswith("a nam")
    assert "…" in high
    assert bars(axes) == pytest.approx([0, 0.75, 0.25] * 2)


def test_only_so_many_columns_are_shown() -> None:
    columns = tuple(Column(f"b{i}", "boolean", levels=("false", "true")) for i in range(40))
    x = torch.zeros(50, 40)
    figure = plots.column_marginals(x, x, Schema(columns))
    assert len(figure.axes) == 16
    assert figure.get_suptitle() == "the first 16 of 40 columns"
