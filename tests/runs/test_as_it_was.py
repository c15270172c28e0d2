"""Trainings from before gradients were clipped by default, and before jumps were: what they were, they stay."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from helpers import Call, fails, succeeds

from marginflow.runs.experiments import FOLDERS, THESIS, at_hand
from marginflow.runs.items import items
from marginflow.runs.read_toml import read
from marginflow.runs.run import Run
from marginflow.storage.files import keep
from marginflow.training.config import CLIP_NORM

EXPERIMENTS = FOLDERS[-1]


def trainings(found: Any) -> Iterator[dict[str, Any]]:
    """The settings of every training in a committed result."""
    if isinstance(found, dict):
        if "model" in found and isinstance(found.get("train"), dict):
            yield found
        found = list(found.values())
    for each in found if isinstance(found, list) else []:
        yield from trainings(each)


def unclipped() -> set[str]:
    """The experiments with a committed result whose training says of no way of clipping that it was on."""
    names = sorted(at_hand([EXPERIMENTS]), key=len, reverse=True)
    found = set()
    for path in (EXPERIMENTS / "results").glob("*.json"):
        name = next((each for each in names if path.stem == each or path.stem.startswith(f"{each}_")), None)
        for each in trainings(json.loads(path.read_text())):
            train = each["train"]
            if name is not None and not train.get("clip_value") and not train.get("clip_norm"):
                found.add(name)
    return found


def test_experiments_with_results_train_as_they_did() -> None:
    names = unclipped()
    assert len(names) >= 5, "a test that cannot fail"
    for name in names:
        train = read(EXPERIMENTS / f"{name}.toml").train
        assert (train.clip_value, train.clip_norm) == (None, 0.0), name
    thesis = tomllib.loads((EXPERIMENTS / THESIS).read_text())
    assert thesis
    for name in [f"fig{i}" for i in range(1, 9)] + ["table1"]:
        for trained in items()[name].trained:
            train = read(EXPERIMENTS / f"{trained.experiment}.toml").train
            assert train.returns == 0, trained.experiment
            assert train.clip_value == 5e-6 or train.clip_norm == 0.0, trained.experiment


@pytest.mark.parametrize(
    ("clipping", "written", "before"),
    [
        ({}, (None, CLIP_NORM), (None, 0.0)),
        ({"clip_value": 5e-6}, (5e-6, None), (5e-6, None)),
        ({"clip_norm": 3.0}, (None, 3.0), (None, 3.0)),
    ],
)
def test_a_run_from_before_stands_as_it_was_trained(
    call: Call, clipping: dict[str, float], written: tuple[float | None, ...], before: tuple[float | None, ...]
) -> None:
    given = [f"--set=train.{key}={value}" for key, value in clipping.items()]
    out = succeeds(call("train", "moons.toml", "--run-dir", "run", *given))
    assert "ended after all 2 epochs; best at epoch 2" in out
    config = Path("run") / "config.toml"
    table = tomllib.loads(config.read_text())
    assert (table["train"].get("clip_value"), table["train"].get("clip_norm")) == written
    for key in {"returns", "clip_norm"} - clipping.keys():
        table["train"].pop(key, None)
    keep(config, tomli_w.dumps(table).encode())  # as it was written before
    train = Run.open(Path("run")).experiment.train
    assert (train.clip_value, train.clip_norm, train.returns) == (*before, 0)
    more = ["train", "moons.toml", "--run-dir", "run", "--resume", *given, "--set", "train.epochs=3"]
    if not clipping:
        fails(call(*more), r"train\.clip_norm = 0\.0; it cannot .* \(--set train\.clip_norm=0\.0\)")
        more += ["--set", "train.clip_norm=0.0"]
    assert "ended after all 3 epochs" in succeeds(call(*more))
