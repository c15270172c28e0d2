"""What several tests use: the command line as a person calls it, half moons, settings, a recorder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from marginflow import data
from marginflow.base.distribution import Distribution
from marginflow.cli.app import app
from marginflow.data import DataSet
from marginflow.data.images import datasets as images
from marginflow.runs.items import Item, items
from marginflow.training import EpochRecord, TrainConfig

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


def run(*arguments: object) -> Result:
    """Run a command where we are."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty directory that holds some experiments."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moons.toml").write_text(MOONS)
    (tmp_path / "digits.toml").write_text(DIGITS)
    return run


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


def config(**options: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 2, "batch_size": 50, **options})


def moons(n: int = 500) -> DataSet:
    return data.load("half_moons", num_train=n, num_validation=200, num_test=200)


def visits(num_rows: int = 300) -> pa.Table:
    """A table as people have them: columns of many kinds, blanks, a spike, text with commas."""
    rng = np.random.default_rng(0)
    city = rng.choice(["Paris", "Paris, TX", 'the "old" town'], num_rows, p=[0.6, 0.3, 0.1])
    age = pa.array(rng.integers(18, 90, num_rows), pa.int16(), mask=rng.random(num_rows) < 0.1)
    paid = np.where(rng.random(num_rows) < 0.4, 0.0, np.rint(rng.lognormal(1.5, 0.7, num_rows) * 2) / 2)
    day = np.datetime64("2024-01-01") + np.sort(rng.integers(0, 200, num_rows))
    return pa.table({
        "id": pa.array(rng.permutation(num_rows) + 1000),
        "city": pa.array(city).dictionary_encode(),
        "age": age,
        "paid": paid,
        "height": pa.array(170 + 10 * rng.normal(size=num_rows), pa.float64(), mask=rng.random(num_rows) < 0.05),
        "member": pa.array(rng.random(num_rows) < 0.3),
        "day": pa.array(day).cast(pa.date32()),
    })  # fmt: skip


class Recorder:
    """Keeps the losses and records it is told."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.records: list[EpochRecord] = []

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        self.losses.append(loss)

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        self.records.append(record)


needs_cifar10 = pytest.mark.skipif(bool(images.CIFAR10.missing()), reason="no CIFAR-10 files below MARGINFLOW_DATA")


def evaluated_quickly(name: str) -> Item:
    """An item of the thesis whose one training is evaluated with few draws."""
    item = items()[name]
    return replace(item, trained=(replace(item.trained[0], overrides=("evaluate.num_samples=20",)),))


class Series:
    """Looks like rows that are made when they are read, as a data frame does, but for torch's types."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.values[rows]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values
