"""Checks of densities of a table's rows: sound ones pass, a constant and samples of other weights are found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from registry import DISTRIBUTIONS, SCHEMA, WARP, build_distribution, given, rows_of_schema
from torch import Tensor

from marginflow import check, models
from marginflow.base.distribution import Distribution
from marginflow.base.noise_sites import Sites
from marginflow.data import Batch, Column, Grid, Schema, Warp
from marginflow.distributions import Marginalising, Mixed, ProductMixture, StandardNormal
from marginflow.evaluation.check.normalisation import normalised
from marginflow.evaluation.check.row_proposal import fitted_to_rows
from marginflow.evaluation.check.table_rows import every_row
from marginflow.evaluation.sample_range import sample_range

BOOLEAN = Column("open", "boolean", levels=("false", "true"), blank=True, shares=(0.5, 0.4), blank_share=0.1)
GRADE = Column("grade", "integer", grid=Grid(), lower=0.0, upper=9.0, warp=WARP, quantiles=(0.0, 1.0, 2.0, 5.0))
SPIKED = Column("rain", "positive", lower=0.0, blank=True, atoms=(0.0,), shares=(0.4,), blank_share=0.1,
                warp=Warp("log"), quantiles=(0.1, 1.0, 2.0, 3.0, 5.0))  # fmt: skip
FEW = Schema((SCHEMA["size"], BOOLEAN, GRADE))
MANY = Schema((*SCHEMA.columns, SPIKED, BOOLEAN, GRADE, replace(SCHEMA["count"], name="steps", lower=None, atoms=(),
                                                               shares=())))  # fmt: skip
NAMES = [name for name in DISTRIBUTIONS if name.startswith("mixed")]


def roused(model: Distribution, by: float = 0.3, seed: int = 0) -> Distribution:
    """With other weights than those of independent columns, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            width = parameter.shape[-1] if parameter.dim() > 1 else 1
            parameter.add_(by * torch.randn(parameter.shape, generator=generator) / width**0.5)
    model.load_state_dict(model.state_dict())  # masks what masks hide
    return model


class OffByAConstant(Mixed):
    by = 0.3

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return super()._log_prob(x, context) + self.by


class OffMarginal(Marginalising):
    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        return (yield from super()._noise(x, context)) + 0.3


class OtherSamples(Mixed):
    """Its samples are of other weights."""

    other: Distribution

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.other._sample(num_samples, context)


def with_other_samples(schema: Schema) -> OtherSamples:
    model = OtherSamples(schema, hidden=[16] * 3, components=2).eval()
    other = Mixed(schema, hidden=[16] * 3, components=2).eval()
    model.__dict__["other"] = roused(roused(other), 0.4, seed=1)  # not as a part of it
    roused(model)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_sound_densities_of_the_registry_pass(name: str) -> None:
    torch.manual_seed(0)
    model = build_distribution(name)
    context = rows_of_schema(100)[:, 2:] if model.context_features else None
    found = check(model, model.sample(100, context), context, floor=-100.0)
    assert found.ok, str(found)
    for each in ("finite", "normalisation", "samples against the density"):
        assert found.of(each).status == "pass", str(found)
    assert found.of("floor").status == "pass"
    if name == "mixed with real columns by a flow":
        assert found.of("log-determinant").status == found.of("round trip, float64").status == "pass"
    else:
        assert (found.of("map").status, found.of("latents").status) == ("skip", "skip")
    if context is None:
        assert found.of("samples").status == "pass"


@pytest.mark.parametrize("schema", [SCHEMA, FEW, MANY], ids=["some", "few rows", "many"])
def test_a_constant_and_other_samples_are_told_apart(schema: Schema) -> None:
    for seed in range(1 if schema is MANY else 2):
        model = roused(models.mixed(schema, hidden=[16] * 3, components=2), seed=seed)
        x = model.sample(50)
        sound = [each.status for each in normalised(model, x, None, seed)]
        assert set(sound) <= {"pass", "cannot tell"}
        for by in (0.3, -0.3):
            off = OffByAConstant(schema, hidden=[16] * 3, components=2).eval()
            off.load_state_dict(model.state_dict())
            off.by = by
            normalisation, samples = normalised(off, x, None, seed)
            assert (normalisation.status, samples.status) == ("fail", "pass")
        normalisation, samples = normalised(with_other_samples(schema), x, None, seed)
        assert normalisation.status != "fail"
        assert samples.status == "fail"
        assert "parameters" in samples.remedy


def test_a_constant_of_a_marginal_is_found() -> None:
    joint = Mixed(SCHEMA, hidden=[16] * 3, components=2, noise_features=2).eval()
    x = joint.sample(50)[:, :3]
    assert next(iter(normalised(Marginalising(joint, StandardNormal(2)), x, None, 0))).status == "pass"
    assert next(iter(normalised(OffMarginal(joint, StandardNormal(2)), x, None, 0))).status == "fail"


def test_where_few_rows_are_possible_all_are_summed_over() -> None:
    rows = every_row(FEW)
    assert rows is not None
    assert rows.shape == (3 * 3 * 10, 3)
    model = roused(models.mixture(FEW, components=3))
    assert float(model.log_prob(rows).detach().exp().sum()) == pytest.approx(1, abs=1e-5)
    assert "a sum over all 90 rows" in next(iter(normalised(model, rows, None, 0))).found
    assert every_row(SCHEMA) is None
    assert every_row(Schema((replace(GRADE, upper=20_000.0),))) is None


def test_a_proposal_holds_all_possible_that_samples_never_showed() -> None:
    torch.manual_seed(0)
    samples = torch.tensor([[1.0, 2.0, 0.5]]).double().repeat(200, 1)
    proposal = fitted_to_rows(samples, SCHEMA, 4, 0)
    assert isinstance(proposal, ProductMixture)
    others = torch.tensor([[2.0, torch.nan, -8.0], [0.0, 40.0, 9.0], [0.0, 0.0, 0.5]]).double()
    assert bool((proposal.log_prob(others) > -25).all())
    assert float(proposal.log_prob(samples[:1]).detach()) > -1


def test_columns_of_a_context_are_moved_by_values_of_other_rows() -> None:
    schema = Schema((SCHEMA["length"], replace(SCHEMA["size"], given=True), replace(BOOLEAN, given=True)))
    model = roused(models.mixed(schema, hidden=[16] * 3, components=2))
    context = torch.tensor([[0.0, 1.0], [1.0, torch.nan], [2.0, 0.0], [1.0, 1.0]] * 10).double()
    x = model.sample(40, context)
    found = check(model, x, context).of("contexts that influence nothing")
    assert (found.status, found.found) == ("pass", "0 of 2 columns")
    context[:, 1] = torch.nan
    found = check(model, x, context).of("contexts that influence nothing")
    assert found.status == "cannot tell"
    assert "all rows agree in 1 of 2 columns" in found.found
    new = models.mixed(given(SCHEMA, "length"), hidden=[16] * 3, components=2)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.zero_()
    rows = rows_of_schema(40)
    assert check(new, rows[:, :2], rows[:, 2:]).of("contexts that influence nothing").status == "fail"


def test_blanks_are_no_number_out_of_range() -> None:
    joint = models.mixed(SCHEMA, hidden=[16] * 3, components=2, noise_features=2)
    for model in (joint.eval(), Marginalising(joint, StandardNormal(2))):
        x = model.sample(100)
        assert bool(x.isnan().any())
        found = sample_range(model, Batch(x, None), 500)
        assert found.by_column
        assert found.diverged < 0.2


def test_samples_of_no_value_of_their_column_fail() -> None:
    model = with_other_samples(SCHEMA)
    model.__dict__["other"] = models.realnvp(3)
    found = check(model, rows_of_schema(40))
    assert {each.check for each in found if each.status == "fail"} >= {"finite", "samples against the density"}
