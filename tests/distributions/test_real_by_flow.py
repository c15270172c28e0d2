"""A flow over real columns given the discrete ones: sums and integrals, draws, the parts of log p, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from schemas import levels, reals, steps, total

from marginflow import models
from marginflow.base.call import as_data, from_data
from marginflow.data import Column, Schema
from marginflow.distributions import RealByFlow

SIZE = {"hidden": [12] * 3, "components": 2}


def schema_of(*shapes: str) -> Schema:
    numbers = [reals(f"r{i}", shape) for i, shape in enumerate(shapes)]
    return Schema((levels("a", "category", 2, blank=True), *numbers[:1], steps("b", "integer", 3), *numbers[1:]))


def model_of(schema: Schema, real: str = "nsf", seed: int = 0) -> RealByFlow:
    """With dependence between columns, which a fresh one has not."""
    torch.manual_seed(seed)
    model = models.mixed(schema, real=real, **SIZE)  # pyright: ignore[reportArgumentType]
    assert isinstance(model, RealByFlow)
    with torch.no_grad():
        for name, parameter in model.flow.named_parameters():
            if "weights" in name or "bias" in name:
                parameter.mul_(1.5)
    return model


@pytest.mark.parametrize(
    ("real", "shapes"),
    [("nsf", ["log"]), ("nsf", ["logit"]), ("maf", ["asinh"]), ("maf", ["standardise", "softplus"])],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_all_cells_have_probability_1(real: str, shapes: list[str], dtype: torch.dtype, tolerance: float) -> None:
    if len(shapes) == 2:
        schema = Schema((levels("a", "boolean", 2), *(reals(f"r{i}", shape) for i, shape in enumerate(shapes))))
    else:
        schema = schema_of(*shapes)
    # where the units of a network or the bins of a spline begin a density has kinks, which take finer steps
    finer = 40 if real == "nsf" else 1
    allowed = max(tolerance, 1e-5) if len(shapes) == 2 else tolerance
    assert total(model_of(schema, real).to(dtype), finer=finer) == pytest.approx(1, abs=allowed)


def test_it_is_the_density_of_what_is_discrete_times_that_of_the_flow_at_warped_values() -> None:
    schema, rows = schema_of("log", "asinh"), torch.tensor([[0.0, 1.5, 2.0, -1.0], [math.nan, 0.7, 0.0, 3.0]]).double()
    model = model_of(schema)
    assert model.discrete is not None
    discrete, density = model.log_prob_parts(rows)
    own = model.discrete.log_prob(rows[:, [0, 2]])
    assert torch.allclose(discrete, own)
    x = rows[:, [1, 3]].clone().requires_grad_(True)
    warps = [column.warp for column in schema.columns if column.kind == "real"]
    z = torch.stack([warp.forward(x[:, i])[0] for i, warp in enumerate(warps) if warp is not None], 1)
    (slopes,) = torch.autograd.grad(z.sum(), x)
    seen = model.encoder(rows[:, [0, 2]]) if model.encoder is not None else None
    of_flow = model.flow.log_prob(z.detach(), seen) + slopes.log().sum(1)
    assert torch.allclose(density, of_flow)
    assert torch.equal(model.log_prob(rows), discrete + density)


def test_draws_have_the_probabilities_and_means_of_the_density() -> None:
    model = model_of(Schema((levels("a", "boolean", 2), reals("r", "softplus"))), "maf", seed=3)
    torch.manual_seed(0)
    x = model.sample(40_000)
    assert (x[:, 1] > 0.5).all()
    assert model.schema.columns[1].warp is not None
    grid = torch.arange(-6, 6, 0.005, dtype=torch.float64)
    values = model.schema.columns[1].warp.inverse(grid)
    log_width = math.log(0.005) - model.schema.columns[1].warp.forward(values)[1]
    for level in (0.0, 1.0):
        rows = torch.stack([torch.full_like(values, level), values], 1)
        p = (model.log_prob(rows).double() + log_width).exp().detach()
        own = x[x[:, 0] == level, 1]
        assert len(own) / len(x) == pytest.approx(float(p.sum()), abs=4 * 0.5 / len(x) ** 0.5)
        for share in (0.1, 0.5, 0.9):
            at = values[int((p.cumsum(0) / p.sum() >= share).nonzero()[0])]
            assert float((own <= at).double().mean()) == pytest.approx(share, abs=4 * 0.5 / len(own) ** 0.5 + 0.003)


def test_blanks_bounds_and_levels_that_are_none() -> None:
    model = model_of(schema_of("log", "logit"))
    good = [0.0, 1.0, 1.0, 1.0]
    assert math.isfinite(model.log_prob([good]).item())
    assert math.isfinite(model.log_prob([[math.nan, *good[1:]]]).item())
    for row in ([3.0, 1.0, 1.0, 1.0], [0.0, 0.2, 1.0, 1.0], [0.0, 1.0, 1.0, 2.6], [0.0, 1.0, 1.5, 1.0]):
        assert model.log_prob([row]).item() == -math.inf, row
        assert [each.item() for each in model.log_prob_parts([row])] == [-math.inf, 0.0]
    assert math.isnan(model.log_prob([[0.0, math.nan, 1.0, 1.0]]).item())


def test_a_context_of_any_kind_conditions_both_parts() -> None:
    shop = replace(levels("shop", "category", 3, blank=True), given=True)
    schema = Schema((shop, replace(reals("size", "asinh", blank=True), given=True), *schema_of("log").columns))
    torch.manual_seed(1)
    model = models.mixed(schema, real="nsf", **SIZE)  # pyright: ignore[reportArgumentType]
    assert (model.context_features, model.encodes_context) == (2, True)
    contexts = [[0.0, 1.0], [math.nan, 1.0], [2.0, math.nan]]
    found = model.log_prob([[0.0, 1.0, 1.0]] * 3, contexts)
    assert len(set(found.tolist())) == 3
    assert model.sample(3, contexts).shape == (3, 3)
    alone = Schema((shop, reals("r", "log")))
    assert models.mixed(alone, real="nsf").sample(2, [[0.0]]).shape == (2, 1)


def test_it_is_described_and_built_anew() -> None:
    model = model_of(schema_of("log"))
    again = from_data(as_data(model))
    again.load_state_dict(model.state_dict())
    x = model.sample(5)
    assert torch.equal(again.eval().log_prob(x), model.log_prob(x))


@pytest.mark.parametrize(
    ("columns", "real", "said"),
    [
        ([levels("a", "boolean", 2)], "nsf", "no column is real.*leave model.real out"),
        ([reals("a", "log", blank=True)], "nsf", "'a' can be blank"),
        ([reals("a", "log", [1.25]), reals("b", "log", blank=True)], "nsf", "'b' can be blank.*'a' hold.*leave"),
        ([reals("a", "log")], "planar", "real must be one of.*nsf"),
    ],
)
def test_what_a_flow_cannot_is_refused(columns: list[Column], real: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        models.mixed(Schema(tuple(columns)), real=real)  # pyright: ignore[reportArgumentType]


def test_parts_that_do_not_fit_are_refused() -> None:
    schema = schema_of("log")
    with pytest.raises(ValueError, match=r"one of 1 features with context_features=\d+; got one of shape \(2,\)"):
        RealByFlow(schema, models.maf(2, hidden=[4]))
    width = model_of(schema).flow.context_features
    with pytest.raises(ValueError, match="discrete must be a density of the 2 columns"):
        RealByFlow(schema, models.maf(1, hidden=[4], context_features=width))
