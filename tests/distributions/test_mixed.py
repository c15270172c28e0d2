"""Densities of rows with columns of every kind: sums over all cells, draws, gradients, values that no column holds."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import GRIDS, levels, reals, steps, strengthened, total
from torch import Tensor, nn

from marginflow import models
from marginflow.data import Column, Grid, Schema, Warp
from marginflow.distributions import ContextEncoder, Mixed, ProductMixture
from marginflow.distributions.columns.factors import Factors
from marginflow.distributions.columns.reader import REST, RowReader

COLUMNS = st.one_of(
    st.builds(lambda kind, n, blank: ("levels", kind, n, blank), st.sampled_from(["category", "ordered"]),
              st.integers(1, 3), st.booleans()),
    st.just(("levels", "boolean", 2, False)),
    st.builds(lambda kind, n, atoms, blank: ("steps", kind, n, sorted({a for a in atoms if a < n}), blank),
              st.sampled_from(list(GRIDS)), st.integers(1, 5), st.lists(st.integers(0, 4), max_size=2), st.booleans()),
)  # fmt: skip
REALS = st.builds(
    lambda shape, atom, blank: ("reals", shape, [1.25] if atom else [], blank),
    st.sampled_from(["standardise", "asinh", "log", "softplus", "logit"]), st.booleans(), st.booleans(),
)  # fmt: skip
MAKE = {"levels": levels, "steps": steps, "reals": reals}


@st.composite
def schemas(draw: st.DrawFn, most_reals: int = 2) -> Schema:
    real = draw(st.lists(REALS, max_size=most_reals))
    discrete = draw(st.lists(COLUMNS, min_size=1, max_size=1 if len(real) == 2 else 3))
    return Schema(tuple(MAKE[kind](f"c{i}", *about) for i, (kind, *about) in enumerate([*discrete, *real])))


def model_of(schema: Schema, orders: int, seed: int) -> Mixed:
    torch.manual_seed(seed)
    return strengthened(Mixed(schema, hidden=[12] * 3, components=2, order="random", orders=orders, seed=seed))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
@settings(max_examples=12)
@given(schema=schemas(), orders=st.integers(1, 2), seed=st.integers(0, 99))
def test_all_cells_have_probability_1(
    dtype: torch.dtype, tolerance: float, schema: Schema, orders: int, seed: int
) -> None:
    assert total(model_of(schema, orders, seed).to(dtype)) == pytest.approx(1, abs=tolerance)


@settings(max_examples=8)
@given(schema=schemas(most_reals=0), orders=st.integers(1, 2), seed=st.integers(0, 99))
def test_draws_have_the_probabilities_that_log_prob_gives(schema: Schema, orders: int, seed: int) -> None:
    model = model_of(schema, orders, seed)
    draws = model.sample(10_000).nan_to_num(9)
    axes = [[*([math.nan] if c.blank else []), *range(len(c.levels) or int(c.upper or 0) + 1)] for c in schema.columns]
    cells = torch.tensor(list(itertools.product(*axes)), dtype=torch.float64)
    with torch.no_grad():
        p = model.log_prob(cells).exp()
    places = 10.0 ** torch.arange(len(axes), dtype=torch.float64)
    key, keys = (draws @ places).long(), (cells.nan_to_num(9) @ places).long()
    counts = torch.stack([(key == each).sum() for each in keys]).double()
    assert counts.sum() == len(draws)
    expected = p * len(draws)
    often = expected > 5
    chi = ((counts - expected).square() / expected)[often].sum()
    assert chi < often.sum() + 5 * (2 * often.sum()).sqrt()
    assert counts[~often].sum() < expected[~often].sum() + 5 * expected[~often].sum().sqrt() + 5


@settings(max_examples=8)
@given(schema=schemas(), orders=st.integers(1, 2), seed=st.integers(0, 99))
def test_gradients_are_those_of_float64(schema: Schema, orders: int, seed: int) -> None:
    model = model_of(schema, orders, seed)
    x, weight = model.sample(200), torch.randn(200)  # so that rows do not cancel each other
    exact = torch.autograd.grad(weight @ model.log_prob(x), list(model.parameters()))
    model.float()
    found = torch.autograd.grad(weight.float() @ model.log_prob(x), list(model.parameters()))
    one, other = (torch.cat([each.double().flatten() for each in every]) for every in (found, exact))
    assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


def everything() -> Schema:
    return Schema((
        levels("a", "category", 3, blank=True), steps("b", "integer", 5, atoms=[0, 3]), reals("c", "log", [1.25], True),
        steps("d", "decimal", 4, blank=True), levels("e", "boolean", 2), steps("f", "date", 3),
    ))  # fmt: skip


def test_real_numbers_are_drawn_from_their_density() -> None:
    torch.manual_seed(0)
    model = strengthened(Mixed(Schema((reals("c", "log", [1.25], True),)), hidden=[8], components=3))
    draws = model.sample(40_000)[:, 0]
    rest = draws[~draws.isnan() & (draws != 1.25)].sort().values
    grid = rest[torch.linspace(0, len(rest) - 1, 2000).long()]
    with torch.no_grad():
        density = model.log_prob(grid[:, None]).exp()
        point, blank = model.log_prob([[1.25], [math.nan]]).exp().tolist()
    assert float((draws == 1.25).double().mean()) == pytest.approx(point, abs=0.01)
    assert float(draws.isnan().double().mean()) == pytest.approx(blank, abs=0.01)
    share = torch.cumulative_trapezoid(density, grid) / (1 - point - blank)
    assert float((share - torch.linspace(0, 1, 2000)[1:]).abs().max()) < 0.02


def test_what_no_column_holds_has_probability_0_and_a_blank_that_cannot_be_none() -> None:
    model = strengthened(Mixed(everything(), hidden=[16] * 3, components=3))
    good = [0.0, 1.0, 1.0, 2.0, 1.0, 2.0]
    wrong = {0: [3.0, -1.0, 0.5], 1: [5.0, -1.0, 1.5], 2: [0.5, 0.2, -1.0], 3: [4.0, 0.5], 4: [2.0], 5: [1.5, math.inf]}
    assert torch.isfinite(model.log_prob([good]))
    for place, values in wrong.items():
        for value in values:
            row = [*good[:place], value, *good[place + 1 :]]
            assert model.log_prob([row]).item() == -math.inf, row
    for place in (1, 4, 5):
        row = [*good[:place], math.nan, *good[place + 1 :]]
        assert math.isnan(model.log_prob([row]).item())
    for place in (0, 2, 3):
        row = [*good[:place], math.nan, *good[place + 1 :]]
        assert torch.isfinite(model.log_prob([row]))


POSITIVE = Column("paid", "positive", warp=Warp("log", 0.0, 2.0), quantiles=(0.5, 2.0, 9.0))  # with no closed bound
DENSITIES = {
    "mixed": lambda schema: Mixed(schema, hidden=[8]).eval(),
    "mixture": lambda schema: ProductMixture(schema, components=2),
    "flow": lambda schema: models.mixed(schema, hidden=[8], real="nsf"),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_numbers_where_no_warp_is_defined_have_probability_0_and_a_blank_that_cannot_be_none(name: str) -> None:
    model = DENSITIES[name](Schema((POSITIVE,)))
    assert model.log_prob([[0.0], [-1.0]]).tolist() == [-math.inf] * 2
    assert model.log_prob([[1.0], [math.nan]]).isnan().tolist() == [False, True]


@pytest.mark.parametrize("warp", [Warp("standardise", 3.0, 2.0), Warp("logit", -1.0, 8.0), Warp("log", -1.0, 3.0)])
def test_draws_beyond_closed_bounds_are_in_the_end_cells_which_take_the_tails(warp: Warp) -> None:
    quantiles = tuple(torch.linspace(0, 6, 33).tolist())
    column = Column("c", "integer", grid=Grid(), lower=0.0, upper=6.0, warp=warp, quantiles=quantiles)
    torch.manual_seed(0)
    model = Mixed(Schema((column,)), hidden=[4]).eval()
    draws, cells = model.sample(20_000)[:, 0], torch.arange(7.0)
    found = (draws[:, None] == cells).double().mean(0)
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(found, model.log_prob(cells[:, None]).exp().double(), rtol=0, atol=0.015)


def test_a_blank_number_is_an_input_of_its_own_and_nothing_else() -> None:
    column = Column("c", "real", blank=True, warp=Warp("standardise", 3.0), quantiles=(2.0, 3.0, 4.0))
    inputs = ContextEncoder([column])(torch.tensor([[math.nan], [3.5]]))
    assert inputs[0].tolist() == [1.0] + [0.0] * 17
    assert inputs[1, :2].tolist() == [0.0, 0.5]


def test_such_rows_leave_the_gradient_of_others_as_it_was() -> None:
    model = strengthened(Mixed(everything(), hidden=[16] * 3, components=3))
    good = torch.tensor([[0.0, 1.0, 1.0, 2.0, 1.0, 2.0], [math.nan, 0.0, math.nan, math.nan, 0.0, 0.0]])
    bad = torch.tensor([[7.0, 9.0, -1.0, 0.5, 1.0, 2.0]])
    wanted = list(model.parameters())
    expected = torch.autograd.grad(model.log_prob(good).sum(), wanted)
    found = torch.autograd.grad(model.log_prob(torch.cat([good, bad]))[:2].sum(), wanted)
    torch.testing.assert_close(found, expected)


def rows_of(model: Mixed, number: int = 200) -> Tensor:
    torch.manual_seed(3)
    return model.sample(number)


def test_gradients_are_finite_differences() -> None:
    torch.manual_seed(0)
    model = strengthened(Mixed(everything(), hidden=[4], components=2))
    x = rows_of(model, 5)
    bias = model.members[0].network.output_layer.bias
    (gradient,) = torch.autograd.grad(model.log_prob(x).sum(), bias)
    for i in range(len(bias)):
        found = []
        for sign in (1, -1):
            with torch.no_grad():
                bias[i] += sign * 1e-6
                found.append(float(model.log_prob(x).sum()))
                bias[i] -= sign * 1e-6
        assert (found[0] - found[1]) / 2e-6 == pytest.approx(float(gradient[i]), rel=1e-4, abs=1e-5)


def test_a_fresh_model_has_the_shares_of_the_schema() -> None:
    schema = everything()
    model = Mixed(schema, hidden=[16] * 3).eval()
    draws = model.sample(20_000)
    assert float((draws[:, 0] == 2).double().mean()) == pytest.approx(schema["a"].shares[2], abs=0.04)
    assert float(draws[:, 3].isnan().double().mean()) == pytest.approx(0.2, abs=0.04)


def test_a_context_of_columns_matters_blank_or_not() -> None:
    columns = [*everything().columns]
    given = [Column(**{**vars(each), "given": each.name in "ac"}) for each in columns]
    torch.manual_seed(0)
    model = strengthened(Mixed(Schema(tuple(given)), hidden=[16] * 3))
    assert model.context_features == 2
    assert model.event_shape == (4,)
    x = torch.tensor([[1.0, 2.0, 1.0, 2.0]]).expand(3, 4)
    found = model.log_prob(x, [[0.0, 1.0], [math.nan, 1.0], [0.0, math.nan]])
    assert len(set(found.tolist())) == 3
    assert model.sample(7, [0.0, math.nan]).shape == (7, 4)
    with pytest.raises(ValueError, match="context"):
        model.log_prob(x)


def alone(model: Mixed, number: int) -> Mixed:
    """A model of one of the orders."""
    found = copy.deepcopy(model)
    found.members = nn.ModuleList([found.members[number]])
    return found


def test_several_orders_are_averaged_and_trained_each_for_itself() -> None:
    torch.manual_seed(0)
    model = strengthened(Mixed(everything(), hidden=[16] * 3, orders=3))
    x = rows_of(model)
    with torch.no_grad():
        each = torch.stack([alone(model, i).log_prob(x) for i in range(3)])
        torch.testing.assert_close(model.log_prob(x), each.exp().mean(0).log())
        every = torch.ones(x.shape[1], dtype=torch.bool)
        torch.testing.assert_close(model._log_of_given(x, every, None), each)  # each under its own order
        many = model.log_prob(x.repeat(2000 // len(x), 1)), model.log_prob_columns(x.repeat(2000 // len(x), 1))
        torch.testing.assert_close(many[0][: len(x)], model.log_prob(x))  # orders one after the other, as of many rows
        torch.testing.assert_close(many[1][: len(x)], model.log_prob_columns(x), equal_nan=True)
        torch.testing.assert_close(model.train().log_prob(x), each.mean(0), rtol=0.5, atol=0.5)  # dropout


def test_a_column_of_many_atoms_pads_no_other() -> None:
    """What is held grows as the schema does, so that a small file cannot claim much memory."""
    warp, quantiles = Warp("standardise"), (0.0, 1.0, 2.0)
    many = Column("many", "real", atoms=tuple(range(20_000)), warp=warp, quantiles=quantiles, shares=(0.0,) * 20_000)
    levels = Column("levels", "category", levels=tuple(map(str, range(10_000))), shares=(1e-4,) * 10_000)
    others = [
        Column(f"a{i}", "real", atoms=tuple(range(i % 7)), warp=warp, quantiles=quantiles, shares=(0.1,) * (i % 7))
        for i in range(1000)
    ]
    small = [Column(f"b{i}", "boolean", levels=("false", "true"), shares=(0.5, 0.5)) for i in range(1000)]
    columns = [many, levels, *others, *small]
    params = sum(column.num_points + 12 for column in columns)
    held = [*RowReader(columns).buffers(), *Factors(columns, 4).buffers()]
    assert sum(each.numel() for each in held) < 20 * params  # padded to each other 2000 times 20,000


@pytest.mark.parametrize("functional", [False, True])
def test_atoms_are_found_however_many_each_column_has(functional: bool) -> None:
    rng = np.random.default_rng(0)
    columns = [
        Column(f"a{i}", "integer", blank=i % 2 == 0, grid=Grid(), atoms=tuple(sorted(rng.permutation(300)[:n])),
               warp=Warp("standardise"), quantiles=(0.0, 1.0), shares=(0.0,) * n)
        for i, n in enumerate([0, 3, 200, 1, 17, 0, 64, 5])
    ]  # fmt: skip
    columns.insert(2, Column("c", "boolean", levels=("no", "yes"), shares=(0.5, 0.5)))
    x = torch.from_numpy(rng.integers(0, 2, (50, len(columns))) + 0.0)
    x[:, [0, 1, *range(3, 9)]] = torch.from_numpy(rng.integers(0, 300, (50, 8)) + 0.0)
    reader = RowReader(columns)
    found = torch.func.vmap(lambda row: reader(row[None]).point[0])(x) if functional else reader(x).point
    for j, column in enumerate(columns):
        for i in range(len(x)):
            value = float(x[i, j])
            expected = int(value) if column.levels else (
                column.blank + column.atoms.index(value) if value in column.atoms else REST
            )  # fmt: skip
            assert found[i, j] == expected
