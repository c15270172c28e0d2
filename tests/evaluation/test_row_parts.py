"""log p of rows of a table as probability and density, and why rows have neither."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from helpers import visits
from pyarrow import parquet

from marginflow import models
from marginflow.data import Column, DataSet, DataSpec, Grid, Schema, Split, load
from marginflow.data.tables.misfits import misfit
from marginflow.data.warp import Warp
from marginflow.distributions import Flow
from marginflow.distributions.mixed import Mixed
from marginflow.evaluation.evaluate import AccountingBuilder, evaluate, evaluate_chunks, evaluate_rows


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    parquet.write_table(visits(400).drop_columns(["id"]), tmp_path / "visits.parquet")
    return load("table", path=str(tmp_path / "visits.parquet"), schema={})


def model_of(schema: Schema | None) -> Flow:
    assert schema is not None
    torch.default_generator.manual_seed(0)
    return Flow([], models.mixed(schema, hidden=[16, 16])).eval()


@pytest.mark.parametrize("chunk", [None, 7])
def test_the_parts_add_up_to_log_p_and_are_those_of_the_model(data: DataSet, chunk: int | None) -> None:
    model, x = model_of(data.schema), torch.as_tensor(data.test.x[:])
    found = evaluate(model, x, chunk=chunk)
    assert found.discrete is not None
    assert found.real is not None
    density = model.density
    assert isinstance(density, Mixed)
    with torch.no_grad():
        log_p, (discrete, real) = model.log_prob(x), density.log_prob_parts(x)
    assert found.discrete.value + found.real.value == pytest.approx(found.raw_nll)
    assert found.raw_nll == pytest.approx(-float(log_p.mean()))
    assert found.discrete.value == pytest.approx(-float(discrete.mean()))
    assert found.real.value == pytest.approx(-float(real.mean()))
    rows = evaluate_rows(model, Split(x))
    assert rows.discrete is not None
    assert bool((rows.discrete <= 0).all())
    assert found.as_dict()["discrete"]["value"] == found.discrete.value


def test_another_unit_changes_the_density_alone() -> None:
    """A number in metres and in centimetres, beside a fair coin: log p differs by the log of a hundred."""
    coin = Column("coin", "boolean", levels=("false", "true"), shares=(0.5, 0.5))
    found = []
    for scale in (1.0, 100.0):
        warp = Warp("standardise", width=scale)
        quantiles = tuple(scale * q for q in torch.linspace(-2, 2, 33).tolist())
        number = Column("length", "real", warp=warp, quantiles=quantiles)
        model = model_of(Schema((coin, number)))
        x = torch.stack([torch.arange(50) % 2, scale * torch.linspace(-2, 2, 50)], 1)
        found.append(evaluate(model, x))
    metres, centimetres = found
    assert metres.discrete.value == pytest.approx(centimetres.discrete.value)
    assert centimetres.real.value - metres.real.value == pytest.approx(math.log(100))


def test_a_table_of_levels_has_no_density_and_other_models_tell_nothing() -> None:
    column = Column("a", "category", levels=("u", "v", "w"), shares=(0.5, 0.25, 0.25))
    found = evaluate(model_of(Schema((column,))), torch.arange(3.0)[:, None].repeat(10, 1))
    assert found.real is None
    assert found.discrete is not None
    assert found.discrete.value == pytest.approx((math.log(2) + 2 * math.log(4)) / 3, abs=0.02)
    plain = evaluate(models.planar(2), torch.randn(20, 2))
    assert plain.discrete is plain.real is None


COLUMNS = Schema((
    Column("size", "category", levels=("S", "M"), shares=(0.5, 0.5)),
    Column("age", "integer", "int64", blank=True, grid=Grid(), lower=0, upper=120, warp=Warp("standardise", 60, 30),
           quantiles=(0.0, 40.0, 120.0)),
    Column("paid", "decimal", grid=Grid(5, 10, 2), lower=0.0, warp=Warp("standardise", 5, 3),
           quantiles=(0.0, 5.0, 9.0)),
    Column("share", "real", lower=0.0, upper=1.0, atoms=(0.0,), shares=(0.5,), warp=Warp("logit"),
           quantiles=(0.1, 0.5, 0.9)),
))  # fmt: skip
GOOD = [1.0, 40.0, 3.0, 0.5]
WRONG = {
    "level": (0, 2.0, "column 'size' holds 2, none of the places 0 to 1 of its levels"),
    "no level": (0, 0.5, "column 'size' holds 0.5, none of the places"),
    "below": (1, -1.0, "column 'age' holds -1, below 0"),
    "above": (1, 121.0, "column 'age' holds 121, above 120"),
    "step": (1, 40.5, "column 'age' holds 40.5 steps, between those of its grid"),
    "cents": (2, -3.0, r"column 'paid' holds -0\.05, below 0\.1"),
    "end": (3, 1.0, r"column 'share' holds 1\.0, an end of its range"),
    "beyond": (3, 1.5, r"column 'share' holds 1\.5, above 1\.0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_has_no_probability_is_named_with_its_column_and_value(name: str) -> None:
    place, value, message = WRONG[name]
    x = torch.tensor([GOOD] * 6)
    x[4, place] = value
    model = model_of(COLUMNS)
    with torch.no_grad():
        assert model.log_prob(x).isneginf().tolist() == [False] * 4 + [True, False]
    found = evaluate(model, x)
    assert (found.num_outside, found.outside) == (1, (4,))
    (reason,) = found.reasons
    assert re.match(message, reason), reason
    assert misfit(torch.tensor(GOOD), COLUMNS) == ""
    with pytest.raises(ValueError, match=f"log p is -inf at all 1 rows, the first: {message}"):
        evaluate(model, x[4:5])


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_what_no_positive_column_holds_is_named(value: float) -> None:
    schema = Schema((Column("paid", "positive", warp=Warp("log"), quantiles=(0.5, 1.0, 3.0)),))
    assert misfit(torch.tensor([value]), schema) == f"column 'paid' holds {value}, which is not above 0"
    assert misfit(torch.tensor([0.1]), schema) == ""


@pytest.mark.parametrize("value", [0.0, 0.25, math.nan])
def test_atoms_and_blanks_are_no_misfits(value: float) -> None:
    place = 1 if math.isnan(value) else 3
    x = torch.tensor([GOOD])
    x[0, place] = value
    assert misfit(x[0], COLUMNS) == ""
    with torch.no_grad():
        assert bool(model_of(COLUMNS).log_prob(x).isfinite().all())


def test_reasons_of_several_chunks_stand_beside_their_rows() -> None:
    model, x = model_of(COLUMNS), torch.tensor([GOOD] * 5)
    x[1, 1], x[3, 0], x[3, 2] = 200, 7, -30
    builder = AccountingBuilder(DataSpec((4,), schema=COLUMNS), exact=True, num_samples=1, seed=0)
    for scores in evaluate_chunks(model, [Split(x[:2]), Split(x[2:])]):
        builder.add(scores)
    found = builder.build()
    assert found.outside == (1, 3)
    assert found.reasons[0].startswith("column 'age' holds 200")
    assert found.reasons[1].startswith("column 'size' holds 7")
    assert "column 'paid'" in found.reasons[1]
