"""Losses by epoch: what is good can be read, what is bad is told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from marginflow.report import plots
from marginflow.report.page import about_curve, curve
from marginflow.training import EpochRecord


def record(epoch: int, train: float, validation: float | None = None) -> EpochRecord:
    return EpochRecord(epoch, train, validation, False, 1.0)


@pytest.mark.parametrize("bad", [1, 5, 10])
@pytest.mark.parametrize("both", [True, False])
def test_one_bad_epoch_does_not_flatten_the_others(bad: int, both: bool) -> None:
    history = [record(i, 3 - 0.1 * i, 3 - 0.11 * i) for i in range(1, 11)]
    history[bad - 1] = record(bad, 1e6, 2e6 if both else 2.0)
    axes = plots.training_curves(history).axes[0]
    low, high = axes.get_ylim()
    assert low < 3 - 0.11 * 9
    assert high < 4
    assert f"training above the axis in 1 epoch, at most 1e+06 in epoch {bad}" in axes.get_title().replace("\n", " ")
    assert ("validation above" in axes.get_title().replace("\n", " ")) == both
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [each.train_nll for each in history])
    at_edge = [line for line in axes.lines if line.get_marker() == "^"]
    assert [list(map(float, np.asarray(line.get_xdata()))) for line in at_edge] == [[bad]] * (2 if both else 1)


def test_an_ordinary_training_is_shown_whole() -> None:
    history = [record(i, 10 / i, 11 / i) for i in range(1, 11)]
    axes = plots.training_curves(history).axes[0]
    low, high = axes.get_ylim()
    assert low < 1 < 11 < high
    assert axes.get_title() == ""
    assert len(axes.lines) == 3


@pytest.mark.parametrize("apart", [1.1, 100.0, -3.0])
@pytest.mark.parametrize("epochs", [1, 2, 3, 9])
def test_both_curves_are_shown_however_far_apart(apart: float, epochs: int) -> None:
    history = [record(i, 4.97 - 0.01 * i, 4.97 - 0.02 * i + apart) for i in range(1, epochs + 1)]
    axes = plots.training_curves(history).axes[0]
    low, high = axes.get_ylim()
    assert all(low < loss < high for each in history for loss in (each.train_nll, each.validation_nll or math.nan))
    assert axes.get_title() == ""
    assert not [line for line in axes.lines if line.get_marker() == "^"]
    records = [{"epoch": i, "train_nll": each.train_nll, "validation_nll": each.validation_nll} for i, each in
               enumerate(history, 1)]  # fmt: skip
    heights = [
        float(point.split(",")[1]) for key in ("train_nll", "validation_nll") for point in curve(records, key).split()
    ]
    assert (min(heights), max(heights)) == (0, 120)
    assert "above" not in about_curve(records)


def test_losses_that_are_no_numbers_are_marked_and_never_the_best() -> None:
    history = [record(1, 2.0, math.nan), record(2, math.inf, 1.5), record(3, 1.0, 1.6)]
    axes = plots.training_curves(history).axes[0]
    told = axes.get_title().replace("\n", " ")
    assert "training not finite in 1 epoch, first in epoch 2" in told
    assert "validation not finite in 1 epoch, first in epoch 1" in told
    assert "best: 1.500 in epoch 2" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert all(math.isfinite(each) for each in axes.get_ylim())
    assert plots.training_curves([record(1, math.nan)]).axes[0].get_title() != ""


@pytest.mark.parametrize("epoch", [1, 7])
def test_one_epoch_is_a_point_at_a_whole_number(epoch: int) -> None:
    axes = plots.training_curves([record(epoch, 2.0, 1.9)]).axes[0]
    assert axes.get_xlim() == (epoch - 0.5, epoch + 0.5)
    assert [tick for tick in axes.get_xticks() if epoch - 0.5 < tick < epoch + 0.5] == [epoch]
    assert all(line.get_marker() not in ("", "None", None) for line in axes.lines)


def test_the_two_curves_differ_by_more_than_their_shade() -> None:
    training, validation, _ = plots.training_curves([record(1, 2.0, 1.9), record(2, 1.8, 1.7)]).axes[0].lines
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()
