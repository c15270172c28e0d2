"""Missing cells: against sums over all cells, closed forms, and how often quantiles of rows held out are right."""

from __future__ import annotations

import math
import warnings
from typing import cast

import pytest
import torch
from schemas import levels, reals, steps, strengthened
from small_tables import SCHEMA, cells_of, mixed, mixture, normal, same

import marginflow as mf
from marginflow.base.data_warning import DataWarning
from marginflow.data import Schema
from marginflow.distributions import GaussianMixture, Marginalising, Mixed, StandardNormal
from marginflow.distributions.by_columns import NoFactorsError
from marginflow.distributions.columns.column_by_column import ColumnByColumn
from marginflow.distributions.fill import fill

MODELS = {"mixed": mixed, "two orders": lambda: mixed(2), "mixture": mixture}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("places", [(1,), (0, 4), (1, 2, 3), (0, 1, 2, 3, 4)])
def test_draws_have_the_probabilities_of_all_cells_that_are_not_blank(name: str, places: tuple[int, ...]) -> None:
    model, cells = MODELS[name](), cells_of(SCHEMA)
    torch.manual_seed(5)
    row = torch.tensor([1.0, 2.0, 0.0, 1.0, 2.0])
    missing = torch.tensor([i in places for i in range(5)])
    found = fill(model, row.expand(3000, -1), missing.expand(3000, -1), num_samples=500)
    assert torch.equal(found.x[:, ~missing], row[~missing].expand(3000, -1))
    assert not found.x.isnan().any()
    inside = cells[same(cells[:, ~missing], row[~missing]) & ~cells[:, missing].isnan().any(1)]
    with torch.no_grad():
        p = model.log_prob(inside).exp()
    expected = 3000 * p / p.sum()
    counts = torch.stack([same(found.x, cell).sum() for cell in inside]).double()
    assert counts.sum() == 3000
    often = expected > 5
    chi = ((counts - expected).square() / expected)[often].sum()
    assert chi < 1.1 * (often.sum() + 6 * (2 * often.sum()).sqrt())


def test_the_median_of_a_category_is_its_most_probable_level_and_of_steps_a_quantile() -> None:
    model, cells = mixed(), cells_of(SCHEMA)
    rows = torch.tensor([[0.0, 1, 0, 2, 1], [2.0, 3, 1, 0, 2]])
    for place in (0, 2, 4):  # levels: all of them are tried
        missing = torch.zeros(2, 5, dtype=torch.bool)
        missing[:, place] = True
        found = fill(model, rows, missing, by="median", levels=[0.1, 0.9])
        assert found.effective_sample_size.isinf().all()
        for row, filled, quantiles in zip(rows, found.x, found.quantiles, strict=True):
            others = [i for i in range(5) if i != place]
            inside = cells[same(cells[:, others], row[others]) & ~cells[:, place].isnan()]
            with torch.no_grad():
                p = model.log_prob(inside).exp()
            p = p / p.sum()
            if place == 0:
                assert filled[0] == inside[p.argmax(), 0]
                assert quantiles[0].isnan().all()
            else:
                upto = p.cumsum(0)
                assert filled[place] == inside[int((upto < 0.5).sum()), place]
                assert quantiles[place].tolist() == [float(inside[int((upto < q).sum()), place]) for q in (0.1, 0.9)]
    missing = torch.tensor([False, True, False, False, False]).expand(2, -1)
    found = fill(model, rows, missing, by="median", levels=[0.2, 0.8], num_samples=4000)
    for row, quantiles in zip(rows, found.quantiles[:, 1], strict=True):
        inside = cells[same(cells[:, [0, 2, 3, 4]], row[[0, 2, 3, 4]]) & ~cells[:, 1].isnan()]
        with torch.no_grad():
            p = model.log_prob(inside).exp()
        upto = (p / p.sum()).cumsum(0)
        for level, quantile in zip((0.2, 0.8), quantiles.tolist(), strict=True):
            nearest = {int((upto < level + off).sum()) for off in (-0.05, 0.0, 0.05)}
            assert int(quantile) in nearest


def test_noise_that_is_marginalised_is_drawn_too() -> None:
    torch.manual_seed(0)
    joint = strengthened(Mixed(SCHEMA, hidden=[12] * 3, components=2, noise_features=2))
    model = Marginalising(joint, StandardNormal(2))
    row, missing = torch.tensor([[0.0, 1, 0, 2, 1]]), torch.tensor([[True, False, False, False, False]])
    found = fill(model, row.expand(2000, -1), missing.expand(2000, -1), num_samples=100)
    every = row.repeat(3, 1)
    every[:, 0] = torch.arange(3.0)
    p = mf.log_likelihood(model, every, num_samples=20_000).log_prob.softmax(0)
    shares = torch.bincount(found.x[:, 0].long(), minlength=3) / 2000
    torch.testing.assert_close(shares, p, atol=0.05, rtol=0)
    assert found.effective_sample_size.isfinite().all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_quantiles_of_held_out_rows_are_right_as_often_as_they_say(place: int) -> None:
    """Of a fitted model: 80 % of held-out values lie between the quantiles at 0.1 and 0.9."""
    torch.manual_seed(0)

    def rows(number: int) -> torch.Tensor:
        a = torch.randint(3, (number,)).double()
        b = (6 * torch.sigmoid(torch.randn(number) + a - 1)).floor()
        return torch.stack([a, b, b - 2 * a + 0.7 * torch.randn(number)], 1)

    schema = Schema((levels("a", "ordered", 3), steps("b", "integer", 6), reals("c", "standardise")))
    model = Mixed(schema, hidden=[32] * 3, components=4, dropout=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of steps among numbers, as the rows come without their schema
        mf.fit(model, rows(4000), mf.TrainConfig(epochs=12, lr=5e-3, batch_size=200, schedule="cosine"))
    x = rows(1500)
    missing = torch.zeros(1500, 3, dtype=torch.bool)
    missing[:, place] = True
    found = fill(model.eval(), x, missing, by="median", levels=[0.1, 0.9], num_samples=400)
    low, high = found.quantiles[:, place].unbind(1)
    truth = x[:, place]
    outside = [float((truth < low).double().mean()), float((truth > high).double().mean())]
    assert max(outside) < 0.13
    if place == 2:  # of a real number both ends are reached; of steps as many as there may be lie on them
        assert min(outside) > 0.07
        assert found.effective_sample_size.isinf().all()
    below, upto = (truth < found.x[:, place]).double().mean(), (truth <= found.x[:, place]).double().mean()
    assert float(below) - 0.04 < 0.5 < float(upto) + 0.04


def test_a_mixture_of_normal_distributions_is_filled_by_its_closed_form() -> None:
    model = normal(components=1)
    m, S = model.means[0].detach(), model.covariances()[0].detach()
    x = model.sample(3)
    missing = torch.tensor([[True, False, True, False]]).expand(3, -1)
    found = fill(model, x, missing, by="median", levels=[0.975])
    given, others = [1, 3], [0, 2]
    gain = S[others][:, given] @ torch.linalg.inv(S[given][:, given])
    mean = m[others] + (x[:, given] - m[given]) @ gain.T
    deviation = (S[others][:, others] - gain @ S[given][:, others]).diagonal().sqrt()
    torch.testing.assert_close(found.x[:, others], mean)
    torch.testing.assert_close(found.quantiles[:, others, 0], mean + 1.959964 * deviation, atol=1e-5, rtol=0)
    assert found.quantiles[:, given].isnan().all()


@pytest.mark.parametrize("name", ["mixed", "mixture"])
def test_quantiles_are_of_rows_in_which_no_missing_cell_is_blank(name: str) -> None:
    """As draws are: of b where e is missing, too, and might be blank."""
    model = mixture(4) if name == "mixture" else mixed(order="sequential")
    cells, row = cells_of(SCHEMA), torch.tensor([[1.0, 2.0, 0.0, 1.0, 2.0]])
    missing = torch.tensor([[False, True, False, False, True]])
    at = [0.05 * i for i in range(1, 20)]
    found = fill(model, row, missing, by="median", levels=at, num_samples=20_000)
    inside = cells[same(cells[:, [0, 2, 3]], row[0, [0, 2, 3]]) & ~cells[:, [1, 4]].isnan().any(1)]
    with torch.no_grad():
        p = model.log_prob(inside).exp()
    for place in (1, 4):
        upto = torch.stack([p[inside[:, place] <= value].sum() for value in range(4)]) / p.sum()
        for level, quantile in zip(at, found.quantiles[0, place].tolist(), strict=True):
            nearest = {int((upto < level + off).sum()) for off in (-0.015, 0.0, 0.015)}
            assert int(quantile) in nearest, (place, level)


def test_a_draw_takes_no_more_draws_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    model, drawn = normal(), []
    propose = GaussianMixture.propose
    monkeypatch.setattr(
        GaussianMixture, "propose", lambda self, x, *more: drawn.append(len(x)) or propose(self, x, *more)
    )
    x = model.sample(50)
    fill(model, x, torch.tensor([True, False, False, False]).expand(50, -1))
    assert sum(drawn) <= 50 * 4


def test_rows_without_gaps_stay_and_what_makes_no_sense_is_refused() -> None:
    model, row = mixed(), torch.tensor([[1.0, math.nan, 0.0, 1.0, math.nan]])
    found = fill(model, row, torch.zeros(1, 5, dtype=torch.bool))
    assert same(found.x, row[0]).all()
    assert found.effective_sample_size.isinf().all()
    with pytest.raises(ValueError, match="by must be one of draw, median"):
        fill(model, row, row.isnan(), by="mean")
    with pytest.raises(ValueError, match=r"between 0 and 1; got 1\.0"):
        fill(model, row, row.isnan(), levels=[0.5, 1.0])
    with pytest.raises(NoFactorsError):
        fill(mf.models.maf(2, hidden=[8]), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))


def test_a_cell_that_is_always_blank_stays_so() -> None:
    schema = Schema((levels("a", "boolean", 2), levels("b", "category", 2, blank=True), reals("c", "log", blank=True)))
    model = Mixed(schema, hidden=[8]).eval()
    member = cast(ColumnByColumn, model.members[0])
    with torch.no_grad():
        bias = member.network.output_layer.bias.copy_(
            torch.cat([member.factors.marginals(place) for place in member.order])
        )
        bias[2] = 1e4  # of b: blank, then two levels
    row = torch.tensor([[1.0, math.nan, math.nan]])
    found = fill(model, row, torch.tensor([[False, True, True]]))
    assert found.x[0, 0] == 1
    assert found.x[0, 1:].isnan().all()
