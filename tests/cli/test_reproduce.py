"""Items of the thesis: trained once, resumed, taken as they are; every experiment they name is there."""

from __future__ import annotations

import importlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import evaluated_quickly, fails, run, succeeds
from matplotlib.figure import Figure
from torch import Tensor

from marginflow.cli.reproduce_item import draw, reproduce, train_once
from marginflow.evaluation.sample import sample_raw
from marginflow.report import figures, plots
from marginflow.report.snapshots import Snapshots
from marginflow.runs import experiments
from marginflow.runs.items import Item, Trained, items
from marginflow.runs.load import load
from marginflow.runs.run import Run
from marginflow.runs.schema import Experiment
from marginflow.training.checkpoint import SNAPSHOTS
from marginflow.training.metrics import read_metrics


def settings_of(trained: Trained) -> Experiment:
    return experiments.read(Path(trained.experiment), list(trained.overrides))


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "runs": [{**each, "evaluate_seconds": None} for each in result["runs"]]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_item_names_experiments_that_can_be_read_and_runs_that_do_not_collide() -> None:
    by_run: dict[str, Experiment] = {}
    for item in items().values():
        for trained in item.trained:
            settings = settings_of(trained)
            assert by_run.setdefault(trained.run, settings) == settings


def test_the_settings_are_those_of_the_thesis() -> None:
    for name in [f"fig{i}" for i in range(1, 9)]:
        for trained in items()[name].trained:
            train = settings_of(trained).train
            assert (train.lr, train.batch_size, train.epochs, train.clip_value) == (5e-4, 100, 100, 5e-6)
    widths = [settings_of(each).model.model_dump() for each in items()["table1"].trained]
    assert [each["hidden"] for each in widths] == [[1024] * 3, [1024] * 3, [3072], [3584]]
    assert [each["degrees"] for each in widths] == ["random", "random", "sequential", "sequential"]
    assert {each["blocks"] for each in widths} == {5}


@pytest.mark.slow
def test_a_figure_from_nothing_again_and_further(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = evaluated_quickly("fig2")
    monkeypatch.setattr("marginflow.runs.items.items", lambda: {"fig2": quick})
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

    (directory / "evaluation.json").write_text("{}")  # damaged, or of another version: it is taken again
    succeeds(run("reproduce", "fig2", "--epochs", "1"))
    assert without_seconds(json.loads(path.read_text())) == without_seconds(result)

    succeeds(run("reproduce", "fig2", "--epochs", "2"))
    assert [each["epoch"] for each in read_metrics(directory)] == [1, 2]
    assert json.loads(path.read_text())["runs"][0]["epochs"] == 2


def test_an_interrupt_keeps_the_run_and_the_same_command_resumes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = experiments.read(Path("half_moons_planar"), ["train.epochs=2", "data.num_train=200"])

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    item = Item("", "", (Trained("half_moons_planar", ""),), "epochs")
    with monkeypatch.context() as patch:
        patch.setattr("marginflow.training.fit", interrupted)
        with pytest.raises(KeyboardInterrupt, match="nothing was trained yet"):
            reproduce("x", item, folder / "none", folder)
        (folder / "runs" / "x" / "y").mkdir(parents=True)
        with pytest.raises(KeyboardInterrupt, match="is kept, and the same command resumes it"):
            reproduce("x", item, folder / "runs", folder)
    train_once(settings, folder / "run", "")
    assert len(read_metrics(folder / "run")) == 2
    load(folder / "run")
    monkeypatch.setattr("marginflow.cli.reproduce_item.train_run", interrupted)
    train_once(settings, folder / "run", "")  # finished: nothing is called


def test_a_finished_run_of_other_settings_is_refused(folder: Path) -> None:
    base = ["train.epochs=1", "data.num_train=200"]
    train_once(experiments.read(Path("half_moons_planar"), base), folder / "run", "")
    with pytest.raises(ValueError, match=r"train.lr"):
        train_once(experiments.read(Path("half_moons_planar"), [*base, "train.lr=1e-2"]), folder / "run", "")


def test_an_unknown_item_is_refused() -> None:
    fails(run("reproduce", "fig9"), "there is no item 'fig9'")


SMALL = ("data.num_train=200", "data.num_validation=100", "data.num_test=100")
MOONS = Item("Moons", "Half moons.", (Trained("half_moons_planar", "planar", None, SMALL),), "epochs")


def result_of(item: Item, folder: Path, epochs: int) -> dict[str, Any]:
    return json.loads(reproduce("moons", item, folder / "runs", folder, epochs).read_text())


@pytest.mark.slow
def test_a_figure_by_epoch_has_all_its_panels_after_an_interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(figures, "of_training", interrupted)  # trained, not drawn
        with pytest.raises(KeyboardInterrupt):
            result_of(MOONS, folder, 1)
    assert result_of(MOONS, folder, 1)["figures"]
    result_of(MOONS, folder, 40)
    kept = Snapshots.read(folder / "runs" / MOONS.trained[0].run / SNAPSHOTS)
    assert list(kept.by_epoch) == [0, 1, 2, 8, 40]
    (folder / "runs" / MOONS.trained[0].run / SNAPSHOTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"was trained without figures/epochs\.safetensors"):
        result_of(MOONS, folder, 40)


@pytest.mark.slow
def test_a_training_that_went_on_without_better_weights_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse_and_worse = itertools.count()
    monkeypatch.setattr(
        importlib.import_module("marginflow.training.fit"), "mean_nll", lambda *_: float(next(worse_and_worse))
    )
    first, second = (result_of(MOONS, folder, epochs)["runs"][0] for epochs in (2, 4))
    assert first["weights_sha256"] == second["weights_sha256"]
    assert (second["epochs"], second["experiment"]["train"]["epochs"], len(second["curve"])) == (4, 4, 4)


def test_a_schedule_that_has_run_out_is_not_gone_on_with(folder: Path) -> None:
    falling = (*SMALL, "train.schedule=cosine")
    item = Item("Moons", "Half moons.", (Trained("half_moons_planar", "planar", None, falling),), "epochs")
    result_of(item, folder, 1)
    with pytest.raises(ValueError, match="was begun for 1 epochs, over which its learning rate falls"):
        result_of(item, folder, 2)


def test_samples_that_are_not_finite_leave_the_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(*_: object, **__: object) -> None:
        raise FloatingPointError("7 of 36 samples are not finite")

    monkeypatch.setattr("marginflow.cli.reproduce_item.sample_raw", diverged)
    item = Item("Moons", "Half moons.", MOONS.trained, "points")
    record = result_of(item, folder, 1)
    assert (record["figures"], record["not_drawn"]) == ([], "7 of 36 samples are not finite")
    succeeds(run("report", folder / "moons.json", "-o", folder / "page.html"))
    assert "Not drawn: 7 of 36" in (folder / "page.html").read_text()


def test_all_continues_behind_a_training_that_diverges(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Item("Broken", "", (Trained("half_moons_planar", "", None, (*SMALL, "train.batch_size=201")),), "epochs")
    monkeypatch.setattr("marginflow.runs.items.items", lambda: {"broken": broken, "moons": MOONS})
    result = run("reproduce", "all", "--epochs", "1", "--results", folder)
    assert result.exit_code == 1
    assert "broken: batch_size 201 is larger than the training set of 200 rows" in result.stderr
    assert result.stderr.strip().endswith("broken did not come to an end, for the reasons above")
    assert (folder / "moons.json").is_file()
    fails(run("reproduce", "moons", "--results", folder / "moons.json"), "is a file: name a folder for the results")


def test_the_device_is_that_of_the_training_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Experiment] = []

    def watched(settings: Experiment, *_: object, **__: object) -> None:
        seen.append(settings)
        raise FloatingPointError

    monkeypatch.setattr("marginflow.cli.reproduce_item.train_run", watched)
    with pytest.raises(FloatingPointError):
        reproduce("moons", MOONS, folder / "runs", folder, device="cpu")
    assert seen[0].train.device == "cpu"


DIGITS = """
[data]
name = "digits"
[preprocess]
logit = 1e-3
[model]
name = "planar"
blocks = 2
[train]
epochs = 1
"""


@pytest.fixture
def digits(folder: Path) -> Trained:
    """A run on digits in runs/digits."""
    (folder / "experiments").mkdir()
    (folder / "experiments" / "digits.toml").write_text(DIGITS)
    trained = Trained("digits", "planar")
    train_once(experiments.read(Path("digits"), []), folder / "runs" / "digits", "")
    return trained


def panels_of(item: Item, runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The grids of images that a figure shows."""
    shown: dict[str, Tensor] = {}

    def grids(panels: dict[str, Tensor], levels: int, **_: object) -> Figure:
        shown.update(panels)
        return Figure()

    monkeypatch.setattr(plots, "image_grids", grids)
    draw(item, runs_folder, [])
    return shown


def test_samples_stand_beside_test_images(folder: Path, digits: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = panels_of(Item("", "", (digits,), "samples"), folder / "runs", monkeypatch)
    opened = Run.open(folder / "runs" / "digits")
    model, spec, test = opened.model, opened.spec, opened.test(36)
    assert list(shown) == ["digits, test images", "planar"]
    assert torch.equal(shown["digits, test images"], test.take().x)
    assert torch.equal(shown["planar"], sample_raw(model, spec, 36, seed=0))


def test_digits_are_shown_as_the_flow_leaves_them(
    folder: Path, digits: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folder / "runs" / "digits")
    rows = torch.randn(16, 64)
    monkeypatch.setattr(
        "marginflow.cli.reproduce_item.to_latent", lambda *_: rows
    )  # as if the flow had made this of them
    shown = panels_of(Item("", "", (digits,), "digits"), folder / "runs", monkeypatch)
    (name,) = [name for name in shown if name.startswith("through the flow, planar")]
    images = model.transform.inverse(rows)[0]
    torch.testing.assert_close(shown[name], (images.clamp(0, 1) * 255).round())


def test_points_are_data_latents_and_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = Item("", "", MOONS.trained, "points")
    train_once(
        experiments.read(Path("half_moons_planar"), [*SMALL, "train.epochs=1"]), folder / MOONS.trained[0].run, ""
    )
    figure = draw(item, folder, [])
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == [
        "data: x squared, and its sign", "through the flow", "samples",
    ]  # fmt: skip
    test = Run.open(folder / MOONS.trained[0].run).data.test.take().x
    shown = [torch.tensor(axes.collections[0].get_offsets().data) for axes in figure.axes]
    torch.testing.assert_close(shown[0], test.double())
    z, _ = load(folder / MOONS.trained[0].run).base.transform(test)
    torch.testing.assert_close(shown[1], z.detach().double())


def test_lines_are_nats_a_half_moon(folder: Path) -> None:
    pair = tuple(Trained("half_moons_planar", str(at), None, (), at) for at in (2.0, 4.0))
    numbers = [
        {
            "features": n,
            "importance_weighted": {"value": 2.0 * n, "standard_error": 0.1 * n},
            "bound": {"value": 3.0 * n},
        }
        for n in (2, 4)
    ]
    figure = draw(Item("", "", pair, "against", "dimensions"), folder, numbers)
    assert figure is not None
    (axes,) = figure.axes
    lines = {str(each.get_label()): each for each in axes.containers}
    bound, estimate = (lines[name].lines[0].get_xydata().tolist() for name in ("bound", "NLL, exact or by IW-K"))
    assert (bound, estimate) == ([[2, 6], [4, 6]], [[2, 4], [4, 4]])
    bars = lines["NLL, exact or by IW-K"].lines[2][0].get_segments()
    assert [segment[:, 1].tolist() for segment in bars] == [[pytest.approx(3.8), pytest.approx(4.2)]] * 2
    assert axes.get_xlabel() == "dimensions"
    assert plots.lines_against([1], {}, "", 0.5).axes[0].lines[0].get_ydata()[0] == 0.5
