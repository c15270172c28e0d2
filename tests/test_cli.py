"""The command line as a user meets it: the main job, and one clear line for each mistake."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import csv, feather, parquet
from typer.testing import CliRunner, Result

from marginflow.cli import app
from marginflow.console import TrainingProgress

pytestmark = pytest.mark.usefixtures("single")

MOONS = """
[data]
name = "half_moons"
num_train = 500
num_validation = 100
num_test = 200
[model]
name = "planar"
blocks = 2
[train]
epochs = 2
"""
DIGITS = """
[data]
name = "digits"
[preprocess]
logit = 0.05
[model]
name = "maf"
hidden = [16]
blocks = 2
batch_norm = true
[noise]
features = 3
[train]
epochs = 1
"""
Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty directory that holds some experiments."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moons.toml").write_text(MOONS)
    (tmp_path / "digits.toml").write_text(DIGITS)
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


def width(path: str) -> int:
    with Image.open(path) as image:
        return image.size[0]


def succeeds(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def fails(result: Result, message: str) -> None:
    """Exit status 1 and one line that matches."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.output
    assert re.search(message, lines[0]), lines[0]


def test_train_evaluate_sample_on_half_moons(call: Call, tmp_path: Path) -> None:
    output = succeeds(call("train", "moons.toml", "--set", "noise.features=2"))
    assert "epoch 2/2" in output
    run = tmp_path / "runs" / "moons"
    names = {"config.toml", "manifest.json", "metrics.jsonl", "model.safetensors", "trainer.pt", "figures"}
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


def test_the_same_seed_gives_the_same_run(call: Call) -> None:
    results = []
    for name in ("a", "b"):
        succeeds(call("train", "moons.toml", "--run-dir", name))
        results.append(Path(name, "model.safetensors").read_bytes())
    assert results[0] == results[1]


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
        (["nowhere.toml"], "nowhere.toml does not exist"),
        (["moons.toml", "--set", "train.speed=3"], r"unknown key train\.speed; known here: epochs"),
        (["moons.toml", "--set", "model.name=glow"], "unknown model 'glow'; there are 'planar', 'radial', .*'nsf'"),
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
    fails(call("sample", "runs/moons", "-n", 0, "-o", "a.npy"), "number of samples must be at least 1; got 0")
    fails(call("sample", "runs/moons", "-o", "a.gif"), "must end in .png, .csv, .parquet, .feather, .npy; got '.gif'")
    fails(call("sample", "runs/moons", "-o", "nowhere/a.png"), "folder nowhere does not exist")
    Path("runs/moons/model.safetensors").write_bytes(b"broken")
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
    fails(call("sample", "runs/digits", "--label", "12", "-o", "b.npy"), "label '12' is not one of the model's: 0, 1, ")
    assert not Path("b.npy").exists()


def test_a_truncated_file_of_a_data_set_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINFLOW_DATA", str(Path.cwd()))
    Path("train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    fails(call("train", "digits.toml", "--set", "data.name=mnist"), "train-images.* cannot be unpacked")


def test_nan_in_training_is_one_line_and_leaves_nothing_half_written(call: Call) -> None:
    result = call("train", "moons.toml", "--set", "train.lr=1e30", "--set", "train.epochs=50")
    fails(result, r"loss became (nan|inf).* nothing is kept")
    assert not Path("runs/moons").exists()


def test_overwriting_with_a_training_that_fails_loses_nothing(call: Call) -> None:
    succeeds(call("train", "moons.toml"))
    before = {path: path.read_bytes() for path in Path("runs/moons").rglob("*") if path.is_file()}
    fails(call("train", "moons.toml", "--overwrite", "--set", "train.lr=1e30"), "loss became")
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "marginflow", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.7


def test_no_arguments_show_the_commands(call: Call) -> None:
    output = call().output
    assert all(command in output for command in ("train", "evaluate", "sample", "demo"))


def table_of(path: str, n: int = 200, **columns: object) -> None:
    rng = np.random.default_rng(0)
    every = {"height": rng.standard_normal(n), "weight": 3 * rng.standard_normal(n) + 1, **columns}
    csv.write_csv(pa.table(every), path)


def test_a_table_is_trained_on_as_it_is(call: Call) -> None:
    table_of("people.csv")
    output = succeeds(call("train", "people.csv", "--set", "train.epochs=2"))
    assert "next, marginflow evaluate runs/people" in output
    table = succeeds(call("evaluate", "runs/people", "-o", "scores.parquet"))
    assert "NLL of the rows as given" in table
    figures = {path.name for path in Path("runs/people/figures").iterdir()}
    assert {"training.png", "training.svg", "marginals.png", "density.svg", "latents.png", "epochs.png"} <= figures
    scores = parquet.read_table("scores.parquet")["log_prob"].to_numpy()
    record = json.loads(Path("runs/people/evaluation.json").read_text())
    assert -scores.mean() == pytest.approx(record["test"]["raw_nll"], rel=1e-6)
    for name in ("a.parquet", "a.feather", "a.csv"):
        succeeds(call("sample", "runs/people", "-n", 20, "-o", name))
    drawn = parquet.read_table("a.parquet")
    assert drawn.column_names == ["height", "weight"]
    assert drawn.equals(feather.read_table("a.feather"))
    assert Path("a.csv").read_text().startswith("height,weight\n")
    succeeds(call("sample", "runs/people", "-n", 20, "--temperature", 0.1, "-o", "b.parquet"))
    assert parquet.read_table("b.parquet")["height"].to_numpy().std() < drawn["height"].to_numpy().std() / 2
    fails(call("sample", "runs/people", "--temperature", 0), "temperature must be a positive number; got 0")
    fails(call("sample", "runs/people", "--label", "a"), "trained without labels")


def test_another_table_is_evaluated_by_its_columns(call: Call) -> None:
    table_of("people.csv")
    succeeds(call("train", "people.csv", "--set", "train.epochs=1"))
    before = succeeds(call("evaluate", "runs/people", "--no-figures"))
    table_of("other.csv", 50)
    assert "means over 50 rows" in succeeds(call("evaluate", "runs/people", "--data", "other.csv"))
    assert Path("runs/people/evaluation.json").exists()
    assert "means over 20 rows" in before
    table_of("wide.csv", 50, age=np.arange(50.0))
    result = call("evaluate", "runs/people", "--data", "wide.csv")
    assert "warning: wide.csv: 'age' left out" in result.stderr
    csv.write_csv(pa.table({"height": np.arange(50.0), "age": np.arange(50.0)}), "narrow.csv")
    fails(call("evaluate", "runs/people", "--data", "narrow.csv"), "lacks 'weight', and has 'age' instead")
    original = Path("people.csv").read_bytes()
    csv.write_csv(pa.table({"height": np.arange(50.0), "age": np.arange(50.0)}), "people.csv")
    fails(call("evaluate", "runs/people"), "people.csv has no column 'weight'; it has 'height', 'age'")
    table_of("people.csv", 201)
    kept = Path("runs/people/evaluation.json").read_bytes()
    changed = "the data have changed since runs/people was trained: split anew, rows .* would be held out: .* --data"
    fails(call("evaluate", "runs/people"), changed)
    fails(call("train", "people.csv", "--resume", "--set", "train.epochs=3"), changed)
    assert Path("runs/people/evaluation.json").read_bytes() == kept
    Path("people.csv").write_bytes(original)
    assert "means over 20 rows" in succeeds(call("evaluate", "runs/people", "--no-figures"))
    turned = csv.read_csv("people.csv").select(["weight", "height"])
    csv.write_csv(turned, "people.csv")
    assert "means over 20 rows" in succeeds(call("evaluate", "runs/people", "--no-figures"))


def test_another_table_comes_with_its_delimiter_and_labels(call: Call) -> None:
    text = "a;kind\n" + "".join(f"{i % 17};{'uv'[i % 2]}\n" for i in range(100))
    Path("semi.csv").write_text(text)
    options = ("--set", "data.delimiter=;", "--set", "data.labels=kind", "--set", "train.batch_size=20")
    succeeds(call("train", "semi.csv", "--set", "train.epochs=1", *options))
    result = call("evaluate", "runs/semi", "--data", "semi.csv")
    assert "means over 100 rows" in succeeds(result)
    assert "NLL given the label" in result.output
    assert "warning" not in result.stderr
    Path("semi.csv").write_text(text.replace("v", "w"))
    fails(
        call("evaluate", "runs/semi", "--data", "semi.csv"), "has the label 'w', which the model does not know; .*'v'"
    )


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"city": ["Paris"] * 200}, [], "column 'city' holds text, 'Paris' in row 0"),
        ({}, ["--set", "data.labels=city"], "no column 'city'; it has 'height', 'weight'"),
        ({}, ["--set", "data.drop=['age']"], "no column 'age'"),
        ({}, ["--set", "data.validation=2.0"], "validation and test must be positive"),
    ],
)
def test_mistakes_in_tables_are_one_line(
    call: Call, columns: dict[str, object], arguments: list[str], message: str
) -> None:
    table_of("people.csv", **columns)
    fails(call("train", "people.csv", *arguments), message)
    assert not Path("runs").exists()


def test_a_constant_column_is_a_warning(call: Call) -> None:
    table_of("people.csv", one=np.ones(200))
    result = call("train", "people.csv", "--set", "train.epochs=1")
    assert result.exit_code == 0
    assert "marginflow: warning: column 'one' is constant (1)" in result.stderr


def test_experiments_and_tables_that_are_not_there(call: Call) -> None:
    fails(call("train", "mnist_mav"), "mnist_mav is neither a file nor the name of an experiment .*mnist_maf")
    fails(call("train", "nowhere.csv"), "nowhere.csv does not exist, or is not a file")
    fails(call("train", "table.tsv"), r"table.tsv must be an experiment \(.toml, or a name\) or a table \(.csv, ")
    fails(call("train", "moons.toml", "--set", "train.epoch=3"), r"unknown key train.epoch; .*; did you mean epochs\?")
    succeeds(call("train", "moons.toml"))
    fails(call("evaluate", "moons"), r"moons is not a run directory: .* did you mean runs/moons\?")


def test_an_experiment_is_found_by_its_name(call: Call) -> None:
    Path("experiments").mkdir()
    Path("moons.toml").rename("experiments/short_moons.toml")
    succeeds(call("train", "short_moons"))
    assert Path("runs/short_moons/model.safetensors").exists()


def test_a_plain_table_and_default_widths_go_on(call: Call) -> None:
    """Settings that are lists in the file that a run keeps and tuples in the code."""
    table_of("people.csv")
    Path("maf.toml").write_text(MOONS.replace("planar", "maf").replace("blocks = 2", "blocks = 1"))
    for name, run in (("people.csv", "people"), ("maf.toml", "maf")):
        succeeds(call("train", name, "--set", "train.epochs=1"))
        assert "epoch 2/2" in succeeds(call("train", name, "--set", "train.epochs=2", "--resume"))
        assert len(Path(f"runs/{run}/metrics.jsonl").read_text().splitlines()) == 2


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
    assert "go on by the same command with --resume; until an epoch is validated, the run that was there stays in" in (
        result.stderr
    )
    aside = Path("runs/.moons.replaced")
    assert {path.name: path.read_bytes() for path in aside.iterdir() if path.is_file()} == before
    monkeypatch.setattr(TrainingProgress, "on_step", on_step)
    succeeds(call("train", "moons.toml", "--resume", "--set", "train.seed=1"))
    assert not aside.exists()
    assert Path("runs/moons/model.safetensors").read_bytes() != before["model.safetensors"]


def test_going_on_from_the_command_line(call: Call) -> None:
    succeeds(call("train", "moons.toml", "--resume"))
    assert "epoch 3/3" in succeeds(call("train", "moons.toml", "--resume", "--set", "train.epochs=3"))
    again = succeeds(call("train", "moons.toml", "--resume", "--set", "train.epochs=3"))
    assert "epoch" not in again
    fails(call("train", "moons.toml", "--resume", "--set", "train.lr=0.1"), r"started with train.lr = 0.0005; .* 0.1")
    fails(call("train", "moons.toml", "--resume", "--overwrite"), "give one of them")
    assert len(Path("runs/moons/metrics.jsonl").read_text().splitlines()) == 3


def test_runs_on_a_table_are_compared_with_labels_and_without(call: Call) -> None:
    table_of("people.csv", kind=["a", "b"] * 100)
    options = ("--set", "train.epochs=1")
    succeeds(call("train", "people.csv", *options, "--set", "data.labels=kind", "--run-dir", "labelled"))
    succeeds(call("train", "people.csv", *options, "--set", "data.drop=kind", "--run-dir", "plain"))
    assert "same 20 test rows" in succeeds(call("compare", "labelled", "plain"))
    table_of("people.csv", 201, kind=["a"] * 201)
    succeeds(call("train", "people.csv", *options, "--set", "data.drop=kind", "--run-dir", "later"))
    fails(call("compare", "later", "plain"), "the table's hash is .* in the other, so their test rows differ")


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


def test_version_and_completion(call: Call) -> None:
    import marginflow

    assert succeeds(call("--version")).strip() == f"marginflow {marginflow.__version__}"
    assert "--install-completion" in succeeds(call("--help"))
    typed = {"_MARGINFLOW_COMPLETE": "complete_bash", "COMP_WORDS": "marginflow e", "COMP_CWORD": "1"}
    command = str(Path(sys.executable).with_name("marginflow"))
    completed = subprocess.run([command], env={**os.environ, **typed}, capture_output=True, text=True, check=False)
    assert completed.stdout.split() == ["evaluate"]
