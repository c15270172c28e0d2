"""Settings that follow from the number of rows of a table, unless they are said."""

from __future__ import annotations

import pytest

from marginflow.runs.read_toml import parse
from marginflow.runs.schema import Experiment
from marginflow.runs.small_tables import suited


def experiment(model: str = "mixed", **train: object) -> Experiment:
    train = {"epochs": 20, "batch_size": 256, "patience": 5, **train}
    return parse({"data": {"name": "table", "path": "a.csv"}, "model": {"name": model}, "train": train}, "test")


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "epochs", "patience"),
    [(270, 32, 200, 20), (60, 16, 500, 20), (10, 10, 1500, 20), (2048, 256, 200, 20), (30_000, 256, 20, 5)],
)
def test_few_rows_come_in_small_batches_more_often(num_rows: int, batch_size: int, epochs: int, patience: int) -> None:
    train = suited(experiment(), num_rows, []).train
    assert (train.batch_size, train.epochs, train.patience) == (batch_size, epochs, patience)


def test_what_is_said_stays() -> None:
    said = ["train.batch_size=100", "train.epochs = 3", "train.patience=7"]
    train = suited(experiment(batch_size=100, epochs=3, patience=7), 50, said).train
    assert (train.batch_size, train.epochs, train.patience) == (100, 3, 7)
    train = suited(experiment(epochs=3), 300, ["train.epochs=3"]).train
    assert (train.batch_size, train.epochs) == (32, 3)


def test_other_models_only_get_batches_that_their_rows_fill() -> None:
    assert suited(experiment("planar"), 300, []) == experiment("planar")
    assert suited(experiment("planar"), 80, []).train.batch_size == 80
