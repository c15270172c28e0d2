"""The demo, shortened: the numbers, the figures, the files, and that it is the repository's experiments."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Call, fails
from PIL import Image
from pyarrow import csv

from marginflow import data, models
from marginflow.cli.demos import moons, orders, run
from marginflow.cli.demos.moons import FITTING, THESIS
from marginflow.data.example_orders import CATEGORIES, CHANNELS
from marginflow.distributions import Marginalising, StandardNormal
from marginflow.evaluation.layer_outputs import to_latent
from marginflow.runs import read_toml
from marginflow.runs.run import Run

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FEW = ("data.num_train=500", "data.num_validation=100", "data.num_test=2000", "evaluate.num_samples=5")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same trainings on few rows, in small pictures."""
    for each in (FITTING, THESIS):
        few = tuple(replace(model, overrides=(*model.overrides, *FEW)) for model in each.models)
        monkeypatch.setattr(run, {"half_moons": "FITTING", "half_moons_thesis": "THESIS"}[each.picture],
                            replace(each, models=few))  # fmt: skip
    monkeypatch.setattr(moons, "DRAWS_OF_MAPS", 1)
    monkeypatch.setattr("marginflow.cli.demos.picture.GRID", 20)
    monkeypatch.setattr(orders, "NUM_NEW", 100)
    monkeypatch.setattr(orders, "NUM_DRAWN", 200)


def test_planar_flows_are_trained_as_in_the_thesis_but_for_the_epochs() -> None:
    for each in THESIS.models:
        file = EXPERIMENTS / f"{each.experiment}.toml"
        shortened, whole = read_toml.read(file, list(each.overrides)), read_toml.read(file)
        assert shortened.train.epochs < whole.train.epochs == 100
        assert shortened.train.model_copy(update={"epochs": 100}) == whole.train
        assert (shortened.model, shortened.noise, shortened.data) == (whole.model, whole.noise, whole.data)


def test_a_place_where_it_cannot_go_is_refused_before_anything_is_trained(call: Call) -> None:
    fails(call("demo", "-o", "moons.toml"), "moons.toml is a file: name a folder")
    Path("runs/without_noise").mkdir(parents=True)
    Path("runs/without_noise/mine.txt").write_text("not a run")
    fails(call("demo", "-o", "runs"), "without_noise")
    assert sorted(each.name for each in Path("runs").iterdir()) == ["without_noise"]


@pytest.mark.slow
@pytest.mark.usefixtures("single", "small")
@pytest.mark.filterwarnings("ignore:.*left out 'order'")
def test_a_short_demo_writes_what_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "runs" / "demo"
    found = run.run_demo(output, epochs=1)
    shown = capsys.readouterr().out
    for name in ("half_moons.png", "half_moons_thesis.png", "orders.png"):
        assert name in shown
        with Image.open(output / name) as image:
            assert image.size[0] > 500
    record = json.loads((output / "half_moons.json").read_text())
    every = {**found.fitting, **found.thesis}
    assert list(record) == list(every)
    for label, each in every.items():
        assert record[label]["test"]["bound"]["value"] == each.accounting.bound.value
        assert each.accounting.importance_weighted.value > 0.287
        assert each.accounting.exact == ("no noise" in label)
    assert "entropy of the data" in shown
    for command in ("train half_moons_maf_mog --set", "evaluate", "score", "sample"):
        assert f"$ marginflow {command}" in shown
    above, error = found.orders.above.value, found.orders.above.standard_error
    assert above > 3 * error  # an epoch does not learn the law of the orders, let alone pass it
    assert all(Run.open(output / name).metrics for name in ("without_noise", "thesis_with_noise", "orders"))


@pytest.mark.slow
@pytest.mark.usefixtures("single", "small")
@pytest.mark.filterwarnings("ignore:.*left out 'order'")
def test_orders_are_scored_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders.orders(tmp_path, epochs=1)
    found = orders.orders(tmp_path, epochs=3)  # over what is there
    scored = csv.read_csv(tmp_path / "new_orders.scored.csv")
    log_prob, percentile = scored["log_prob"].to_numpy(), scored["percentile"].to_numpy()
    assert scored.num_rows == 100 + len(orders.ODD)
    rows = data.table(str(tmp_path / "new_orders.csv"), schema=Run.open(tmp_path / "orders").spec.schema)
    every = torch.cat([part.take().x for part in (rows.train, rows.validation, rows.test)])
    again = Run.open(tmp_path / "orders").model.log_prob(every).detach().numpy()
    np.testing.assert_allclose(np.sort(log_prob), np.sort(again), rtol=1e-4)
    assert (np.argsort(log_prob, kind="stable") == np.lexsort((log_prob, percentile))).all()  # rise together
    slip = next(i for i, each in enumerate(orders.ODD, 100) if each[4] > 1000)
    many = next(i for i, each in enumerate(orders.ODD, 100) if each[3] > 20)
    assert scored["unusual_column"][slip].as_py() == "amount"
    assert scored["unusual_column"][many].as_py() == "pieces"
    assert scored["outlier"][slip].as_py()
    assert scored["outlier"][many].as_py()
    assert percentile[slip] == percentile[many] == 0
    drawn = csv.read_csv(tmp_path / "orders.drawn.csv")
    assert drawn.equals(found.drawn)
    assert drawn.num_rows == orders.NUM_DRAWN
    assert set(drawn["channel"].to_pylist()) <= set(CHANNELS)
    assert set(drawn["category"].to_pylist()) <= set(CATEGORIES)
    assert all(isinstance(each, date) for each in drawn["date"].to_pylist())
    assert set(drawn["stars"].to_pylist()) <= {None, 1, 2, 3, 4, 5}
    assert min(drawn["pieces"].to_pylist()) >= 1
    assert min(drawn["amount"].to_pylist()) > 0
    shown = capsys.readouterr().out
    assert str(drawn["date"][0]) in shown.partition("that the model drew")[2]


def test_points_pushed_through_are_the_flows_own() -> None:
    x = torch.randn(10, 2)
    plain = models.planar(2)
    torch.testing.assert_close(to_latent(plain, x), plain.transform(x)[0].detach())
    flow = models.planar(4)
    z = to_latent(Marginalising(flow, StandardNormal(2)), x)
    joint, _ = flow.transform.inverse(z)
    torch.testing.assert_close(joint[:, :2], x)
