"""Rows, and the names and options of data sets, that are refused."""

from __future__ import annotations

import pytest
import torch

from marginflow import data
from marginflow.data import DataSet, Split


def rows_with(value: float) -> torch.Tensor:
    x = torch.randn(10, 3)
    x[7, 2] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (rows_with(float("nan")), "nan in row 7, column 2"),
        (rows_with(float("-inf")), "-inf in row 7, column 2"),
        (torch.zeros(0, 3), "at least 2 rows"),
        (torch.zeros(1, 3), "at least 2 rows"),
        (torch.zeros(5, 0), "at least 1 feature"),
        (torch.zeros(5), "rows must have shape"),
    ],
)
def test_bad_rows_are_refused(x: torch.Tensor, message: str) -> None:
    good = Split(torch.randn(5, 3))
    with pytest.raises(ValueError, match=message):
        DataSet("mine", good, Split(x), good)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'moons'; did you mean half_moons\?"):
        data.load("moons")
    with pytest.raises(ValueError, match="no option 'size'; it takes num_train"):
        data.load("half_moons", size=3)
    with pytest.raises(ValueError, match="noise must be one of fresh, once"):
        data.load("digits", noise="twice")
    with pytest.raises(ValueError, match="must not be negative"):
        data.load("half_moons", noise=-1)
