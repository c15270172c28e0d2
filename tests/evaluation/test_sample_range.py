"""Samples out of range: planted ones are counted, and traced to the layer and dimension that made them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marginflow import models
from marginflow.data import Batch, Column, Schema
from marginflow.data.warp import Warp
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.evaluation.sample_range import origins, range_by_column, sample_range
from marginflow.transforms import Scaling


def spread(*log_scales: float) -> Scaling:
    """z = x exp(s), so that samples are narrow or wide."""
    layer = Scaling(len(log_scales))
    with torch.no_grad():
        next(layer.parameters()).copy_(torch.tensor(log_scales))
    return layer


def test_a_blank_is_not_out_of_range() -> None:
    column = Column("c", "real", blank=True, warp=Warp("standardise"), quantiles=(0.0, 1.0, 2.0))
    found = range_by_column(torch.tensor([[torch.nan], [1.0], [2.5], [9.0]]), Schema((column,)))
    assert (found.num_samples, found.diverged, found.saturated) == (4, 0.25, 0.5)


def test_a_model_of_the_data_stays_in_their_range() -> None:
    rows = torch.randn(2000, 2)
    found = sample_range(Flow([], StandardNormal(2)), Batch(rows, None), 1000)
    assert (found.num_samples, found.diverged) == (1000, 0.0)
    assert found.saturated < 0.01


def test_the_share_out_of_range_is_that_of_the_tails() -> None:
    rows = torch.linspace(-1, 1, 101)[:, None]
    found = sample_range(Flow([], StandardNormal(1)), Batch(rows, None), 20_000)
    assert found.saturated == pytest.approx(0.3173, abs=0.01)  # P(|z| > 1)
    assert found.diverged == pytest.approx(0.0027, abs=0.002)  # P(|z| > 3)


def test_what_is_not_finite_has_diverged() -> None:
    model = Flow([spread(-1e3)], StandardNormal(1))
    found = sample_range(model, Batch(torch.randn(100, 1), None), 50)
    assert found.diverged == found.saturated == 1.0


def test_constant_rows_have_a_range_of_width_two() -> None:
    found = sample_range(Flow([], StandardNormal(1)), Batch(torch.full((50, 1), 0.0), None), 20_000)
    assert found.saturated == pytest.approx(0.3173, abs=0.01)
    assert found.diverged < 0.005


class Rows(StandardNormal):
    """Two numbers from N(0, 1) as columns of a table, of which the first was seen in (-1, 1), the other in (-2, 2)."""

    schema = Schema(
        tuple(Column(f"x{i}", "real", warp=Warp("standardise"), quantiles=(-i, 0.0, i)) for i in (1.0, 2.0))
    )

    def log_prob_parts(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise AssertionError


def test_numbers_of_a_table_are_compared_with_the_range_of_their_own_column() -> None:
    found = sample_range(Rows(2), Batch(torch.zeros(5, 2), None), 20_000)
    assert found.by_column
    assert found.saturated == pytest.approx((0.3173 + 0.0455) / 2, abs=0.01)  # P(|z| > 1), P(|z| > 2)
    assert found.diverged == pytest.approx(0.0027, abs=0.002)  # P(|z| > 3)


@pytest.mark.parametrize("marginal", [False, True])
def test_origins_name_the_layer_and_the_dimension(marginal: bool) -> None:
    flow = Flow([spread(0.0, 0.0, 0.0), spread(0.0, -4.0, 0.0), spread(0.0, 0.0, 0.0)], StandardNormal(3))
    model = Marginalising(flow, StandardNormal(1)) if marginal else flow
    rows = torch.randn(500, 3)[:, : 2 if marginal else 3] * torch.tensor([1.0, 0.02, 1.0])[: 2 if marginal else 3]
    found = origins(model, Batch(rows, None), 100)
    assert found
    assert {each.layer for each in found} == {"2: Scaling"}
    assert {each.dimension for each in found} == {1}
    assert all(abs(each.value) > 3 * each.limit for each in found)


def test_contexts_and_densities_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="need a context each"):
        sample_range(models.maf(2, hidden=[8], context_features=1), Batch(torch.zeros(5, 2), torch.zeros(5, 1)))
    with pytest.raises(ValueError, match="no layers"):
        origins(StandardNormal(2), Batch(torch.zeros(5, 2), None))


def test_samples_are_traced_under_the_contexts_of_the_rows_in_turn() -> None:
    """Samples under the second label are stretched by 1,000, and all of them far out."""

    class ByLabel(Scaling):
        @property
        def context_features(self) -> int:
            return 2

        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert context is not None
            return x / (1 + 999 * context[:, 1:]), -2 * torch.log(1 + 999 * context[:, 1])

        def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert context is not None
            return z * (1 + 999 * context[:, 1:]), 2 * torch.log(1 + 999 * context[:, 1])

    model, labels = Flow([ByLabel(2)], StandardNormal(2)), torch.eye(2)[[0, 1, 0]]
    found = origins(model, Batch(torch.randn(3, 2), labels), 9)
    assert [each.sample for each in found] == [1, 4, 7]
