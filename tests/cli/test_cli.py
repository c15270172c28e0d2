"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import math
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Call, fails, succeeds, width
from typer.testing import Result

from marginflow.base.distribution import Distribution
from marginflow.evaluation.check.findings import Finding, Findings
from marginflow.runs.load import load
from marginflow.runs.run import Run
from marginflow.training.progress import TrainingProgress

pytestmark = pytest.mark.usefixtures("single")


@pytest.mark.slow
def test_train_evaluate_sample_on_half_moons(call: Call, tmp_path: Path) -> None:
    output = succeeds(call("train", "moons.toml", "--set", "noise.features=2"))
    assert "epoch 2/2" in output
    run = tmp_path / "runs" / "moons"
    names = {
        "config.toml", "manifest.json", "metrics.jsonl", "model.safetensors", "trainer.pt", "figures", "checksums.json",
    }  # fmt: skip
    assert {path.name for path in run.iterdir()} == names
    assert (run / "figures" / "training.png").stat().st_size > 5000
    assert "features = 2" in (run / "config.toml").read_text()

    table = succeeds(call("evaluate", run, "-K", 20, "--rows", 100))
    for row in (
        "joint NLL",
        "noise entropy",
        "bound on the NLL",
        "by IW-20",
        "effective sample size",
        "entropy of the data",
    ):
        assert row in table
    record = json.loads((run / "evaluation.json").read_text())
    assert record["test"]["num_rows"] == 100
    assert record["test"]["num_samples"] == 20
    assert record["epochs"] == 2

    for name in ("a.npy", "a.csv", "a.png"):
        succeeds(call("sample", run, "-n", 50, "-o", name))
    rows = np.load("a.npy")
    assert rows.shape == (50, 2)
    assert Path("a.csv").read_text().startswith("x0,x1\n")
    np.testing.assert_allclose(np.loadtxt("a.csv", delimiter=",", skiprows=1), rows, rtol=1e-6)
    assert width("a.png") > 300


@pytest.mark.slow
def test_train_evaluate_sample_on_digits(call: Call, tmp_path: Path) -> None:
    succeeds(call("train", "digits.toml", "--run-dir", "here"))
    table = succeeds(call("evaluate", "here", "-K", 5))
    assert "bits/dim" in table
    succeeds(call("sample", "here", "-n", 7, "-o", "grid.png"))
    assert width("grid.png") >= 500
    succeeds(call("sample", "here", "-n", 7, "-o", "digits.npy"))
    images = np.load("digits.npy")
    assert images.shape == (7, 1, 8, 8)
    assert images.dtype == np.uint8
    assert images.max() <= 16
    succeeds(call("sample", "here", "-n", 7, "-o", "digits.csv", "--seed", 0))
    flat = np.loadtxt("digits.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(flat, images.reshape(7, -1))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(call: Call) -> None:
    results = []
    for name in ("a", "b"):
        succeeds(call("train", "moons.toml", "--run-dir", name))
        results.append(Path(name, "model.safetensors").read_bytes())
    assert results[0] == results[1]


@pytest.mark.slow
def test_overwrite_replaces_a_run_and_without_it_nothing_is_touched(call: Call) -> None:
    succeeds(call("train", "moons.toml"))
    before = Path("runs/moons/model.safetensors").read_bytes()
    fails(call("train", "moons.toml"), "runs/moons exists: give another --run-dir, or --overwrite")
    assert Path("runs/moons/model.safetensors").read_bytes() == before
    succeeds(call("train", "moons.toml", "--overwrite", "--set", "train.seed=1"))
    assert Path("runs/moons/model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.toml"], "nowhere.toml is neither a file nor the name of an experiment"),
        (["moons.toml", "--set", "train.speed=3"], r"unknown key train\.speed; known here: epochs"),
        (
            ["moons.toml", "--set", "model.name=glowing"],
            "unknown model 'glowing'; did you mean glow\\?",
        ),
        (["moons.toml", "--set", "data.name=moons"], "unknown data 'moons'"),
        (["moons.toml", "--set", "noise.features=-2"], r"noise\.features = -2"),
        (["moons.toml", "--set", "train.batch_size=501"], "batch_size 501 is larger than the training set of 500 rows"),
        (["moons.toml", "--set", "data.num_train=1"], "each split needs at least 2 rows"),
        (["moons.toml", "--set", "data={name='digits'}"], "--set takes"),
        (["moons.toml", "--set", "context.features=4"], r"context\.features is for data with a context"),
        (["moons.toml", "--set", "noise.name=iaf"], r"noise: there are no noise dimensions"),
        (["moons.toml", "--set", "evaluate.num_samples=0"], r"evaluate\.num_samples = 0"),
        (["moons.toml", "--set", "train.device=abacus"], "device 'abacus' cannot be used"),
        (["moons.toml", "--set", "train.device=mps"], "device 'mps' cannot be used"),
        (
            ["moons.toml", "--set", "train.clip_value=1", "--set", "train.clip_norm=1"],
            "train: clip_value and clip_norm",
        ),
        (["digits.toml", "--set", "train.batch_size=1"], "at least 2 for a model with BatchNorm"),
        (["moons.toml", "--set", "train.lr=inf"], r"train\.lr = inf"),
    ],
)
def test_a_mistake_in_train_leaves_nothing_behind(call: Call, arguments: list[str], message: str) -> None:
    fails(call("train", *arguments), message)
    assert not Path("runs").exists()


def test_mistakes_in_evaluate_and_sample(call: Call) -> None:
    fails(call("evaluate", "nowhere"), "nowhere is not a run directory")
    succeeds(call("train", "moons.toml"))
    fails(call("evaluate", "runs/moons", "-K", 0), "num_samples = 0")
    fails(call("evaluate", "runs/moons", "--rows", 0), "rows = 0")
    for seed in (-1, 2**30):
        fails(call("evaluate", "runs/moons", "--seed", seed), f"seed = {seed}: input should be")
        fails(
            call("sample", "runs/moons", "--seed", seed, "-o", "a.npy"), f"seed must lie between 0 and .*; got {seed}"
        )
        fails(call("check", "runs/moons", "--seed", seed), f"seed must lie between 0 and .*; got {seed}")
    assert not Path("runs/moons/evaluation.json").exists()
    fails(call("sample", "runs/moons", "-n", 0, "-o", "a.npy"), "number of samples must be at least 1; got 0")
    fails(call("sample", "runs/moons", "-o", "a.gif"), "must end in .png, .csv, .tsv, .*; got '.gif'")
    fails(call("sample", "runs/moons", "-o", "nowhere/a.png"), "folder nowhere does not exist")
    Path("runs/moons/model.safetensors").write_bytes(b"broken")
    fails(call("evaluate", "runs/moons"), "is not what was written there")
    Path("runs/moons/checksums.json").unlink()
    fails(call("evaluate", "runs/moons"), "cannot be loaded")
    fails(call("sample", "runs/moons", "-o", "a.npy"), "cannot be loaded")
    assert not [path for path in Path().iterdir() if path.name.startswith("a.")]


def test_labels_are_averaged_over_in_evaluation_and_chosen_in_sampling(call: Call) -> None:
    succeeds(call("train", "digits.toml", "--set", "data.labels=true"))
    table = succeeds(call("evaluate", "runs/digits", "-K", 2, "--rows", 50, "--no-figures"))
    assert "NLL given the label" in table
    assert "joint NLL" in table
    record = json.loads(Path("runs/digits/evaluation.json").read_text())["test"]
    assert record["importance_weighted"]["value"] < record["given_label"]["value"] + math.log(10) + 1  # at K = 2
    succeeds(call("sample", "runs/digits", "-n", 9, "--label", "7", "-o", "sevens.npy"))
    succeeds(call("sample", "runs/digits", "-n", 9, "-o", "any.npy"))
    assert not np.array_equal(np.load("sevens.npy"), np.load("any.npy"))
    fails(
        call("sample", "runs/digits", "--label", "12", "-o", "b.npy"),
        "label '12', which the model does not know; it knows '0', '1'",
    )
    assert not Path("b.npy").exists()


def test_a_truncated_file_of_a_data_set_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINFLOW_DATA", str(Path.cwd()))
    Path("train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    fails(call("train", "digits.toml", "--set", "data.name=mnist"), "train-images.* cannot be unpacked")


def diverges(result: Result, message: str) -> None:
    """The rate is warned of before the first step, in a line, and the training then fails in one."""
    assert result.exit_code == 1, result.output
    warning, error = result.stderr.splitlines()
    assert warning.startswith("marginflow: warning: at lr = 1e+30 each step of Adam moves every weight")
    assert re.search(message, error), error


def test_nan_in_training_is_one_line_and_leaves_nothing_half_written(call: Call) -> None:
    result = call("train", "moons.toml", "--set", "train.lr=1e30", "--set", "train.epochs=50")
    diverges(result, r"loss became (nan|inf).* nothing is kept")
    assert not Path("runs/moons").exists()


def test_overwriting_with_a_training_that_fails_loses_nothing(call: Call) -> None:
    succeeds(call("train", "moons.toml"))
    before = {path: path.read_bytes() for path in Path("runs/moons").rglob("*") if path.is_file()}
    diverges(call("train", "moons.toml", "--overwrite", "--set", "train.lr=1e30"), "loss became")
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_no_arguments_show_the_commands(call: Call) -> None:
    output = call().output
    assert all(command in output for command in ("train", "evaluate", "sample", "demo"))


@pytest.mark.slow
def test_a_flow_of_images_is_trained_by_class_with_noise_and_sampled_by_label(call: Call) -> None:
    options = [
        "data.labels=true", "model.name=glow", "noise.name=realnvp_images", "noise.features=1", "noise.levels=1",
        "dequantise.name=glow", "dequantise.blocks=1", "train.checkpoint=true",
    ]  # fmt: skip
    text = Path("digits.toml").read_text().replace("batch_norm = true\n", "").replace("features = 3", "hidden = [4]")
    Path("glow.toml").write_text(text)
    given = [each for option in options for each in ("--set", option)]
    succeeds(call("train", "glow.toml", *given))
    table = succeeds(call("evaluate", "runs/glow", "-K", 2, "--rows", 20, "--no-figures"))
    assert "bits/dim, from the bound" in table
    assert "u ~ q(u|x), by a model" in table
    succeeds(call("sample", "runs/glow", "-n", 9, "--label", "7", "--temperature", 0.7, "-o", "sevens.npy"))
    sevens = np.load("sevens.npy")
    assert (sevens.shape, sevens.dtype, sevens.max() <= 16) == ((9, 1, 8, 8), np.uint8, True)
    fails(call("train", "glow.toml", *given, "--set", "model.levels=4", "--run-dir", "other"), "multiples of 16")
    assert not Path("other").exists()
    longer = ["--set", "train.epochs=2", "--set", "train.checkpoint=false"]  # memory may be spent otherwise
    assert "epoch 2/2" in succeeds(call("train", "glow.toml", *given, *longer, "--resume"))


def test_experiments_and_tables_that_are_not_there(call: Call) -> None:
    fails(call("train", "mnist_mav"), "mnist_mav is neither a file nor the name of .*; did you mean mnist_maf\\?")
    fails(call("train", "nowhere.csv"), "nowhere.csv does not exist, or is not a file")
    fails(call("train", "table.xlsx"), r"table.xlsx must be an experiment .* or a table: .csv, .*save the sheet as")
    fails(
        call("train", "moons.toml", "--set", "train.epoch=3"),
        r"unknown key train.epoch; .* mean train\.epochs\?",
    )
    succeeds(call("train", "moons.toml"))
    fails(call("evaluate", "moons"), r"moons is not a run directory: .* did you mean runs/moons\?")


def test_an_experiment_is_found_by_its_name(call: Call) -> None:
    Path("experiments").mkdir()
    Path("moons.toml").rename("experiments/short_moons.toml")
    succeeds(call("train", "short_moons"))
    assert Path("runs/short_moons/model.safetensors").exists()


@pytest.mark.slow
def test_ctrl_c_while_a_run_is_replaced_loses_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds(call("train", "moons.toml"))
    before = {path.name: path.read_bytes() for path in Path("runs/moons").iterdir() if path.is_file()}
    on_step = TrainingProgress.on_step

    def interrupted(self: TrainingProgress, epoch: int, step: int, num_steps: int, loss: float) -> None:
        on_step(self, epoch, step, num_steps, loss)
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "on_step", interrupted)
    result = call("train", "moons.toml", "--overwrite", "--set", "train.seed=1")
    assert result.exit_code == 130
    assert "resume with the same command and --resume; until an epoch is validated, the run that was" in result.stderr
    aside = Path("runs/.moons.replaced")
    assert {path.name: path.read_bytes() for path in aside.iterdir() if path.is_file()} == before
    monkeypatch.setattr(TrainingProgress, "on_step", on_step)
    succeeds(call("train", "moons.toml", "--resume", "--set", "train.seed=1"))
    assert not aside.exists()
    assert Path("runs/moons/model.safetensors").read_bytes() != before["model.safetensors"]


@pytest.mark.slow
def test_resuming_from_the_command_line(call: Call) -> None:
    succeeds(call("train", "moons.toml", "--resume"))
    assert "epoch 3/3" in succeeds(call("train", "moons.toml", "--resume", "--set", "train.epochs=3"))
    again = succeeds(call("train", "moons.toml", "--resume", "--set", "train.epochs=3"))
    assert "epoch" not in again
    assert "runs/moons is finished, there is nothing to resume" in again
    fails(call("train", "moons.toml", "--resume", "--set", "train.lr=0.1"), r"started with train.lr = 0.0005; .* 0.1")
    fails(call("train", "moons.toml", "--resume", "--overwrite"), "give one of them")
    assert len(Path("runs/moons/metrics.jsonl").read_text().splitlines()) == 3


def test_a_run_is_checked_and_the_exit_status_says_how_it_went(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds(call("train", "moons.toml", "--set", "noise.features=1"))
    output = succeeds(call("check", "runs/moons"))
    assert all(name in output for name in ("round trip, float32", "log-determinant", "normalisation", "floor"))
    fails(call("check", "runs/none"), "is not a run directory")
    below = Findings([Finding("floor", "fail", "NLL 0.1, entropy [0.287]", "mend it")])
    monkeypatch.setattr("marginflow.runs.evaluate.check", lambda *_: below)
    result = call("check", "runs/moons")
    assert result.exit_code == 1
    assert "entropy [0.287]" in result.stdout
    assert result.stderr.strip() == "marginflow: runs/moons fails floor"


@pytest.mark.slow
def test_runs_are_compared(call: Call) -> None:
    for seed in (0, 1):
        succeeds(call("train", "moons.toml", "--set", f"train.seed={seed}", "--run-dir", f"runs/s{seed}"))
    table = succeeds(call("compare", "runs/s0", "runs/s1", "--rows", 100))
    assert "same 100 test rows" in table
    assert "s0" in table
    assert "s1" in table
    fails(call("compare", "runs/s0"), "at least two runs")
    fails(call("compare", "runs/s0", "nowhere"), "nowhere is not a run directory")
    fails(call("compare", "runs/s0", "runs/s0/"), "a run is named twice")


def test_lists_and_paths(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINFLOW_DATA", str(Path.cwd()))
    output = succeeds(call("list"))
    assert "maf" in output
    assert "planar" in output
    assert "cifar10_maf_1024x3" in output
    output = succeeds(call("data", "list"))
    assert "checkerboard" in output
    assert "not here: fetch it" in output
    fails(call("data", "path", "mnist"), "mnist: train-images.* not found below .*: marginflow data fetch mnist")
    fails(call("data", "path", "half_moons"), "is drawn, or comes with a library")
    fails(call("data", "fetch", "mnits"), "'mnits' is unknown")
    Path("miniboone").mkdir()
    np.save("miniboone/data.npy", np.zeros((3, 3)))
    assert succeeds(call("data", "path", "miniboone")).strip() == str(Path.cwd() / "miniboone")
    assert succeeds(call("data", "fetch", "miniboone")).strip() == str(Path.cwd() / "miniboone")


@pytest.mark.usefixtures("single")
def test_deterministic_is_asked_of_torch_while_evaluating_and_sampling(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeds(call("train", "moons.toml", "--set", "train.epochs=1"))
    seen: list[bool] = []

    class Watched(Distribution):
        def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return inner.log_prob(x)

        def _sample(self, num_samples: int, context: torch.Tensor | None) -> torch.Tensor:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return inner.sample(num_samples)

    inner = load("runs/moons")
    watched = Watched()
    monkeypatch.setattr(Run, "model", watched)
    for on in (True, False):
        more = ["--deterministic"] if on else []
        succeeds(call("evaluate", "runs/moons", "--no-figures", *more))
        succeeds(call("sample", "runs/moons", "-o", "a.npy", *more))
        assert seen
        assert all(each == on for each in seen)
        seen.clear()
