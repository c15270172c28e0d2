"""The suggested batch size: its bounds, its law, and what the trainings of the study say of its choice."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marginflow.data import Split
from marginflow.data.loader import Loader
from marginflow.training import BatchSize, TrainConfig, suggested_batch_size

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.mark.parametrize(
    ("num_rows", "size"),
    [(1, 1), (5, 5), (31, 31), (32, 32), (33, 32), (511, 32), (512, 64), (1000, 64), (10_000, 256), (100_000, 512),
     (1_000_000, 1024), (10**15, 1024)],
)  # fmt: skip
def test_sizes_by_hand(num_rows: int, size: int) -> None:
    assert suggested_batch_size(num_rows).size == size


def test_the_size_is_the_power_of_two_nearest_to_twice_the_root() -> None:
    powers = [2**k for k in range(5, 11)]
    for num_rows in range(256, 262_144, 97):
        nearest = min(powers, key=lambda size: abs(math.log(size / (2 * math.sqrt(num_rows)))))
        assert suggested_batch_size(num_rows).size == nearest


def test_more_rows_never_make_a_smaller_batch_or_rate() -> None:
    suggested = [suggested_batch_size(num_rows) for num_rows in [*range(1, 3000), *range(3000, 2_000_000, 4999)]]
    assert [each.size for each in suggested] == sorted(each.size for each in suggested)
    assert [each.lr for each in suggested] == sorted(each.lr for each in suggested)


def test_the_rate_goes_with_the_root_of_the_size_up_to_a_bound() -> None:
    rates = {each.size: each.lr for each in map(suggested_batch_size, (4, 16, 300, 1000, 4000, 10_000, 10**6))}
    assert rates == pytest.approx({4: 2e-3, 16: 4e-3, 32: 8e-3 / 2**0.5, 64: 8e-3, 128: 8e-3, 256: 8e-3, 1024: 8e-3})


@pytest.mark.parametrize("num_rows", [1, 2, 17, 100])
def test_a_table_smaller_than_a_batch_is_one_batch(num_rows: int) -> None:
    size, lr = suggested_batch_size(num_rows)
    config = TrainConfig(batch_size=size, lr=lr)
    assert Loader(Split(torch.zeros(num_rows, 1)), config.batch_size, seed=0).num_batches == num_rows // size >= 1


@pytest.mark.parametrize("num_rows", [np.int32(10_000), np.uint64(10_000), torch.tensor(10_000)])
def test_whole_numbers_of_any_library(num_rows: Any) -> None:
    suggested = suggested_batch_size(num_rows)
    assert suggested == BatchSize(256, 8e-3)
    assert type(suggested.size) is int


@pytest.mark.parametrize(
    ("num_rows", "message"),
    [(0, "at least 1"), (-5, "at least 1"), (1e4, "give 10000"), (2.5, "whole"), ("100", "give 100"), (None, "whole"),
     (True, "whole"), (torch.zeros(3, 2), "whole")],
)  # fmt: skip
def test_other_numbers_of_rows_are_refused(num_rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^num_rows must .*{message}"):
        suggested_batch_size(num_rows)


def nll(trials: list[dict[str, Any]], size: int, lr: float) -> float:
    """Of the weights that were best on validation, without dropout: the mean over seeds."""
    what = {"batch_size": size, "lr": lr, "dropout": 0.0}
    curves = [each["curve"] for each in trials if what.items() <= each.items()]
    assert curves, f"{what} was not trained"
    return statistics.mean(min(curve, key=lambda point: point[1])[2] for curve in curves)


@pytest.mark.parametrize(("study", "near"), [("known", 0.05), ("protein", 0.15)])
def test_no_setting_that_was_tried_is_much_better(study: str, near: float) -> None:
    everything = json.loads((RESULTS / f"batch_size_{study}.json").read_text())["trials"]
    sizes = {each["rows"] for each in everything}
    assert len(sizes) >= 3
    for num_rows in sizes:
        trials = [each for each in everything if each["rows"] == num_rows]
        tried = {(each["batch_size"], each["lr"]) for each in trials if not each["dropout"]}
        assert len({size for size, _ in tried}) >= 4
        best = min(nll(trials, *each) for each in tried)
        assert nll(trials, *suggested_batch_size(num_rows)) < best + near, num_rows
