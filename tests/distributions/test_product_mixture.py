"""The mixture of independent columns: sums over all cells, the mixture by hand, draws, contexts, blanks."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marginflow.data import Column, Grid, Schema, Warp
from marginflow.distributions import Flow, Mixed, ProductMixture, log_likelihood

COLUMNS = {
    "levels": Column("levels", "category", blank=True, levels=("a", "b", "c"), shares=(0.2, 0.3, 0.4), blank_share=0.1),
    "boolean": Column("boolean", "boolean", levels=("false", "true"), shares=(0.3, 0.7)),
    "closed": Column(
        "closed", "integer", grid=Grid(), blank=True, lower=0.0, upper=4.0, atoms=(0.0, 3.0), shares=(0.1, 0.2),
        warp=Warp("logit", -0.5, 5.0, 0.1, 0.8), quantiles=(0.0, 1.0, 2.0, 3.0, 4.0), blank_share=0.2,
    ),
    "counts": Column(
        "counts", "integer", grid=Grid(), lower=0.0, warp=Warp("standardise", 3.0, 2.0), quantiles=(0.0, 3.0, 9.0),
    ),
    "one": Column("one", "integer", grid=Grid(), lower=2.0, upper=2.0, warp=Warp("standardise", 2.0, 1.0),
                  quantiles=(2.0,) * 5),
    "amounts": Column(
        "amounts", "positive", blank=True, lower=0.5, atoms=(0.5, 1.25), shares=(0.1, 0.15), blank_share=0.2,
        warp=Warp("log", 0.5, 2.0, 0.2, 1.5), quantiles=(0.6, 1.0, 2.0, 4.0, 9.0),
    ),
    "reals": Column("reals", "real", warp=Warp("asinh", 0.5, 2.0), quantiles=(-4.0, -1.0, 0.5, 2.0, 5.0)),
}  # fmt: skip


def schema_of(*names: str, given: str = "") -> Schema:
    return Schema(tuple(replace(COLUMNS[name], given=name in given.split()) for name in names))


def strong(schema: Schema, components: int = 3, seed: int = 0) -> ProductMixture:
    """With components that differ."""
    model = ProductMixture(schema, components)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.8)
        for column in model.columns:
            if not column.column.levels:
                column.params[:, -1].normal_(-0.3, 0.3)  # of no scale too narrow to integrate over
    return model.eval()


def axis_of(column: Column) -> tuple[Tensor, Tensor]:
    """Values of a column, and log of what each stands for: 0 of those with a probability, a width of real numbers."""
    own = [math.nan] * column.blank + [float(i) for i in range(len(column.levels))]
    if column.grid is not None:
        own += [float(i) for i in range(int(column.lower or 0), 1 + int(200 if column.upper is None else column.upper))]
    elif not column.levels:
        own += column.atoms
    axis, weight = torch.tensor(own), torch.zeros(len(own))
    if column.levels or column.grid is not None:
        return axis, weight
    assert column.warp is not None
    z = torch.arange(-40, 40, 0.1)
    x = column.warp.inverse(z)
    log_slope = column.warp.forward(x)[1]
    inside = torch.isfinite(log_slope)
    return torch.cat([axis, x[inside]]), torch.cat([weight, math.log(0.1) - log_slope[inside]])


@pytest.mark.parametrize(
    "names",
    [*((name,) for name in COLUMNS), ("levels", "boolean", "closed", "one"), ("closed", "counts"),
     ("boolean", "amounts", "levels"), ("reals", "amounts")],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_all_cells_have_probability_1(names: tuple[str, ...], seed: int) -> None:
    schema = schema_of(*names)
    axes = [axis_of(column) for column in schema.modelled]
    rows = torch.cartesian_prod(*(axis for axis, _ in axes)).reshape(-1, len(names))
    weights = torch.cartesian_prod(*(weight for _, weight in axes)).reshape(-1, len(names)).sum(1)
    model = strong(schema, seed=seed)
    with torch.no_grad():
        found = (model.log_prob(rows) + weights).exp().sum()
    assert float(found) == pytest.approx(1, abs=1e-6)


def test_it_is_the_mean_of_what_each_component_has_alone() -> None:
    model = strong(schema_of(*COLUMNS))
    torch.manual_seed(1)
    x = model.sample(50)
    alone = []
    for c in range(3):
        one = ProductMixture(model.schema, 1)
        for own, all_of_them in zip(one.columns, model.columns, strict=True):
            own.params.data.copy_(all_of_them.params[c : c + 1])
        alone.append(one.log_prob(x))
    expected = (torch.stack(alone).exp() * model.log_weights.softmax(0)[:, None]).sum(0).log()
    torch.testing.assert_close(model.log_prob(x), expected)
    torch.testing.assert_close(model.log_prob(x[7]), expected[7:8])


def test_one_component_has_the_factors_of_columns_that_do_not_depend_on_each_other() -> None:
    schema = schema_of(*COLUMNS)
    mixed = Mixed(schema, hidden=[4], components=1).eval()
    output = mixed.members[0].network.output_layer
    with torch.no_grad():
        for tensor in output.tensors:
            if tensor.ndim > 1:
                tensor.zero_()
    model = ProductMixture(schema, 1)
    x = model.sample(200)
    torch.testing.assert_close(model.log_prob(x), mixed.log_prob(x))
    for ours, theirs in zip(model.log_prob_parts(x), mixed.log_prob_parts(x), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_draws_have_the_probabilities_that_log_prob_gives() -> None:
    schema = schema_of("levels", "closed", "boolean", "one")
    model = strong(schema)
    torch.manual_seed(2)
    draws = model.sample(40_000).nan_to_num(9)
    cells = torch.tensor(list(itertools.product(*(axis_of(column)[0].tolist() for column in schema.modelled))))
    keys = cells.nan_to_num(9) @ 10.0 ** torch.arange(4)
    counts = (draws @ 10.0 ** torch.arange(4))[:, None].eq(keys).sum(0)
    assert counts.sum() == len(draws)
    expected = model.log_prob(cells).exp().detach() * len(draws)
    often = expected > 5
    chi = ((counts - expected).square() / expected)[often].sum()
    assert chi < often.sum() + 5 * (2 * often.sum()).sqrt()


def test_real_numbers_are_drawn_from_their_density() -> None:
    model = strong(schema_of("amounts"))
    torch.manual_seed(3)
    draws = model.sample(40_000)[:, 0]
    axis, weight = axis_of(COLUMNS["amounts"])
    p = (model.log_prob(axis[:, None]) + weight).exp().detach()
    assert float(draws.isnan().double().mean()) == pytest.approx(float(p[0]), abs=0.01)
    for below in (0.5, 0.9, 1.25, 2.0, 5.0):
        assert float((draws <= below).double().mean()) == pytest.approx(float(p[1:][axis[1:] <= below].sum()), abs=0.02)


@pytest.mark.parametrize("given", ["levels", "closed amounts", "reals levels boolean"])
def test_given_a_context_it_is_the_joint_density_over_that_of_the_context(given: str) -> None:
    names = ["levels", "closed", "amounts", "reals", "boolean"]
    first = [name for name in names if name in given.split()]
    last = [name for name in names if name not in first]
    model, joint = strong(schema_of(*names, given=given)), ProductMixture(schema_of(*first, *last), 3)
    joint.load_state_dict(model.state_dict())
    of_context = ProductMixture(schema_of(*first), 3)
    of_context.load_state_dict({name: each for name, each in model.state_dict().items() if _is_of(name, len(first))})
    torch.manual_seed(4)
    rows = joint.sample(60)
    context, x = rows[:, : len(first)], rows[:, len(first) :]
    assert (model.context_features, model.encodes_context) == (len(first), True)
    expected = joint.log_prob(rows) - of_context.log_prob(context)
    torch.testing.assert_close(model.log_prob(x, context), expected)
    with pytest.raises(ValueError, match="context"):
        model.log_prob(x)


def _is_of(name: str, columns: int) -> bool:
    return not name.startswith("columns.") or int(name.split(".")[1]) < columns


def test_draws_given_a_context_follow_it() -> None:
    model = strong(schema_of("levels", "boolean", "closed", given="boolean"))
    cells = torch.tensor(list(itertools.product([math.nan, 0, 1, 2], [math.nan, 0, 1, 2, 3, 4])))
    torch.manual_seed(5)
    for value in (0.0, 1.0):
        draws = model.sample(20_000, [value]).nan_to_num(9)
        counts = (draws @ torch.tensor([10.0, 1]))[:, None].eq(cells.nan_to_num(9) @ torch.tensor([10.0, 1])).sum(0)
        p = model.log_prob(cells, [value]).exp().detach()
        assert float((counts / 20_000 - p).abs().max()) < 0.015


def test_what_no_column_holds_has_probability_0_and_tells_nothing_in_a_context() -> None:
    model = strong(schema_of("levels", "closed", "amounts"))
    good = [0.0, 1.0, 1.0]
    for place, values in {0: [3.0, 0.5], 1: [5.0, -1.0, 1.5], 2: [0.2, math.inf]}.items():
        for value in values:
            row = [*good[:place], value, *good[place + 1 :]]
            discrete, density = model.log_prob_parts([row])
            assert (model.log_prob([row]).item(), discrete.item(), density.item()) == (-math.inf, -math.inf, 0), row
        assert torch.isfinite(model.log_prob([[*good[:place], math.nan, *good[place + 1 :]]]))
    assert math.isnan(strong(schema_of("boolean", "reals")).log_prob([[math.nan, 1.0]]).item())
    model = strong(schema_of("levels", "closed", given="levels"))
    assert torch.isfinite(model.log_prob([[1.0]], [[7.0]]))


def test_such_rows_leave_the_gradient_of_others_as_it_was() -> None:
    model = strong(schema_of("levels", "closed", "amounts"))
    good, bad = torch.tensor([[0.0, 1.0, 1.0], [math.nan, 0.0, math.nan]]), torch.tensor([[7.0, 9.0, -1.0]])
    wanted = list(model.parameters())
    expected = torch.autograd.grad(model.log_prob(good).sum(), wanted)
    found = torch.autograd.grad(model.log_prob(torch.cat([good, bad]))[:2].sum(), wanted)
    torch.testing.assert_close(found, expected)


def test_float32_is_near_float64() -> None:
    model = strong(schema_of(*COLUMNS))
    x = model.sample(300)
    with torch.no_grad():
        exact = model.log_prob(x)
        found = model.float().log_prob(x)
    assert found.dtype == torch.float32
    assert float((found.double() - exact).abs().max()) < 1e-4


def test_many_rows_and_none_go_in_pieces() -> None:
    model = strong(schema_of("levels", "closed", given="levels"))
    x, context = model.sample(10_000, [0.0]), torch.zeros(10_000, 1)
    torch.testing.assert_close(model.log_prob(x, context)[5000:5003], model.log_prob(x[5000:5003], [0.0]))
    assert model.log_prob(x[:0], context[:0]).shape == (0,)
    assert model.sample(0, [0.0]).shape == (0, 1)


def test_it_works_in_a_flow_and_says_that_it_is_exact() -> None:
    model = Flow([], base=strong(schema_of("levels", "closed")))
    assert (model.exact, model.takes_blanks) == (True, True)
    assert log_likelihood(model, model.sample(20)).log_prob.shape == (20,)


@pytest.mark.parametrize("arguments", [{"components": 0}, {"components": 2.5}, {"prior": -1.0}, {"prior": "a"}])
def test_what_cannot_be_is_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"components|prior"):
        ProductMixture(schema_of("levels"), **arguments)
