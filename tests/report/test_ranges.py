"""What part of an axis is shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marginflow.report.ranges import aside, is_outside, range_of_curves, range_of_losses, share, shown_range

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1e6, 2.0, 1.9, 1.8], (1.8, 2.0)),
        ([1e6, 9e5, 2.0, 2.1, 1.9, 2.0], (1.9, 2.1)),  # training and validation of one epoch
        ([1e6, 1e3, *np.linspace(3, 2, 10)], (2.0, 3.0)),
        ([10.0, 5.0, 4.0, 3.5], (3.5, 10.0)),  # a training as they are
        ([-50.0, -80.0, -90.0, -95.0], (-95.0, -50.0)),
        ([math.nan, 3.0, math.inf, 2.0, None], (2.0, 3.0)),
        ([1e6, 2.0], (2.0, 1e6)),  # one epoch
        ([4.0, 4.0, 4.0], (4.0, 4.0)),
        ([math.nan, None], None),
        ([], None),
    ],
)
def test_a_few_bad_losses_do_not_flatten_the_others(
    losses: list[float | None], expected: tuple[float, float] | None
) -> None:
    assert range_of_losses(losses) == expected


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        (([4.97, 4.93], [6.05, 5.99]), (4.93, 6.05)),
        (([4.97, 4.93], [600.5, 599.0]), (4.93, 600.5)),  # ordinary, however far apart
        (([1e6, 2.0, 1.9, 1.8], [2e6, 2.1, 2.0, 2.05]), (1.8, 2.1)),
        (([3.0, 2.0, 1.9, 1.8], [1e6, 4.0, 3.9, 3.8]), (1.8, 4.0)),
        (([2.0, 1.9], [None, math.nan]), (1.9, 2.0)),
        (([], [None]), None),
    ],
)
def test_ordinary_losses_of_every_curve_are_shown(
    curves: tuple[list[float | None], ...], expected: tuple[float, float] | None
) -> None:
    assert range_of_curves(*curves) == expected
    assert range_of_curves(*reversed(curves)) == expected


@given(st.lists(NUMBERS, min_size=1, max_size=40))
def test_the_lowest_loss_and_half_of_all_are_always_shown(losses: list[float]) -> None:
    shown = range_of_losses(losses)
    assert shown is not None
    assert shown[0] == min(losses)
    assert sum(each <= shown[1] for each in losses) >= len(losses) / 2


@given(st.lists(NUMBERS, min_size=1, max_size=40))
def test_a_range_holds_nine_tenths_and_has_a_width(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    low, high = shown_range(x)
    assert math.isfinite(low)
    assert low < high
    assert np.float64(high) - np.float64(low) > 1e-10 * max(abs(low), abs(high))
    assert int(is_outside(x, (low, high)).sum()) <= len(values) / 10


def test_all_of_a_normal_sample_is_shown_and_not_all_of_heavy_tails() -> None:
    generator = np.random.default_rng(0)
    normal = torch.from_numpy(generator.standard_normal(5000))
    assert not is_outside(normal, shown_range(normal)).any()
    cauchy = torch.from_numpy(generator.standard_cauchy(5000))
    low, high = shown_range(cauchy)
    assert high - low < 100 < float(cauchy.max() - cauchy.min())
    assert 0 < int(is_outside(cauchy, (low, high)).sum()) < 250


def test_what_is_no_number_is_outside_and_no_range_is_made_of_it() -> None:
    x = torch.tensor([1.0, math.nan, 2.0, math.inf])
    assert shown_range(x) == pytest.approx((0.94, 2.06))
    assert is_outside(x, (0.0, 3.0)).tolist() == [False, True, False, True]
    assert shown_range(torch.full((3,), math.nan)) == (-1.0, 1.0)
    assert is_outside(torch.tensor([[0.0, 0.0], [0.0, 9.0]]), (-1.0, 1.0), (-1.0, 1.0)).tolist() == [False, True]


def test_words_about_what_is_left_out() -> None:
    assert aside(0, 10, "rows") == ""
    assert aside(3, 1000, "rows") == "3 of 1,000 rows outside"
    assert [share(each) for each in (0.0, 1e-6, 0.5, 1.0)] == ["0.0%", "under 0.1%", "50.0%", "100.0%"]
