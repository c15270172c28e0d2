"""Float32 against float64, on the same rows and the same noise."""

from __future__ import annotations

import pytest
import torch
from registry import DISTRIBUTIONS, Case

from marginflow import models
from marginflow.base.data_warning import DataWarning
from marginflow.data import Split
from marginflow.distributions import DiagonalNormal, Flow, Marginalising, StandardNormal
from marginflow.evaluation.float32_error import disagreement
from marginflow.transforms import ActNorm, Dequantise, Logit, Permutation, Standardise


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("case", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def test_float64_sees_the_same_rows_and_the_same_noise(case: Case) -> None:
    torch.default_generator.manual_seed(0)
    model = case.build().eval()
    x = case.x(40)
    found = disagreement(model.float(), Split(x.float() if x.is_floating_point() else x, case.context(40)))
    if next(model.parameters(), None) is None:
        assert found is None
        return
    assert found is not None
    assert found.num_rows == 40
    assert 0 <= found.mean <= found.largest < 1e-3  # other noise moves it by 1


@pytest.mark.usefixtures("single")
def test_disagreement_is_that_of_a_copy_in_float64() -> None:
    torch.default_generator.manual_seed(0)
    standardise = Standardise(2)
    standardise.set_statistics(torch.tensor([3000.0, 0.0]), torch.tensor([1.0, 1.0]))
    model = Flow([standardise], models.maf(2, hidden=[16], blocks=2)).eval()
    x = torch.randn(5000, 2, dtype=torch.float64) + torch.tensor([3000.0, 0.0])
    x = x.float()
    found = disagreement(model, Split(x))
    assert found is not None
    assert found.num_rows == 1000
    rows = x[torch.linspace(0, 4999, 1000).long()]
    with torch.no_grad():
        single = model.log_prob(rows)
        double = model.double().log_prob(rows.double())
    apart = (single.double() - double).abs()
    assert found.mean == float(apart.mean()) > 1e-9
    assert found.largest == float(apart.max())
    assert disagreement(model, Split(x)) is None  # it is in float64 now


@pytest.mark.usefixtures("single")
def test_what_float32_makes_of_the_rows_is_counted() -> None:
    torch.default_generator.manual_seed(0)
    norm = ActNorm(1)
    norm.set_statistics(torch.tensor([1e5]), torch.tensor([1.0]))
    model = Flow([norm], Flow([Permutation(1)], StandardNormal(1)))
    z = torch.randn(500, 1, dtype=torch.float64)
    with pytest.warns(DataWarning, match="column 0 of x varies little beside its size"):
        found = disagreement(model, Split(z + 1e5))
    assert found is not None
    rounded = (z + 1e5).float().double() - 1e5  # float32 has steps of 1/128 there
    assert found.mean == pytest.approx(float((rounded**2 - z**2).abs().mean() / 2), rel=1e-2)
    assert found.largest > 1e-3


def test_other_noise_is_refused_where_it_can_be_told() -> None:
    class Fickle(DiagonalNormal):
        def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            for _ in range(1 + (x.dtype == torch.float64)):
                x = x + torch.randn_like(x)
            return super()._log_prob(x, context)

    with pytest.raises(ValueError, match="noise that its `noise` does not show"):
        disagreement(Fickle(2).float(), Split(torch.zeros(5, 2)))


@pytest.mark.usefixtures("single")
def test_pixels_and_labels_are_compared_too() -> None:
    pixels = torch.randint(256, (30, 4), dtype=torch.uint8)
    noise = DiagonalNormal(1, torch.nn.Linear(4, 2), 4)
    model = Flow([Dequantise(256), Logit(0.05)], Marginalising(models.planar(5), noise))
    found = disagreement(model, Split(pixels))
    assert found is not None
    assert found.largest < 1e-4


def test_rows_outside_of_the_support_have_no_error() -> None:
    model = Flow([Logit(0.05)], models.planar(1)).float()
    x = torch.tensor([[0.5], [1.2], [0.3], [-0.1]], dtype=torch.float32)
    found = disagreement(model, Split(x))
    assert found is not None
    assert found.num_rows == 2
    assert found.largest < 1e-5
    assert disagreement(model, Split(x[1::2])) is None


@pytest.mark.usefixtures("single")
def test_rows_so_far_out_that_float32_overflows_are_counted_and_left_out() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1e25, 0.0]])  # whose square float32 does not hold
    found = disagreement(DiagonalNormal(2), Split(x))
    assert found is not None
    assert (found.num_rows, found.num_overflown) == (2, 1)
    assert found.largest < 1e-5
