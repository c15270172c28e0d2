"""Trainings and commands that the system stops: by Ctrl-C, by a kill, by a full disk; and two at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import MOONS, run, succeeds
from safetensors.torch import load_file
from stress import kill

from marginflow import fit, load
from marginflow.models import planar
from marginflow.storage.lock import locked

EXPERIMENT = """
[data]
name = "checkerboard"
num_train = 2000
num_validation = 100
num_test = 100
[model]
name = "maf"
hidden = [32]
blocks = 2
[train]
epochs = 3000
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_on_the_command_line_says_how_to_resume(
    tmp_path: Path, stop: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.toml").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "marginflow", "train", "long.toml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "runs" / "long" / "trainer.pt").exists():
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(stop)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("marginflow: interrupted: stopped after step")
    assert error.strip().endswith("the state is kept in runs/long: resume with the same command and --resume")
    assert "epoch 1/3000" in output
    if stop == signal.SIGTERM:
        return  # it resumes in the same way
    done = len((tmp_path / "runs" / "long" / "metrics.jsonl").read_text().splitlines())
    monkeypatch.chdir(tmp_path)
    resumed = succeeds(run("train", "long.toml", "--set", f"train.epochs={done + 1}", "--resume"))
    assert f"epoch {done + 1}/{done + 1}" in resumed
    assert "epoch 1/" not in resumed


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_models_are_tried_says_that_nothing_was_written(
    tmp_path: Path, stop: signal.Signals
) -> None:
    rows = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    rows[:, 1:] += rows[:, :-1].square()  # so that networks stay beside mixtures
    lines = ["a,b,c,d,e,f", *(",".join(f"{value:.6f}" for value in row) for row in rows.tolist())]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    process = subprocess.Popen(
        [sys.executable, "-m", "marginflow", "train", "rows.csv", "--set", "train.epochs=5"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_take_interrupts,
    )  # fmt: skip
    assert process.stderr is not None
    while "fold 1 of 3 is done" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(stop)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "chosen" not in output
    assert error.splitlines()[-1] == "marginflow: interrupted: no model was chosen yet, nothing was written"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_killed_at_random_moments_it_ends_with_the_weights_of_one_that_was_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kill.main(kills=2, seed=1, epochs=3)
    found = capsys.readouterr().out
    assert re.search(r"2 kills of \d trainings, seed 1: the same weights, .* and 3 epochs; lost: nothing", found)


def test_an_interrupt_leaves_the_file_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process, by the signal that Ctrl-C sends."""
    (tmp_path / "moons.toml").write_text(MOONS.replace("half_moons", "checkerboard"))
    command = [sys.executable, "-m", "marginflow"]
    monkeypatch.chdir(tmp_path)
    succeeds(run("train", "moons.toml"))
    (tmp_path / "many.csv").write_text("before\n")
    arguments = ["sample", "runs/moons", "-n", "1000000000", "-o", "many.csv"]
    process = subprocess.Popen(
        [*command, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=_take_interrupts
    )
    part = tmp_path / ".many.csv.marginflow.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip().splitlines()[-1] == "marginflow: interrupted"
    assert (tmp_path / "many.csv").read_text() == "before\n"
    assert not part.exists()


def _take_interrupts() -> None:
    """A test that runs in the background may have been told to ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgrp()


# the limit is the system's own: the file ends in the middle of being written, as on a full disk
CUT_SHORT = """
import resource, sys
from marginflow.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = ["marginflow", "train", "run.toml", "--run-dir", "run", "--resume", "--set", "train.epochs=4"]
main()
"""


@pytest.mark.usefixtures("single")
def test_a_file_that_the_system_cuts_short_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(
        MOONS.replace('"half_moons"', '"checkerboard"')
        .replace('"planar"', '"maf"')
        .replace("blocks = 2", "hidden = [64]")
    )

    succeeds(run("train", "run.toml", "--run-dir", "run"))
    succeeds(run("train", "run.toml", "--run-dir", "whole", "--set", "train.epochs=4"))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    command = [sys.executable, "-c", CUT_SHORT]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert re.search(
        r"^marginflow: \S+ could not be written \(File too large\): what was there before is kept$", result.stderr, re.M
    )
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    assert changed <= {"config.toml", "checksums.json", "model.safetensors"}, (
        changed
    )  # better weights are whole as well
    assert load(tmp_path / "run").sample(3).isfinite().all()
    succeeds(run("train", "run.toml", "--run-dir", "run", "--resume", "--set", "train.epochs=4"))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_directory_is_trained_in_by_one_at_a_time_and_a_kill_frees_it(tmp_path: Path) -> None:
    holder = "import sys, pathlib; from marginflow.storage.lock import locked\n"
    holder += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    message = f"is being trained in by process {process.pid}: wait for it"
    with pytest.raises(BlockingIOError, match=message), locked(tmp_path):
        pass
    model, rows = planar(2), torch.randn(300, 2)
    with pytest.raises(BlockingIOError, match=message):
        fit(model, rows, run_dir=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}
    process.kill()
    process.communicate()
    with locked(tmp_path):
        with pytest.raises(BlockingIOError), locked(tmp_path):  # nor by a second caller in the same process
            pass
        assert (tmp_path / ".lock").exists()
    assert not list(tmp_path.iterdir())
