"""marginflow score between pipes: text in, text out, and a reader that leaves early."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import Call, succeeds
from pyarrow import csv

pytestmark = pytest.mark.slow
SCORE = [sys.executable, "-m", "marginflow", "score", "runs/reals"]
MODEL = ("--set", "model.name=maf", "--set", "model.hidden=8,8", "--set", "model.blocks=1", "--set", "train.epochs=1")


@pytest.fixture
def lines(call: Call) -> list[str]:
    """Rows of two columns; a run on the first thousand of them in runs/reals."""
    found = ["a,b", *(f"{a:.4f},{b:.4f}" for a, b in np.random.default_rng(0).normal(size=(200_000, 2)))]
    Path("reals.csv").write_text("\n".join(found[:1001]) + "\n")
    succeeds(call("train", "reals.csv", *MODEL))
    return found


def test_rows_go_through_pipes_and_nothing_else_does(call: Call, lines: list[str]) -> None:
    content = "\n".join(lines[:500]) + "\n"
    piped = subprocess.run([*SCORE, "-"], input=content.encode(), capture_output=True, check=True)
    Path("some.csv").write_text(content)
    succeeds(call("score", "runs/reals", "some.csv", "-o", "out.csv"))
    found, expected = csv.read_csv(io.BytesIO(piped.stdout)), csv.read_csv("out.csv")
    assert found.column_names == ["a", "b", "log_prob", "percentile", "outlier"]
    assert found["a"].equals(expected["a"])
    assert found["log_prob"].to_numpy() == pytest.approx(expected["log_prob"].to_numpy(), abs=1e-5)
    assert piped.stderr.decode().splitlines()[-1].endswith("of 499 rows are flagged as outliers")


def test_a_reader_that_leaves_early_ends_it_quietly(lines: list[str]) -> None:
    Path("many.csv").write_text("\n".join(lines) + "\n")
    with subprocess.Popen([*SCORE, "many.csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a,b,log_prob,percentile,outlier\n"
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait(timeout=120) == 0
    assert told == ""


def test_an_interrupt_leaves_the_file_that_was_there(lines: list[str]) -> None:
    Path("many.csv").write_text("\n".join([*lines, *lines[1:] * 10]) + "\n")
    Path("out.csv").write_text("as before")
    process = subprocess.Popen([*SCORE, "many.csv", "-o", "out.csv"], stderr=subprocess.PIPE)
    part = Path(".out.csv.marginflow.part")
    while not (part.exists() and part.stat().st_size > 0):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.decode().strip().endswith("marginflow: interrupted")
    assert Path("out.csv").read_text() == "as before"
    assert not part.exists()
