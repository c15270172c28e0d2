"""Estimators as runs: what Python keeps the command line opens, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import Call, succeeds

import marginflow as mf
from marginflow.base.data_warning import DataWarning
from marginflow.estimators import FlowDensity, FlowOutlierDetector, flow_estimator
from marginflow.runs.run import Run

SMALL: dict[str, Any] = {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 2}}
pytestmark = pytest.mark.usefixtures("single")


def orders(num_rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sizes = rng.choice(["S", "M", "L"], num_rows)
    return pd.DataFrame({"size": sizes, "count": rng.integers(0, 9, num_rows), "length": rng.normal(size=num_rows)})


def fitted() -> FlowDensity:
    return FlowDensity("mixture", options={"model": {"components": 4}}, random_state=0).fit(orders())


def reals() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 2))


def test_what_is_kept_is_opened(tmp_path: Path) -> None:
    found, frame = fitted(), orders()
    path = found.save(tmp_path / "run")
    names = "checksums.json choice.json config.toml held_out.json manifest.json metrics.jsonl model.safetensors"
    assert {each.name for each in path.iterdir()} == set(names.split())
    again = FlowDensity.load(path)
    assert (again.score_samples(frame) == found.score_samples(frame)).all()
    pd.testing.assert_series_equal(again.sample(20).dtypes, frame.dtypes)
    assert (again.held_out_.log_prob == found.held_out_.log_prob).all()
    assert again.history_ == found.history_
    assert [each.name for each in again.trials_] == [each.name for each in found.trials_]
    assert mf.load(path).event_shape == (3,)
    assert again.save(tmp_path / "copy").is_dir()
    assert again.fit(frame).score(frame) == pytest.approx(found.score(frame), abs=0.3)


def test_a_run_of_an_array_gives_arrays(tmp_path: Path) -> None:
    found = FlowDensity("maf", options=SMALL, random_state=0).fit(reals())
    again = FlowDensity.load(found.save(tmp_path / "run"))
    assert (again.score_samples(reals()) == found.score_samples(reals())).all()
    assert isinstance(again.sample(3), np.ndarray)


def test_a_detector_is_opened_at_any_contamination(tmp_path: Path) -> None:
    found = FlowOutlierDetector(0.1, model="maf", options=SMALL, random_state=0).fit(reals())
    found.save(tmp_path / "run")
    assert FlowOutlierDetector.load(tmp_path / "run", contamination=0.1).offset_ == found.offset_
    assert FlowOutlierDetector.load(tmp_path / "run", contamination=0.3).offset_ > found.offset_


def test_the_offset_of_fitted_rows_is_not_kept_which_is_said(tmp_path: Path) -> None:
    found = FlowOutlierDetector(0.1, novelty=False, model="maf", options=SMALL, random_state=0).fit(reals())
    with pytest.warns(UserWarning, match="keeps the density, not the offset of the fitted rows"):
        found.save(tmp_path / "run")
    assert FlowOutlierDetector.load(tmp_path / "run", contamination=0.1).novelty


def test_the_command_line_evaluates_and_samples_what_python_kept(call: Call) -> None:
    found = fitted()
    found.save("run")
    orders().to_csv("orders.csv", index=False)
    succeeds(call("evaluate", "run", "--data", "orders.csv", "--no-figures", "-o", "scores.csv"))
    scores = pd.read_csv("scores.csv")["log_prob"].to_numpy()
    assert np.abs(scores - found.score_samples(orders())).max() < 1e-4
    succeeds(call("sample", "run", "-n", "5", "-o", "drawn.csv"))
    assert list(pd.read_csv("drawn.csv").columns) == ["size", "count", "length"]


def test_a_run_of_rows_in_memory_says_that_it_has_no_file(call: Call) -> None:
    fitted().save("run")
    for command in (["evaluate", "run"], ["train", "run/config.toml", "--run-dir", "again"]):
        result = call(*command)
        assert result.exit_code == 1
        assert "rows in memory, which no file holds: give those of a file, --data FILE" in result.output
    with pytest.raises(ValueError, match="rows in memory"):
        _ = Run.open("run").data
    orders().to_csv("orders.csv", index=False)
    succeeds(call("train", "run/config.toml", "--run-dir", "again", "--set", "data.path=orders.csv"))


@pytest.mark.parametrize(
    "options", [["--set", "model.name=mixture", "--set", "model.components=4"], ["--drop", "size,count"]]
)
def test_python_opens_what_the_command_line_trained(call: Call, options: list[str]) -> None:
    orders().assign(width=reals()[:, 0]).to_csv("orders.csv", index=False)
    succeeds(call("train", "orders.csv", "--run-dir", "run", "--set", "train.epochs=2", *options))
    frame = pd.read_csv("orders.csv")
    found = FlowDensity.load("run")
    if found.schema_ is None:
        with pytest.warns(DataWarning, match="'size', 'count' left out, not known to the model"):
            scores = found.score_samples(frame)
        assert list(found.sample(3).columns) == ["length", "width"]
    else:
        scores = found.score_samples(frame)
        pd.testing.assert_series_equal(found.sample(3).dtypes, frame.dtypes)
    run = Run.open("run")
    assert np.abs(run.model.log_prob(run.data.test.x[:]).detach().mean().item() - scores.mean()) < 0.6
    assert found.held_out_ is None or len(found.held_out_.log_prob) > 1


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    found = fitted()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists: give another path"):
        found.save(tmp_path / "full")
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(flow_estimator, "save_weights", full)
    with pytest.raises(OSError, match="no space left"):
        fitted().save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_images_are_no_tables(call: Call) -> None:
    succeeds(call("train", "digits.toml", "--run-dir", "digits"))
    with pytest.raises(ValueError, match=r"trained on images: open it by marginflow.load\('digits'\)"):
        FlowDensity.load("digits")
