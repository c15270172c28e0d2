"""Time to quality: what is recorded of a training, when it first is as good as asked, and the rows that it learns."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import sets
from benchmarks.quality import best, first_at_or_below, shown, summary
from benchmarks.trainings import TRAININGS, Point, Record

POINTS = [Point(1.0, 5.0, 5.2), Point(2.0, 4.0, 4.1), Point(3.0, 4.5, 4.1), Point(4.0, 3.0, 3.5)]


def test_first_time_at_or_below() -> None:
    assert first_at_or_below(POINTS, 4.1) == 2.0
    assert first_at_or_below(POINTS, 4.0) == 4.0
    assert first_at_or_below(POINTS, 3.4) is None
    assert first_at_or_below([], 3.4) is None


def test_the_target_is_the_better_peers_median() -> None:
    curves = {
        "marginflow": [[Point(1.0, 0, 2.9), Point(2.0, 0, 2.0)], [Point(1.0, 0, 2.5)], [Point(3.0, 0, 3.1)]],
        "zuko": [[Point(5.0, 0, 3.0)], [Point(6.0, 0, 4.0)], [Point(7.0, 0, 2.0)]],
        "nflows": [[Point(1.0, 0, 3.5)]] * 3,
    }
    found = summary(curves)
    assert (found["better_peer"], found["target"]) == ("zuko", 3.0)
    assert found["best"] == {"marginflow": 2.5, "zuko": 3.0, "nflows": 3.5}
    assert found["seconds"] == {"marginflow": [1.0, 1.0, None], "zuko": [5.0, 7.0, None], "nflows": [None] * 3}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([1.0, 2.0, 4.0], "2.0 s (1.0 to 4.0)"),
        ([1.0, 2.0, None], "2.0 s (1.0 to 2.0, 2 of 3)"),
        ([1.0, None, None], "not reached (1 of 3)"),
        ([None, None], "not reached"),
    ],
)
def test_seconds_are_shown_with_what_was_not_reached(seconds: list[float | None], expected: str) -> None:
    assert shown(seconds) == expected


def test_a_record_keeps_the_test_of_the_best_weights_and_adds_the_scale() -> None:
    x = torch.zeros(4, 2)
    record = Record(sets.Rows("zeros", x, x, x + 1, log_scale=10.0), budget=1.0, interval=1e-9)
    for shift in (1.0, 3.0, 2.0):  # validation 10 + shift: the first stays the best
        record.enter(lambda x, shift=shift: -shift * (1 + x.sum(1)))
    assert [point.validation for point in record.points] == [11.0, 13.0, 12.0]
    assert [point.held_out for point in record.points] == [13.0, 13.0, 13.0]
    assert best(record.points) == 13.0


def test_recording_does_not_count() -> None:
    x = torch.zeros(4, 2)
    record = Record(sets.Rows("zeros", x, x, x, 0.0), budget=1.0, interval=1.0)

    def slow(x: torch.Tensor) -> torch.Tensor:
        for _ in range(20):
            torch.randn(200, 200) @ torch.randn(200, 200)
        return x.sum(1)

    before = record.seconds
    record.enter(slow)
    after = record.seconds
    slow(x)
    assert after - before < record.seconds - after


@pytest.mark.slow
@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("library", TRAININGS)
def test_every_library_learns(library: str) -> None:
    x = torch.randn(400, 2) * torch.tensor([1.0, 0.1])
    rows = sets.Rows("small", x[:200], x[200:300], x[300:], 0.0)
    points = TRAININGS[library](rows, 0, 4.0, 0.5)
    assert 0.3 < best(points) < 2.2  # the entropy is 0.54, and a standard normal density leaves 2.34
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)


def test_the_last_digit_of_significant_and_of_fixed_numbers() -> None:
    assert sets.last_digits(["11472", "2686", "-0.035182", "1.5292e+06", "0.97"]).tolist() == [0, -1, -6, 2, -5]
    assert sets.last_digits(["41.0", "880.0", "7099.0"]).tolist() == [0, 0, 0]
    assert sets.last_digits(["-122.23", "37.9", "0"]).tolist() == [-2, -2, -2]


def test_noise_stays_within_the_last_digit() -> None:
    rng = np.random.default_rng(0)
    moved = sets.smoothed(["1.25", "3.5", "2"] * 500, rng) - np.array([1.25, 3.5, 2] * 500)
    assert 0.0045 < np.abs(moved).max() <= 0.005
    assert abs(moved.mean()) < 4 * 0.01 / math.sqrt(12 * 1500)


def test_a_table_leaves_out_text_and_empty_cells(tmp_path: Path) -> None:
    lines = ["a,b,c"] + [f"{i}.5,x,{i * i}" for i in range(40)] + ["1.5,x,"]
    with gzip.open(tmp_path / "small.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    rows = sets.table("small", tmp_path)
    assert [len(part) for part in (rows.train, rows.validation, rows.test)] == [32, 4, 4]
    assert rows.train.shape[1] == 2
    assert rows.train.mean(0).abs().max() < 1e-6
    assert torch.allclose(rows.train.std(0, correction=0), torch.ones(2).float())


def test_the_moons_have_a_density_and_its_entropy() -> None:
    step = 0.05
    x, y = np.meshgrid(np.arange(-2, 3, step), np.arange(-1.5, 2, step))
    density = sets.moons_density(np.stack([x.ravel(), y.ravel()], 1), num_angles=300)
    assert density.sum() * step**2 == pytest.approx(1, abs=1e-6)
    rng = np.random.default_rng(1)
    points = sets._moons(math.pi * rng.random(2000), rng.random(2000) < 0.5) + 0.1 * rng.standard_normal((2000, 2))
    surprise = -np.log(sets.moons_density(points, num_angles=300))
    error = surprise.std() / math.sqrt(2000)
    assert sets.moons_entropy(step=0.05) == pytest.approx(surprise.mean(), abs=4 * error)
