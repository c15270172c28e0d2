"""What results are made by."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers import Call, succeeds

from marginflow import __version__
from marginflow.nets import products
from marginflow.runs import provenance


@pytest.mark.usefixtures("single")
def test_results_say_what_made_them(call: Call) -> None:
    succeeds(call("train", "moons.toml", "--set", "train.epochs=1", "--set", "train.seed=7"))
    succeeds(call("evaluate", "runs/moons", "--no-figures", "--seed", 3))
    record = json.loads(Path("runs/moons/evaluation.json").read_text())
    here = {
        "marginflow": __version__,
        "git_head": provenance.git_head(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    for made in (record, record["evaluated_by"], json.loads(Path("runs/moons/manifest.json").read_text())):
        assert {key: made[key] for key in here} == here
        assert made["machine"]["threads"] == torch.get_num_threads()
    assert record["device"] == "cpu"
    assert (record["experiment"]["train"]["seed"], record["test"]["seed"]) == (7, 3)
    assert 0 < record["float32_against_float64"]["largest"] < 1e-3


def test_results_say_who_multiplied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # where nothing was measured
    monkeypatch.delenv(products.VARIABLE, raising=False)
    assert provenance.provenance()["machine"]["products"] is None
    choice = products.Choice("onednn", 10, None, 20)
    with products.using(choice):
        assert provenance.provenance()["machine"]["products"] == asdict(choice)


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        command = ["git", *name, "-C", str(tmp_path / "code"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "code").mkdir()
    git("init")
    (tmp_path / "code" / "a.py").write_text("1\n")
    git("add", "a.py")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")
    found = provenance.git_head.__wrapped__
    assert found(tmp_path / "code") == head
    (tmp_path / "code" / "b.py").write_text("not of the code\n")
    assert found(tmp_path / "code") == head
    (tmp_path / "code" / "a.py").write_text("2\n")
    assert found(tmp_path / "code") == f"{head}+changes"
    (tmp_path / "code" / "installed").mkdir()
    assert found(tmp_path / "code" / "installed") is None  # in a folder of another project
    monkeypatch.setenv("PATH", "")
    assert found(tmp_path / "code") is None
