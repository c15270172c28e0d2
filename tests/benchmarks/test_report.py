"""Ratios of a benchmark, and whether they are what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.floors import Floor, Floors
from benchmarks.report import limits, quickest, ratios, share_of_rate
from benchmarks.sizes import SIZES, Size
from benchmarks.ways import AS_IT_COMES


def result(step: dict[str, float], log_prob: dict[str, float], sample: float, megabytes: float) -> dict[str, Any]:
    ways = {"step": step, "log_prob": log_prob}
    return {
        "step": step[AS_IT_COMES], "log_prob": log_prob[AS_IT_COMES], "ways": ways, "sample": sample,
        "megabytes": megabytes,
    }  # fmt: skip


RESULTS = {
    "marginflow": result({AS_IT_COMES: 2.0, "compiled": 1.0}, {AS_IT_COMES: 1.0}, 3.0, 10.0),
    "zuko": result({AS_IT_COMES: 8.0, "compiled": 5.0}, {AS_IT_COMES: 6.0}, 90.0, 40.0),
    "nflows": result({AS_IT_COMES: 6.0}, {AS_IT_COMES: 7.0, "same products": 3.0, "compiled": 4.0}, 60.0, 50.0),
}


def test_ratios_are_against_the_better_peer_as_it_comes_and_in_its_quickest_way() -> None:
    assert ratios(RESULTS) == {
        "step": 3.0, "log_prob": 6.0, "sample": 20.0, "same_step": 5.0, "same_log_prob": 3.0, "megabytes": 0.25,
        "own": 3.0,
    }  # fmt: skip


def test_a_limit_is_what_products_alone_would_reach() -> None:
    ours = {**RESULTS["marginflow"], "limits": {"step": 1.5, "log_prob": 0.5}}
    assert limits({**RESULTS, "marginflow": ours}) == {"step": 4.0, "log_prob": 12.0}


def test_less_than_a_megabyte_counts_as_one() -> None:
    small = {name: {**each, "megabytes": 0.25} for name, each in RESULTS.items()}
    assert ratios(small)["megabytes"] == 1.0


def test_the_quickest_way_may_be_the_library_as_it_comes() -> None:
    assert quickest({"as it comes": 1.0, "compiled": 2.0}) == ("as it comes", 1.0)


@pytest.mark.parametrize(
    ("floor", "value", "shown"),
    [
        (Floor(), 3.456, "3.46"),
        (Floor(3), 3.0, "3.00 (>= 3)"),
        (Floor(3), 2.99, "2.99 (>= 3, not met)"),
        (Floor(0.5, at_most=True), 0.5, "0.50 (<= 0.5)"),
        (Floor(0.5, at_most=True), 0.6, "0.60 (<= 0.5, not met)"),
        (Floor(1.2, goal=1.4), 1.5, "1.50 (>= 1.2; goal 1.4)"),
        (Floor(1.2, goal=1.4), 1.3, "1.30 (>= 1.2; goal 1.4, not met)"),
        (Floor(1.2, goal=1.4), 1.1, "1.10 (>= 1.2, not met; goal 1.4, not met)"),
        (Floor(goal=1.3, at_most=True), 1.5, "1.50 (goal 1.3, not met)"),
        (Floor(500), 682.4, "682 (>= 500)"),
    ],
)
def test_a_figure_says_whether_it_is_what_was_asked_for(floor: Floor, value: float, shown: str) -> None:
    assert floor.judged(value) == shown


def test_the_share_counts_three_products_of_the_triangle() -> None:
    size = Size("one", 100, (200,), 1, blocks=1, rows=10)  # weights 100 x 200 + 200 x 200, half of which is seen
    assert share_of_rate(size, step=2.0, rate=1e6) == pytest.approx(3 * 2 * 10 * 30_000 / (2.0 * 1e6))


def test_every_name_is_one_model_and_every_floor_names_a_ratio() -> None:
    assert len({size.name for size in SIZES}) == len(SIZES)
    assert set(Floors.__dataclass_fields__) == set(ratios(RESULTS))
