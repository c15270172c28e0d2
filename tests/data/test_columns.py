"""Columns that have no density, because their values repeat."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import marginflow as mf
from marginflow.base.data_warning import DataWarning
from marginflow.data.columns import warn_of_copies, warn_of_repeating_values

RNG = np.random.default_rng(0)
N = 2000
NORMAL = RNG.normal(size=N)

REPEAT = {
    "constant": (np.full(N, 3.5), "is constant (3.5)"),
    "two values": (RNG.integers(0, 2, N), "takes 2 values in 2,000 rows"),
    "one hot": (np.eye(5)[RNG.integers(0, 5, N)][:, 2], "takes 2 values"),
    "categories": (RNG.integers(0, 7, N), "takes 7 values"),
    "counts": (RNG.poisson(3, N), "values in 2,000 rows"),
    "ages": (RNG.integers(0, 101, N) + 0.0, "holds whole numbers, 101 in 2,000 rows"),
    "years": (RNG.integers(1900, 2020, N), "holds whole numbers"),
    "many zeros": (np.where(RNG.uniform(size=N) < 0.3, 0, NORMAL), "% of the rows"),
    "a cap": (np.minimum(NORMAL, 1.0), "is 1 in 1"),
    "a price in tenths": (NORMAL.round(1), "values in 2,000 rows"),
}
DENSE = {
    "normal": NORMAL,
    "normal in float32": NORMAL.astype(np.float32),
    "whole numbers that hardly repeat": RNG.integers(0, 10**9, N),
    "row numbers": np.arange(N),
    "heavy tails": RNG.standard_cauchy(N),
    "small": NORMAL * 1e-30,
    "five digits": NORMAL.round(5),
    "shares": RNG.beta(0.5, 0.5, N),
}


def said(x: np.ndarray, names: list[str]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_repeating_values(torch.from_numpy(x), names)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize("name", REPEAT)
def test_columns_whose_values_repeat_are_named(name: str) -> None:
    column, why = REPEAT[name]
    (message,) = said(np.stack([NORMAL, column], 1), ["a", "b"])
    assert message.startswith("column without a density: 'b' ")
    assert why in message
    assert "drop=['b']" in message


@pytest.mark.parametrize("name", DENSE)
def test_columns_that_may_have_a_density_are_not(name: str) -> None:
    assert not said(np.stack([DENSE[name].astype(np.float64), NORMAL], 1), ["a", "b"])


@given(st.integers(2, 400), st.integers(1, 6), st.integers(0, 10**6))
def test_draws_of_a_density_never_are(rows: int, columns: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(max(rows, 3), columns))
    assert not said(x, [str(i) for i in range(columns)])


def test_all_columns_stand_in_one_warning() -> None:
    columns = [column.astype(np.float64) for column, _ in REPEAT.values()] * 2
    (message,) = said(np.stack(columns, 1), [f"x{i}" for i in range(len(columns))])
    assert message.count(", 'x") > 8
    assert f"and {len(columns) - 10} more" in message


@pytest.mark.usefixtures("single")
def test_fit_says_it_of_rows_that_no_loader_read() -> None:
    x = np.stack([NORMAL[:300], RNG.integers(0, 2, 300)], 1)
    config = mf.TrainConfig(epochs=1)
    with pytest.warns(DataWarning, match="'x1' takes 2 values"):
        mf.fit(mf.models.maf(2, hidden=[8]), x, config)
    rows = mf.data.Split(torch.from_numpy(x))
    named = mf.data.DataSet("mine", rows, rows, rows, columns=("height", "member"))
    with pytest.warns(DataWarning, match="'member' takes 2 values"):
        mf.fit(mf.models.maf(2, hidden=[8]), named, config)


@pytest.mark.parametrize("scale", [1.0, -3.0, 1e-6])
def test_a_column_that_is_another_in_another_unit_is_named_when_it_is_trained_on(scale: float) -> None:
    other = RNG.normal(size=N)
    x = np.stack([NORMAL, other, 32 + scale * NORMAL], 1)
    with pytest.warns(DataWarning, match="'fahrenheit' is a multiple of 'celsius'"):
        warn_of_copies(torch.from_numpy(x), ["celsius", "b", "fahrenheit"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a near-copy has a density
        warn_of_copies(torch.from_numpy(np.stack([NORMAL, other, NORMAL + 1e-4 * other], 1)), ["a", "b", "c"])


@pytest.mark.filterwarnings("ignore:columns reach the density")
def test_fit_names_copies() -> None:
    x = torch.randn(300, 1) * torch.tensor([1.0, 1.8])
    with pytest.warns(DataWarning, match="'x1' is a multiple of 'x0'"):
        mf.fit(mf.models.maf(2, hidden=[8]), x, mf.TrainConfig(epochs=1))
