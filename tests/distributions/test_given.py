"""Rows given some columns: against sums over all cells, closed forms of normal distributions, and what is refused."""

from __future__ import annotations

import math
import sys
from typing import cast

import pytest
import torch
from hypothesis import given as drawn_by
from hypothesis import settings
from hypothesis import strategies as st
from schemas import direct_mask, levels, reals, steps, strengthened
from small_tables import SCHEMA, cells_of, mixed, mixture, normal, same
from torch import Tensor

from marginflow import models
from marginflow.data import Schema
from marginflow.distributions import (
    Distribution,
    Flow,
    Marginalising,
    Mixed,
    ProductMixture,
    StandardNormal,
    log_prob_given,
    sample_given,
)
from marginflow.distributions.by_columns import NoFactorsError, by_columns
from marginflow.distributions.columns.column_by_column import ColumnByColumn
from marginflow.distributions.sample_given import TooFewError, resampled
from marginflow.transforms import Logit, Standardise

MODELS = {"mixed": mixed, "two orders": lambda seed: mixed(2, seed=seed), "mixture": mixture}
FLAGS = st.lists(st.booleans(), min_size=5, max_size=5)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6)
@drawn_by(flags=FLAGS, of=FLAGS, seed=st.integers(0, 20))
def test_log_p_of_columns_given_others_is_that_of_sums_over_all_cells(
    name: str, flags: list[bool], of: list[bool], seed: int
) -> None:
    model, cells = MODELS[name](seed=seed), cells_of(SCHEMA)
    b = torch.tensor(flags)
    a = torch.tensor(of) & ~b
    if not a.any():
        return
    with torch.no_grad():
        p = model.log_prob(cells).exp()
    torch.manual_seed(seed)
    rows = cells[torch.randint(len(cells), (4,))]
    found = log_prob_given(model, rows, b, a, num_samples=4000)
    for row, log_p, error in zip(rows, found.log_prob, found.standard_error, strict=True):
        both, alone = (p[same(cells[:, which], row[which])].sum() for which in (a | b, b))
        assert float(log_p) == pytest.approx(math.log(both / alone), abs=1e-9 + 6 * float(error))
        assert float(error) < 0.5
    order = [cast(ColumnByColumn, member).order for member in model.members] if isinstance(model, Mixed) else []
    begins = [all(all(w[i] for i in each[: int(w.sum())]) for each in order) for w in (a | b, b)]
    assert found.exact == all(begins)
    assert found.high == (begins == [True, False])
    assert bool((found.standard_error == 0).all()) == found.exact


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6)
@drawn_by(flags=FLAGS, seed=st.integers(0, 20))
def test_rows_have_the_probabilities_of_all_cells_with_the_given_values(
    name: str, flags: list[bool], seed: int
) -> None:
    model, cells, b = MODELS[name](seed=seed), cells_of(SCHEMA), torch.tensor(flags)
    if b.all():
        return
    torch.manual_seed(seed)
    row = model.sample(1)[0]
    found = sample_given(model, 3000, row[None], b)
    assert same(found.x[:, b], row[b]).all()
    inside = cells[same(cells[:, b], row[b])]
    with torch.no_grad():
        p = model.log_prob(inside).exp()
    expected = p / p.sum() * 3000
    counts = torch.stack([same(found.x, cell).sum() for cell in inside]).double()
    assert counts.sum() == 3000
    often = expected > 5
    chi = ((counts - expected).square() / expected)[often].sum()
    wider = 1.0 if found.exact else 1 + 3000 / found.effective_sample_size
    assert chi < wider * (often.sum() + 6 * (2 * often.sum()).sqrt())
    assert found.exact == by_columns(model).is_exact(b)
    assert found.distinct == 3000 if found.exact else found.distinct <= found.num_draws


@pytest.mark.parametrize("name", ["mixed", "two orders", "noise"])
def test_the_mean_of_weights_is_the_probability_of_what_is_given(name: str) -> None:
    """Of a marginal density that probability comes by as many weights of all columns."""
    torch.manual_seed(0)
    if name == "noise":
        joint = strengthened(Mixed(SCHEMA, hidden=[12] * 3, components=2, noise_features=2))
        model: Distribution = Marginalising(joint, StandardNormal(2))
    else:
        model = MODELS[name](seed=3)
    b = torch.tensor([False, True, False, True, False])
    row, cells = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]]), cells_of(SCHEMA)
    w = by_columns(model).propose(row.expand(40_000, -1), b, None)[1].exp()
    inside = cells[same(cells[:, b], row[0, b])]
    error = float(w.std()) / 200
    if name == "noise":
        every = torch.ones(5, dtype=torch.bool)
        each = [by_columns(model).propose(cell.expand(4000, -1), every, None)[1].exp() for cell in inside]
        expected = float(torch.stack(each, 1).sum(1).mean())
        error = math.hypot(error, float(torch.stack(each, 1).std(0).norm()) / 4000**0.5)
    else:
        with torch.no_grad():
            expected = float(model.log_prob(inside).exp().sum())
    assert error > 0
    assert float(w.mean()) == pytest.approx(expected, abs=5 * error)


def test_rows_of_a_density_that_is_marginalised_have_its_probabilities() -> None:
    torch.manual_seed(0)
    joint = strengthened(Mixed(SCHEMA, hidden=[12] * 3, components=2, noise_features=2))
    with torch.no_grad():  # noise matters
        direct = cast(ColumnByColumn, joint.members[0]).direct
        direct.set_dense_weight(0.5 * torch.randn(direct_mask(direct).shape) * direct_mask(direct))
    model, cells = Marginalising(joint, StandardNormal(2)), cells_of(SCHEMA)
    row, b = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]]), torch.tensor([True, True, False, True, False])
    found = sample_given(model, 4000, row, b)
    assert not found.exact
    inside = cells[same(cells[:, b], row[0, b])]
    every = torch.ones(5, dtype=torch.bool)  # p of each cell by noise that the joint draws, of which no weight is heavy
    w = [by_columns(model).propose(cell.expand(20_000, -1), every, None)[1].exp().mean() for cell in inside]
    p = torch.stack(w) / sum(w)
    counts = torch.stack([same(found.x, cell).sum() for cell in inside]).double()
    often = 4000 * p > 5
    chi = ((counts - 4000 * p).square() / (4000 * p))[often].sum()
    assert often.sum() > 2
    assert chi < 3 * (len(p) + 6 * (2 * len(p)) ** 0.5)


def test_columns_first_in_the_order_are_exact() -> None:
    model = mixed(orders=3, first=("d", "b"))
    assert [cast(ColumnByColumn, member).order[:2] for member in model.members] == [[3, 1]] * 3
    assert sample_given(model, 10, torch.zeros(1, 5), [False, False, False, True, False]).exact
    assert sample_given(model, 10, torch.zeros(1, 5), [False, True, False, True, False]).exact
    assert not sample_given(model, 10, torch.zeros(1, 5), [False, True, False, False, False]).exact
    with pytest.raises(ValueError, match=r"first must name columns.*'f'"):
        Mixed(SCHEMA, hidden=[8], first=["f"])


def test_rows_come_in_turn_and_a_blank_is_a_value() -> None:
    model = mixed(order="sequential")
    x = torch.tensor([[0.0, math.nan, 0, 0, 0], [1.0, 2.0, 0, 0, 0]])
    for flags in ([True, True, False, False, False], [False, True, False, False, False]):
        found = sample_given(model, 7, x, flags).x
        assert found[:, 1].isnan().tolist() == [True, False] * 3 + [True]
        assert found[1::2, 1].tolist() == [2.0] * 3
        assert len(found) == 7
        assert len(sample_given(model, 1, x, flags).x) == 1


def test_columns_behind_the_last_one_given_are_drawn_for_each_row_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where rows come from few draws: two columns of real numbers, of which one row hardly repeats another's."""
    torch.manual_seed(0)
    schema = Schema((levels("a", "category", 3), levels("b", "boolean", 2), reals("c", "standardise")))
    model = strengthened(Mixed(schema, hidden=[12] * 3, components=2))
    monkeypatch.setattr(
        sys.modules["marginflow.distributions.sample_given"], "NUMBERS", 1
    )  # no more than the first draws
    found = sample_given(model, 2000, torch.tensor([[0.0, 1.0, 0.0]]), [False, True, False])
    assert not found.exact
    assert found.num_draws == 256
    assert len(found.x[:, 2].unique()) == 2000


class Uneven(Mixed):
    """Weights that differ from draw to draw by many powers of ten."""

    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().propose(x, given, context)[0], 60 * torch.randn(len(x))


def test_values_that_columns_before_them_hardly_lead_to_are_refused() -> None:
    torch.manual_seed(0)
    model = Uneven(SCHEMA, hidden=[8]).eval()
    for number, most in ((5, 20), (50, 20), (500, 50)):
        with pytest.raises(TooFewError, match=rf"as few as \d+ count for {number} rows.* at least {most} must") as told:
            sample_given(model, number, torch.zeros(1, 5), [False, False, True, False, False], seconds=0.2)
        assert told.value.given == [False, False, True, False, False]


def test_a_mixture_of_normal_distributions_has_the_closed_form() -> None:
    model, b = normal(), torch.tensor([False, True, False, True])
    x = model.sample(6)
    weights, means, covariances = model.log_weights.softmax(0), model.means, model.covariances()

    def log_p(which: list[int]) -> Tensor:
        parts = [
            torch.distributions.MultivariateNormal(m[which], S[which][:, which]).log_prob(x[:, which]) + w.log()
            for w, m, S in zip(weights, means, covariances, strict=True)
        ]
        return torch.stack(parts).logsumexp(0)

    found = log_prob_given(model, x, b)
    torch.testing.assert_close(found.log_prob, log_p([0, 1, 2, 3]) - log_p([1, 3]))
    found = log_prob_given(model, x, b, [True, False, False, False])
    torch.testing.assert_close(found.log_prob, log_p([0, 1, 3]) - log_p([1, 3]))
    assert found.exact
    alone = normal(components=1)
    m, S = alone.means[0], alone.covariances()[0]
    given, others = [1, 3], [0, 2]
    gain = S[others][:, given] @ torch.linalg.inv(S[given][:, given])
    rows = sample_given(alone, 60_000, x[:1], b).x
    assert torch.equal(rows[:, given], x[:1, given].expand(60_000, -1))
    mean, covariance = m[others] + gain @ (x[0, given] - m[given]), S[others][:, others] - gain @ S[given][:, others]
    torch.testing.assert_close(rows[:, others].mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(rows[:, others].T.cov(), covariance, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("name", ["gaussian", "logit"])
def test_densities_behind_preprocessing_count_its_slopes(name: str) -> None:
    """p(a | b) integrates to 1 over a, and rows are drawn where it is."""
    torch.manual_seed(0)
    standardise = Standardise(4)
    standardise.set_statistics(torch.tensor([1.0, 0.5, 1.0, 0.0]), torch.tensor([9.0, 0.04, 1.0, 1.0]))
    transforms = [standardise] if name == "gaussian" else [Logit(1e-6), standardise]
    model = Flow(transforms, Flow([], normal()))
    x = torch.tensor([[0.3, 0.9, 0.4, 0.7]])
    axis = torch.linspace(-40, 40, 8001) if name == "gaussian" else torch.linspace(-13.8, 13.8, 8001).sigmoid()
    rows = x.repeat(len(axis), 1)
    rows[:, 3] = axis
    found = log_prob_given(model, rows, [False, True, False, False], [False, False, False, True])
    density = found.log_prob.exp()
    assert float(torch.trapezoid(density, axis)) == pytest.approx(1, abs=2e-3)
    draws = sample_given(model, 20_000, x, [False, True, False, False]).x
    assert torch.equal(draws[:, 1], x[0, 1].expand(20_000))
    share = torch.cumulative_trapezoid(density, axis)[len(axis) // 2]
    assert float((draws[:, 3] <= axis[len(axis) // 2 + 1]).double().mean()) == pytest.approx(float(share), abs=0.02)
    levels = torch.tensor([0.1, 0.5, 0.9])
    quantiles = by_columns(model).quantiles(x, torch.tensor([False, True, False, False]), 3, levels, None)
    assert quantiles is not None
    reached = [float(torch.trapezoid(density[axis <= q], axis[axis <= q])) for q in quantiles[0]]
    assert reached == pytest.approx(levels.tolist(), abs=5e-3)


ROWS = Schema((
    levels("a", "category", 3), steps("b", "integer", 40, atoms=[3, 20], blank=True), reals("r", "log", [1.25], True),
    reals("s", "asinh"), levels("o", "ordered", 5, blank=True), steps("g", "date", 6, atoms=[5]),
))  # fmt: skip


@pytest.mark.parametrize("last", ["b", "r", "s", "o", "g"])
@pytest.mark.parametrize("kind", ["mixed", "mixture"])
def test_quantiles_are_those_of_draws_that_are_not_blank(kind: str, last: str) -> None:
    torch.manual_seed(1)
    place = ROWS.names.index(last)
    order = [*(i for i in range(6) if i != place), place]
    if kind == "mixed":
        model: Mixed | ProductMixture = strengthened(Mixed(ROWS, hidden=[12] * 3, components=3, order=order))
    else:
        model = ProductMixture(ROWS, components=3)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
    given = torch.tensor([i != place for i in range(6)])
    x, at = model.sample(3), torch.tensor([0.0, 0.02, 0.25, 0.5, 0.75, 0.98, 1.0])
    found = model.quantiles(x, given, place, at, None)
    assert found is not None
    for row, quantiles in zip(x, found, strict=True):
        draws = sample_given(model, 20_000, row[None], given).x[:, place]
        draws = draws[~draws.isnan()].sort().values
        assert (quantiles.diff() >= 0).all()
        for level, quantile in zip(at[1:-1], quantiles[1:-1], strict=True):
            below, upto = float((draws < quantile).double().mean()), float((draws <= quantile).double().mean())
            slack = 0.015
            assert below - slack <= float(level) <= upto + slack, (level, quantile, below, upto)


def test_quantiles_are_exact_for_the_column_that_follows_the_given_ones_alone() -> None:
    model, at = mixed(order="sequential"), torch.tensor([0.5])
    x = torch.zeros(2, 5)
    assert model.quantiles(x, torch.tensor([True, True, False, False, False]), 2, at, None) is not None
    assert model.quantiles(x, torch.tensor([True, True, False, False, False]), 3, at, None) is None
    assert model.quantiles(x, torch.tensor([True, False, True, True, True]), 1, at, None) is None
    assert mixed(orders=2).quantiles(x, torch.tensor([False] * 5), 0, at, None) is None


def test_what_has_no_factor_for_each_column_is_refused() -> None:
    for model in (models.maf(2, hidden=[8]), models.nsf(2, hidden=[8])):
        with pytest.raises(NoFactorsError, match="no factor for each column"):
            sample_given(model, 3, torch.zeros(1, 2), [True, False])
        with pytest.raises(NoFactorsError):
            log_prob_given(model, torch.zeros(1, 2), [True, False])
    with pytest.raises(ValueError, match="one flag for each column"):
        sample_given(mixed(), 3, torch.zeros(1, 5), [True, False])
    with pytest.raises(ValueError, match=r"column 0 \(counted from 0\) is NaN, and cannot be blank"):
        sample_given(mixed(), 3, torch.full((1, 5), math.nan), [True, True, False, False, False])
    flow = models.mixed(Schema((reals("r", "standardise"), levels("a", "boolean", 2))), hidden=[8], real="nsf")
    with pytest.raises(ValueError, match=r"train without model\.real"):
        sample_given(flow, 3, torch.zeros(1, 2), [True, False])
    impossible = log_prob_given(mixed(order="sequential"), torch.tensor([[7.0, 0, 0, 0, 0]]), [True, *[False] * 4])
    assert impossible.log_prob.isnan().all()
    with pytest.raises(ValueError, match="others than the given ones"):
        log_prob_given(mixed(), torch.zeros(1, 5), [True] * 5)
    with pytest.raises(ValueError, match="no probability together"):
        sample_given(
            mixed(order="sequential"), 3, torch.tensor([[7.0, 0, 0, 0, 0]]), [True, False, False, False, False]
        )


def test_systematic_resampling_takes_each_draw_as_often_as_its_weight_says() -> None:
    torch.manual_seed(0)
    weights = torch.rand(50, dtype=torch.float64)
    counts = torch.bincount(resampled(weights.log(), 1000), minlength=50).double()
    expected = 1000 * weights / weights.sum()
    assert float((counts - expected).abs().max()) < 1
