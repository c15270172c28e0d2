"""Training a mixture of independent columns by EM: its steps against gradients and closed forms, and what fit keeps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers import Recorder
from torch import Tensor

import marginflow
from marginflow import models
from marginflow.data import Column, DataSet, Grid, Schema, Split, Warp
from marginflow.data.tables.statistics import fitted
from marginflow.distributions import Flow, ProductMixture
from marginflow.distributions.columns.components import PRIOR_SCALE, NumberComponents
from marginflow.distributions.product_em import ProductEM
from marginflow.training import TrainConfig, fit

LEVELS = Column("level", "category", blank=True, levels=("a", "b", "c"))
COUNT = Column("count", "integer", grid=Grid(), lower=0.0)
AMOUNT = Column("amount", "real", blank=True)


def rows_of(number: int = 600, seed: int = 0) -> Tensor:
    """Two kinds of rows, with a spike at 0 in the counts and blanks."""
    torch.manual_seed(seed)
    kind = torch.rand(number) < 0.4
    level = torch.where(kind, torch.multinomial(torch.tensor([0.8, 0.1, 0.1]), number, replacement=True), 2).double()
    count = torch.where(kind, torch.randn(number) * 2 + 12, torch.randn(number) * 6 + 30).round().clamp_min(0)
    count = torch.where(torch.rand(number) < 0.2, 0.0, count)
    amount = torch.where(kind, torch.randn(number), torch.randn(number) * 0.3 + 4)
    level, amount = (torch.where(torch.rand(number) < 0.1, torch.nan, each) for each in (level, amount))
    return torch.stack([level, count, amount], 1)


def mixture_of(x: Tensor, *columns: Column, components: int = 3, prior: float = 1.0) -> ProductMixture:
    return ProductMixture(fitted(Schema(columns), x), components, prior)


def em_of(model: ProductMixture, x: Tensor, context: Tensor | None = None, seed: int = 0) -> ProductEM:
    em = ProductEM(model, Split(x, context), lambda: None)
    em.start(seed)
    return em


def mean_of(model: ProductMixture, x: Tensor) -> float:
    with torch.no_grad():
        return -float(model.log_prob(x).mean())


@pytest.mark.parametrize("columns", [(LEVELS, COUNT, AMOUNT), (COUNT,), (AMOUNT,), (LEVELS,)])
@pytest.mark.parametrize("seed", range(3))
def test_without_rows_beforehand_no_step_lowers_the_likelihood(columns: tuple[Column, ...], seed: int) -> None:
    x = rows_of()[:, [(LEVELS, COUNT, AMOUNT).index(column) for column in columns]]
    model = mixture_of(x, *columns, components=5, prior=0.0)
    em = em_of(model, x, seed=seed)
    losses = [em.step() for _ in range(60)]
    assert losses[0] > losses[-1] + 0.01
    for before, after in pairwise(losses):
        assert after <= before + 1e-9
    assert mean_of(model, x) <= losses[-1] + 1e-9


@torch.no_grad()
def beforehand(model: ProductMixture) -> float:
    """log of the density of the rows that components are given, by hand, of columns without atoms on a grid."""
    total = 0.0
    for column in model.all_columns():
        number = column.column.num_points + (not column.column.levels)
        logs = column.params[:, :number].log_softmax(1)
        total += column.prior * float((column._beforehand * logs).sum())
        if isinstance(column, NumberComponents):
            scales = column._split()[3]
            total -= column.prior * float((scales.log() + PRIOR_SCALE**2 / (2 * scales.square())).sum())
    return total


def test_with_them_no_step_lowers_the_likelihood_times_that_of_these_rows() -> None:
    x = rows_of()
    x[:, 1] += 1 + torch.arange(len(x)) % 7  # which leaves no atom
    model = mixture_of(x, LEVELS, COUNT, AMOUNT, components=6, prior=2.0)
    assert not model.schema["count"].atoms
    em, found = em_of(model, x), []
    for _ in range(60):
        before = beforehand(model)
        found.append(em.step() * len(x) - before)
    for before, after in pairwise(found):
        assert after <= before + 1e-6


@pytest.mark.parametrize("column", [0, 1, 2])
def test_where_it_ends_the_likelihood_is_stationary(column: int) -> None:
    x = rows_of(300)[:, [column]]
    model = mixture_of(x, (LEVELS, COUNT, AMOUNT)[column], components=2, prior=0.0)
    em = em_of(model, x)
    for _ in range(600):
        em.step()
    model.log_prob(x).mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) < 1e-3


def test_the_moments_of_a_step_are_gradients() -> None:
    for columns in ((COUNT,), (AMOUNT,), (replace(COUNT, upper=60.0),)):
        x = rows_of()[:, [1 if columns[0].name == "count" else 2]]
        model = mixture_of(x, *columns, components=4)
        em_of(model, x).step()
        (column,) = model.all_columns()
        assert isinstance(column, NumberComponents)
        read = column.coded(x[:, 0]).read
        means, scales = (each.detach().requires_grad_() for each in column._split()[2:])
        log_p = column.factors._log_of_each(read, means[None, None], scales[None, None])[:, 0]
        score, square = column._moments(read)
        kept = torch.rand_like(log_p)
        of_mean, of_scale = torch.autograd.grad((kept * log_p).sum(), [means, scales])
        torch.testing.assert_close((kept * score).sum(0), of_mean * scales)
        torch.testing.assert_close((kept * (square - 1)).sum(0), of_scale * scales)


def test_one_component_has_the_shares_of_the_rows() -> None:
    x = rows_of()
    model = mixture_of(x, LEVELS, COUNT, AMOUNT, components=1)
    em = em_of(model, x)
    for _ in range(100):
        em.step()
    level = x[:, 0].nan_to_num(-1)
    shares = torch.stack([(level == i).double().mean() for i in (-1, 0, 1, 2)])
    found = model.all_columns()[0].params.softmax(1)[0]
    torch.testing.assert_close(found.detach(), shares, atol=1e-9, rtol=0)
    amount = model.all_columns()[2]
    blank = amount.params[:, : amount.column.num_points + 1].softmax(1)[0, 0].detach()
    assert float(blank) == pytest.approx(float(x[:, 2].isnan().double().mean()), abs=1e-9)


def test_it_finds_the_mixture_that_rows_were_drawn_from() -> None:
    warp = Warp("standardise", 0.0, 1.0)
    schema = Schema((
        Column("a", "category", levels=("x", "y", "z"), shares=(0.3, 0.3, 0.4)),
        Column("b", "integer", grid=Grid(), warp=Warp("standardise", 0.0, 10.0), quantiles=(-9.0, 0.0, 9.0)),
        Column("c", "real", warp=warp, quantiles=(-2.0, -1.0, 0.0, 1.0, 2.0)),
    ))  # fmt: skip
    truth = ProductMixture(schema, 2)
    with torch.no_grad():
        truth.log_weights.copy_(torch.tensor([0.3, 0.7]).log())
        truth.columns[0].params.copy_(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]).log())
        truth.columns[1].params.copy_(torch.tensor([[0.0, -1.0, -1.0], [0.0, 0.8, -0.5]]))
        truth.columns[2].params.copy_(torch.tensor([[0.0, 1.5, -1.0], [0.0, -1.0, -1.5]]))
    torch.manual_seed(0)
    x = truth.sample(20_000)
    model = ProductMixture(schema, 2)
    em = em_of(model, x)
    for _ in range(100):
        em.step()
    order = model.log_weights.argsort()
    torch.testing.assert_close(model.log_weights[order].exp(), torch.tensor([0.3, 0.7]), atol=0.02, rtol=0)
    for ours, theirs in zip(model.all_columns(), truth.all_columns(), strict=True):
        points = ours.column.num_points
        found = torch.cat([ours.params[order, :points].exp(), ours.params[order, points + 1 :]], 1)
        expected = torch.cat([theirs.params[:, :points].exp(), theirs.params[:, points + 1 :]], 1)
        torch.testing.assert_close(found, expected, atol=0.06, rtol=0)


def test_columns_of_few_and_of_many_values_are_fitted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    x, found = rows_of(), []
    for few in (3, 0, 10_000):
        monkeypatch.setattr("marginflow.distributions.product_em.FEW", few)
        monkeypatch.setattr("marginflow.distributions.product_em.SIZE", 500 if few else 10**6)
        model = mixture_of(x, LEVELS, COUNT, AMOUNT)
        em = em_of(model, x)
        for _ in range(5):
            em.step()
        found.append([em.step(), *model.state_dict().values()])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_a_step_says_what_rows_have_given_their_context() -> None:
    x = rows_of()
    schema = fitted(Schema((replace(LEVELS, given=True), COUNT, AMOUNT)), x[:, 1:], x[:, :1])
    model = ProductMixture(schema, 4)
    em = em_of(model, x[:, 1:], x[:, :1])
    em.step()
    with torch.no_grad():
        before = -float(model.log_prob(x[:, 1:], x[:, :1]).mean())
    assert em.step() == pytest.approx(before, abs=1e-9)


def test_more_components_than_rows_do_no_harm() -> None:
    x = rows_of(20)
    model = mixture_of(x, LEVELS, COUNT, AMOUNT, components=50)
    em = em_of(model, x)
    losses = [em.step() for _ in range(20)]
    assert all(map(math.isfinite, losses))
    assert torch.isfinite(model.log_prob(rows_of(30, seed=1))).all()


def data_of(x: Tensor) -> DataSet:
    schema = fitted(Schema((LEVELS, COUNT, AMOUNT)), x[:400], all_rows=x)
    return DataSet("rows", Split(x[:400]), Split(x[400:500]), Split(x[500:]), schema=schema)


def test_fit_takes_a_step_an_epoch_and_keeps_the_best(tmp_path: Path) -> None:
    data, recorder = data_of(rows_of()), Recorder()
    assert data.schema is not None
    model = Flow([], base=models.mixture(data.schema, components=40, prior=0.1))
    config = TrainConfig(epochs=60, patience=4, ema=0.9, batch_size=5000, device="cpu", precision="64-true")
    history = fit(model, data, config, tmp_path, observers=[recorder])
    assert len(recorder.losses) == len(history) < 60
    best = min(history, key=lambda record: record.validation_nll or math.inf)
    assert best.validation_nll == pytest.approx(-float(model.log_prob(data.validation.x).mean().detach()))
    assert {record.lr for record in history} == {None}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_nll"] for line in lines] == [record.train_nll for record in history]
    loaded = marginflow.load(tmp_path)
    torch.testing.assert_close(loaded.log_prob(data.test.x), model.log_prob(data.test.x))


def test_a_training_that_is_resumed_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    data = data_of(rows_of())
    assert data.schema is not None
    config = {"device": "cpu", "precision": "64-true", "seed": 3}
    model = models.mixture(data.schema, components=4)
    whole = fit(model, data, {"epochs": 6, **config})
    for epochs in (3, 6):
        again = models.mixture(data.schema, components=4)
        history = fit(again, data, {"epochs": epochs, **config}, tmp_path, resume=epochs == 6)
    assert [record.train_nll for record in history] == [record.train_nll for record in whole]
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_a_seed_gives_one_model_and_another_another() -> None:
    data = data_of(rows_of())
    assert data.schema is not None
    found = []
    for seed in (0, 0, 1):
        model = models.mixture(data.schema, components=4)
        fit(model, data, {"epochs": 2, "seed": seed, "device": "cpu"})
        found.append(model.log_weights)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_an_optimiser_is_refused() -> None:
    data = data_of(rows_of())
    assert data.schema is not None
    model = models.mixture(data.schema, components=4)
    with pytest.raises(ValueError, match="trained by EM, which needs no optimiser: leave it out"):
        fit(model, data, optimiser=torch.optim.SGD(model.parameters(), 0.1))
