"""Items of the thesis: trained once, gone on with, taken as they are; every experiment they name is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import fails, run, succeeds

from marginflow import experiments, runs
from marginflow.checkpoint import read_metrics
from marginflow.config import Experiment
from marginflow.reproduce import train_once
from marginflow.thesis import ITEMS, Trained


def settings_of(trained: Trained) -> Experiment:
    return experiments.read(Path(trained.experiment), list(trained.overrides))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_item_names_experiments_that_can_be_read_and_runs_that_do_not_collide() -> None:
    by_run: dict[str, Experiment] = {}
    for item in ITEMS.values():
        for trained in item.trained:
            settings = settings_of(trained)
            assert by_run.setdefault(trained.run, settings) == settings


def test_the_settings_are_those_of_the_thesis() -> None:
    for name in [f"fig{i}" for i in range(1, 9)]:
        for trained in ITEMS[name].trained:
            train = settings_of(trained).train
            assert (train.lr, train.batch_size, train.epochs, train.clip_value) == (5e-4, 100, 100, 5e-6)
    widths = [settings_of(each).model.model_dump() for each in ITEMS["table1"].trained]
    assert [each["hidden"] for each in widths] == [[1024] * 3, [1024] * 3, [3072], [3584]]
    assert [each["degrees"] for each in widths] == ["random", "random", "sequential", "sequential"]
    assert {each["blocks"] for each in widths} == {5}


def test_a_figure_from_nothing_again_and_further(folder: Path) -> None:
    succeeds(run("reproduce", "fig2", "--epochs", "1", "--report"))
    path = folder / "experiments" / "results" / "fig2.json"
    result = json.loads(path.read_text())
    (entry,) = result["runs"]
    assert (entry["epochs"], entry["reported_by_the_thesis"], len(entry["curve"])) == (1, -7.27, 1)
    test = entry["test"]
    assert test["bound"]["value"] == pytest.approx(test["joint_nll"]["value"] - test["noise_entropy"]["value"])
    assert (path.parent / "fig2.png").is_file()
    assert (path.parent / "fig2.html").is_file()
    directory = folder / "runs" / "thesis" / entry["name"]
    files = [directory / "trainer.pt", directory / "evaluation.json"]
    written = [file.stat().st_mtime_ns for file in files]

    succeeds(run("reproduce", "fig2", "--epochs", "1"))
    assert [file.stat().st_mtime_ns for file in files] == written  # neither trained nor evaluated again
    assert json.loads(path.read_text()) == result

    succeeds(run("reproduce", "fig2", "--epochs", "2"))
    assert [each["epoch"] for each in read_metrics(directory)] == [1, 2]
    assert json.loads(path.read_text())["runs"][0]["epochs"] == 2


def test_an_interrupt_keeps_the_run_and_the_same_command_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = experiments.read(Path("half_moons_planar"), ["train.epochs=2", "data.num_train=200"])

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("marginflow.trainer.fit", interrupted)
        with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
            train_once(settings, folder / "run", "")
    train_once(settings, folder / "run", "")
    assert len(read_metrics(folder / "run")) == 2
    runs.load(folder / "run")
    monkeypatch.setattr("marginflow.trainer.train", interrupted)
    train_once(settings, folder / "run", "")  # finished: nothing is called


def test_a_finished_run_of_other_settings_is_refused(folder: Path) -> None:
    base = ["train.epochs=1", "data.num_train=200"]
    train_once(experiments.read(Path("half_moons_planar"), base), folder / "run", "")
    with pytest.raises(ValueError, match=r"train.lr"):
        train_once(experiments.read(Path("half_moons_planar"), [*base, "train.lr=1e-2"]), folder / "run", "")


def test_an_unknown_item_is_refused() -> None:
    fails(run("reproduce", "fig9"), "there is no item 'fig9'")
