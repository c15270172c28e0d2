"""Numbers with their errors, as tables and pages show them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginflow.report.estimates import number, with_error


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (1.23456, 0.012, "1.235 ± 0.012"),
        (1.23456, 0.00023, "1.2346 ± 0.0002"),
        (1.0, 0.0, "1.000 ± 0.000"),
        (2.5, math.nan, "2.500 ± unknown"),
        (2.5, math.inf, "2.500 ± infinity"),
        (math.inf, math.nan, "infinity"),
        (-math.inf, math.nan, "-infinity"),
        (math.nan, 1.0, "undefined"),
        (-1e-9, 0.1, "0.000 ± 0.100"),
        (1.5e13, 2e12, "1.500e+13 ± 2.000e+12"),
        (171709.686, 78326.949, "171709.686 ± 78326.949"),
    ],
)
def test_a_mean_and_its_error(value: float, error: float, shown: str) -> None:
    assert with_error(value, error) == shown


@given(st.floats(), st.floats(min_value=0))
def test_no_number_reads_nan_or_inf(value: float, error: float) -> None:
    assert not re.search(r"\b(nan|inf)\b", with_error(value, error))


@given(st.floats(-1e6, 1e6), st.floats(1e-8, 1e6))
def test_both_have_the_same_decimals_and_the_error_is_not_lost(value: float, error: float) -> None:
    mean, spread = with_error(value, error).split(" ± ")
    assert len(mean.split(".")[1]) == len(spread.split(".")[1])
    assert float(spread) == pytest.approx(error, rel=0.51)
    assert float(mean) == pytest.approx(value, abs=max(1e-3, error))


def test_small_numbers_lose_their_sign_with_their_digits() -> None:
    assert number(-0.0001) == "0.000"
    assert number(-0.1) == "-0.100"
