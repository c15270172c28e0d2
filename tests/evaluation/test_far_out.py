"""Rows far out, against counts by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marginflow.data import DataSpec, Split
from marginflow.distributions import StandardNormal
from marginflow.evaluation.evaluate import evaluate_chunks, evaluate_rows
from marginflow.evaluation.far_out import FarOut, FarOutBuilder, Reference
from marginflow.evaluation.row_scores import RowScores

SPEC = DataSpec((2,), columns=("a", "b"))
HELD = torch.tensor([[0.5, 0.0], [1.0, 1.0], [-2.0, 0.0]])
TRAIN = torch.tensor([[-3.0, -1.0], [2.0, 4.0], [0.0, 0.0]])
# log p of N(0, I) at (3, 0), (0, 5), (2.5, 2.5), (0, 0); the least of HELD is that at a distance of 2
ROWS = torch.tensor([[3.0, 0.0], [0.0, 5.0], [1.9, 2.5], [0.0, 0.0], [1.0, -1.4], [-2.0, 0.0]])


def log_p(x: Tensor) -> Tensor:
    return -0.5 * x.double().square().sum(-1) - math.log(2 * math.pi)


def reference() -> Reference:
    ranges = Reference.of_training(SPEC, lambda: TRAIN)
    return Reference(ranges.lower, ranges.upper, len(HELD), float(log_p(HELD).min()))


def far_out(*chunks: Tensor, weight: Tensor | None = None) -> FarOut:
    model, builder = StandardNormal(2), FarOutBuilder(reference(), SPEC)
    for chunk in chunks:
        builder.add(evaluate_rows(model, Split(chunk, weight=weight), spec=SPEC), chunk)
    return builder.build()


def test_rows_less_likely_than_any_held_out_row_are_counted_and_named_whatever_the_chunks() -> None:
    found = far_out(ROWS)
    assert (found.num_rows, found.num_unlikely, found.num_outside) == (6, 3, 0)
    assert found.num_out_of_range == 3  # (3, 0), (0, 5) and (1, -1.4)
    assert [row for row, _, _ in found.least] == [1, 2, 0]
    for row, value, _ in found.least:
        assert value == pytest.approx(float(log_p(ROWS[row])))
    reasons = [why for _, _, why in found.least]
    assert reasons[0] == "column 'b' holds 5, above 4, the largest of the training rows"
    assert reasons[1] == ""
    assert reasons[2] == "column 'a' holds 3, above 2, the largest of the training rows"
    assert found.others is not None
    assert found.others.value == pytest.approx(float(log_p(ROWS[3:]).mean()))
    assert found.expected == 6 / 4
    in_chunks = far_out(ROWS[:1], ROWS[1:4], ROWS[4:])
    assert replace(in_chunks, others=None) == replace(found, others=None)
    assert in_chunks.others is not None
    assert in_chunks.others.value == pytest.approx(found.others.value)


def test_ten_rows_at_most_are_named_the_least_likely_first() -> None:
    x = torch.stack([torch.linspace(2.5, 30, 60), torch.zeros(60)], 1)[torch.randperm(60)]
    found = far_out(*x.split(7))
    assert found.num_unlikely == 60
    order = x[:, 0].argsort(descending=True)[:10].tolist()
    assert [row for row, _, _ in found.least] == order
    assert found.others is None


def test_weights_count_in_the_mean_of_the_others() -> None:
    weight = torch.tensor([1.0, 1.0, 1.0, 3.0, 1.0, 0.0])
    found = far_out(ROWS, weight=weight)
    assert found.num_unlikely == 3
    assert found.others is not None
    assert found.others.value == pytest.approx(float((3 * log_p(ROWS[3]) + log_p(ROWS[4])) / 4))


class Overflows(StandardNormal):
    """NaN at numbers beyond 1e6, as differences of what has overflown are."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return super()._log_prob(x, context) + torch.where(x.abs().amax(1) > 1e6, torch.nan, 0.0)


def test_a_row_out_of_range_at_which_sums_overflow_has_density_0_and_any_other_is_an_error() -> None:
    x = torch.tensor([[0.0, 0.0], [1e7, 0.0]])

    def settled(scores: RowScores, rows: Split) -> RowScores:
        return reference().settle(scores, rows.x[:], SPEC)

    model = Overflows(2)
    (scores,) = evaluate_chunks(model, [Split(x)], spec=SPEC, settled=settled)
    assert scores.log_prob.tolist() == [pytest.approx(float(log_p(x[0]))), -math.inf]
    assert scores.reasons == ("column 'a' holds 1e+07, above 2, the largest of the training rows",)
    wide = Reference((-1e9, -1e9), (1e9, 1e9), 3, -5.0)
    with pytest.raises(FloatingPointError, match="log p is nan at row 1"):
        list(evaluate_chunks(model, [Split(x)], spec=SPEC, settled=lambda each, rows: wide.settle(each, x, SPEC)))
