"""marginflow train as a process: a table through a pipe, and how soon it says its first word."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# a package that is installed comes compiled; a checkout is compiled once, unless the environment forbids to keep it
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
TRAIN = [sys.executable, "-m", "marginflow", "train"]
QUICK = ("--set", "model.hidden=[8]", "--set", "model.blocks=1", "--set", "train.epochs=1")


def write(path: Path, num_rows: int = 200) -> Path:
    np.savetxt(path, np.random.default_rng(0).normal(size=(num_rows, 2)), delimiter=",", header="x,y", comments="")
    return path


@pytest.mark.slow
def test_a_table_comes_through_a_pipe(tmp_path: Path) -> None:
    path = write(tmp_path / "people.csv")
    command = f"cat people.csv | {' '.join(TRAIN)} - {' '.join(map(repr, QUICK))}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reading the standard input\n")
    assert "the standard input: 200 rows, 2 columns of real numbers" in done.stdout
    assert (tmp_path / "runs" / "stdin.csv").read_bytes() == path.read_bytes()


def test_a_terminal_is_no_table(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*TRAIN, "-"], stdin=theirs, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert "here a terminal, and a table is needed: marginflow train - < people.csv" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.alone
def test_the_first_word_comes_within_one_and_a_half_seconds_of_processor_time(tmp_path: Path) -> None:
    """Before torch is loaded: what the process had used when it was stopped behind its first line."""
    write(tmp_path / "people.csv")
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(
            [*TRAIN, "people.csv"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=COMPILED
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading people.csv\n"
        process.kill()
        process.communicate()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(found) < 1.5
