"""Columns of a data frame are taken by name, wherever rows are, for a model that knows its columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from helpers import Series
from torch import Tensor

import marginflow as mf
from marginflow import models
from marginflow.base.data_warning import DataWarning
from marginflow.data import DataSet, DataSpec, Split
from marginflow.distributions import Distribution
from marginflow.evaluation.layer_outputs import by_layer

NAMES = ("a", "b", "c")


class Frame(Series):
    """As a data frame looks to those who read it."""

    def __init__(self, columns: dict[str, Any]) -> None:
        super().__init__(np.stack([np.asarray(each) for each in columns.values()], 1))
        self.columns = list(columns)


KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {"a frame": Frame, "an Arrow table": pyarrow.table}


def rows() -> Tensor:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(1))


def columns(order: str) -> dict[str, Any]:
    x = dict(zip("abc", rows().numpy().T, strict=True))
    return {name: x.get(name, np.zeros(40)) for name in order}


def model(known: tuple[str, ...] = NAMES) -> Distribution:
    torch.default_generator.manual_seed(0)
    found = models.maf(3, hidden=[8], blocks=1).eval()
    found.spec = DataSpec((3,), columns=known)
    return found


CALLS: dict[str, Callable[[Distribution, Any], Any]] = {
    "log_prob": lambda m, x: m.log_prob(x),
    "log_likelihood": lambda m, x: mf.log_likelihood(m, x).log_prob,
    "evaluate": lambda m, x: torch.tensor(mf.evaluate(m, x).raw_nll),
    "evaluate a split": lambda m, x: torch.tensor(mf.evaluate(m, Split(x)).raw_nll),
    "layer outputs": lambda m, x: list(by_layer(m, x).values()),
    "check": lambda m, x: [each.found for each in mf.check(m, x).every if each.check == "log-determinant"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_columns_come_in_the_order_of_the_model(call: str, kind: str) -> None:
    expected = CALLS[call](model(), rows())
    for order in ("abc", "cab", "bca"):
        found = CALLS[call](model(), KINDS[kind](columns(order)))
        if call == "check":
            assert found == expected
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    by_place = CALLS[call](model(()), KINDS[kind](columns("abc")))
    assert str(by_place) == str(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_columns_that_are_missing_or_too_many_are_named(call: str, kind: str) -> None:
    with pytest.raises(ValueError, match="other columns than the model: they lack 'b', and has 'd' instead: the model"):
        CALLS[call](model(), KINDS[kind](columns("acd")))
    with pytest.warns(DataWarning, match="the rows: 'd' left out, not known to the model") as caught:
        found = CALLS[call](model(), KINDS[kind](columns("dcab")))
    assert str(found) == str(CALLS[call](model(), rows()))
    assert len([each for each in caught if "left out" in str(each.message)]) == 1


def test_text_beside_numbers_is_left_out() -> None:
    x = {**columns("cab"), "name": np.array(["x"] * 40, object)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        frame = Frame({name: np.asarray(each, object) for name, each in x.items()})
        torch.testing.assert_close(model().log_prob(frame), model().log_prob(rows()))
    twice = Frame(columns("abc"))
    twice.columns = ["a", "b", "b"]
    with pytest.raises(ValueError, match="several columns named 'b'"):
        model(("a", "b", "b")).log_prob(twice)


def test_a_data_set_takes_arrays_and_frames_and_keeps_their_names() -> None:
    x = rows().numpy()
    plain = DataSet("mine", Split(x), Split(x.tolist()), Split(x))
    assert all(isinstance(each.x, Tensor) for each in (plain.train, plain.validation, plain.test))
    assert mf.fit(model(()), plain, {"epochs": 1, "batch_size": 10})[0].epoch == 1
    named = DataSet("mine", Split(Frame(columns("abc"))), Split(Frame(columns("bca"))), Split(x))
    assert named.spec.columns == NAMES
    torch.testing.assert_close(named.validation.x, plain.validation.x)
    for splits, message in (
        (
            (Split(x), Split(x), Split(x[:, :2])),
            r"mine, test split: its rows must have the shape of .*\(N, 3\); got \(N, 2\)",
        ),
        ((Split(x, x), Split(x, x[:, :1]), Split(x)), r"validation split: its context .*\(N, 3\); got \(N, 1\)"),
        ((x, x, x), r"train split must be a Split .*: give Split\(x\)"),
        ((Split(x, ["a"] * 40), Split(x), Split(x)), "the context must be numbers; got .*: give one-hot vectors"),
        ((Split("abc"), Split(x), Split(x)), "rows must be real numbers; got str"),
    ):
        with pytest.raises(ValueError, match=message):
            DataSet("mine", *splits)
    with pytest.raises(ValueError, match=r"those of one split; got the data set 'mine': give data\.test"):
        mf.evaluate(model(), plain)  # pyright: ignore[reportArgumentType]
