"""The choice of a model for a table: by rows that it has not seen, and by nothing else."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from marginflow.data import Column, DataSet, Schema, Split
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.statistics import fitted
from marginflow.estimators.candidates import by_steps, candidates, named
from marginflow.estimators.choose import choose
from marginflow.estimators.folds import folds_of, number_of_folds
from marginflow.estimators.trials import Runner, pooled, watched, with_schema

TABLE = {"data": {"name": "table", "path": "rows.csv"}, "train": {"device": "cpu"}}
TWO = MixtureSameFamily(
    Categorical(torch.tensor([0.3, 0.7])),
    MultivariateNormal(
        torch.tensor([[-3.0, 0.0], [3.0, 1.0]]),
        torch.tensor([[[1.0, 0.8], [0.8, 1.0]], [[0.5, -0.2], [-0.2, 0.5]]]),
    ),
)


def of(rows: torch.Tensor, schema: Schema | None = None) -> DataSet:
    n = len(rows)
    parts = rows[: n // 2], rows[n // 2 : -20], rows[-20:]
    return DataSet("rows", *(Split(part) for part in parts), schema=schema)


@pytest.fixture(scope="module")
def two() -> DataSet:
    torch.manual_seed(0)
    return of(TWO.sample((320,)).double())


def few(monkeypatch: pytest.MonkeyPatch, steps: int = 30) -> None:
    """Let networks be trained so shortly that they cannot win."""
    for name in ("STEPS", "STEPS_OF_TRIAL"):
        monkeypatch.setattr(f"marginflow.estimators.candidates.{name}", steps)
    monkeypatch.setattr("marginflow.estimators.candidates.COMPONENTS", (1, 2, 3))


def test_a_mixture_of_two_wins_where_it_is_the_truth(two: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    found = choose(two, TABLE)
    assert found.name == "gaussian_mixture of 2"
    assert found.folds == 5
    assert found.experiment.data.model_dump()["validation"] == 0
    # what it says of each row without having seen it, beside the true density
    truth = TWO.log_prob(pooled(two).take().x)
    assert found.log_prob is not None
    assert float((truth - found.log_prob).mean()) == pytest.approx(0.03, abs=0.04)  # 11 parameters / (2 x 240 rows)
    assert float(np.corrcoef(truth, found.log_prob)[0, 1]) > 0.97
    by_name = {each.name: each for each in found.trials}
    assert found.trials[0].name == found.name
    assert by_name["gaussian_mixture of 3"].given_up
    assert found.trials[0].log_prob.value == pytest.approx(float(found.log_prob.mean()))


def test_test_rows_decide_on_nothing(two: DataSet) -> None:
    tables = {**TABLE, "model": {"name": "gaussian_mixture", "components": 2}}
    far = DataSet("rows", two.train, two.validation, Split(two.test.take().x + 1e6))
    one, other = choose(two, tables), choose(far, tables)
    assert one.log_prob is not None
    assert other.log_prob is not None
    assert bool((one.log_prob == other.log_prob).all())
    assert len(one.trials) == 1


def test_what_the_user_says_stands_above_the_candidates(two: DataSet) -> None:
    tables = {**TABLE, "model": {"name": "maf", "hidden": [8]}, "train": {"device": "cpu", "epochs": 2, "seed": 3}}
    found = choose(two, tables)
    model, train = found.experiment.model.model_dump(), found.experiment.train
    assert (model["name"], model["hidden"], model["dropout"]) == ("maf", [8], 0.2)
    assert (train.epochs, train.seed) == (2, 3)
    assert {each.name.partition(",")[0] for each in found.trials} == {"maf"}


def test_a_model_that_is_no_candidate_can_be_named(two: DataSet) -> None:
    tables = {**TABLE, "model": {"name": "realnvp", "hidden": [8]}, "train": {"device": "cpu", "epochs": 1}}
    assert choose(two, tables).experiment.model.name == "realnvp"
    with pytest.raises(ValueError, match="hiden"):
        choose(two, {**TABLE, "model": {"name": "realnvp", "hiden": [8]}})


def test_columns_of_other_kinds_are_modelled_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    rng = np.random.default_rng(0)
    size = rng.choice(["S", "M", "L"], 200)
    columns = {"size": pa.array(size), "price": np.round(rng.gamma(2.0, 5.0, 200) + 3 * (size == "L"), 2)}
    schema = drafted(columns)
    rows, _, _ = encoded(columns, schema)
    data = of(rows, fitted(schema, rows))
    found = choose(data, TABLE)
    assert {each.name.split()[0].strip(",") for each in found.trials} == {"mixture", "mixed"}
    if found.columns is not None:
        assert torch.allclose(found.columns.sum(1), found.log_prob, atol=1e-4)


def test_many_rows_are_judged_by_validation_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    torch.manual_seed(0)
    rows = TWO.sample((6000,)).double()
    data = DataSet("rows", Split(rows[:4900]), Split(rows[4900:5900]), Split(rows[5900:]))
    found = choose(data, {**TABLE, "model": {"name": "gaussian_mixture"}})
    assert (found.folds, found.log_prob) == (0, None)
    assert found.experiment.data.model_dump()["validation"] > 0
    assert found.experiment.train.patience  # it ends by validation rows
    assert found.trials[0].num_rows == 1000


def test_rows_split_by_groups_are_held_out_as_they_were(two: DataSet) -> None:
    tables = {"data": {**TABLE["data"], "group": "customer"}, "model": {"name": "gaussian_mixture", "components": 1}}
    found = choose(two, tables)
    assert found.folds == 0
    assert found.trials[0].num_rows == len(two.validation.x)


def test_rows_split_in_time_are_not_held_out_at_random(two: DataSet) -> None:
    tables = {"data": {**TABLE["data"], "split": "time"}, "model": {"name": "gaussian_mixture", "components": 1}}
    assert choose(two, tables).folds == 0


def test_what_is_known_of_columns_is_that_of_the_rows_trained_on() -> None:
    """Statistics of rows that are held out would leak into their scores."""
    rows = torch.linspace(0, 100, 1001, dtype=torch.float64)[:, None]
    schema = fitted(Schema((Column("a", "real"),)), rows)
    part = with_schema(watched(of(rows, schema), Split(rows[:101])), "mixed")
    assert part.schema is not None
    assert max(part.schema["a"].quantiles) == pytest.approx(10)
    assert max(schema["a"].quantiles) == pytest.approx(100)


def test_a_candidate_with_more_rows_of_density_0_is_behind_whatever_the_others() -> None:
    safe, bold = (Runner(name, None) for name in ("safe", "bold"))  # pyright: ignore
    safe.log_probs, bold.log_probs = [torch.zeros(50)], [torch.full((50,), 3.0)]
    assert safe.is_behind(bold)
    bold.log_probs[0][7] = -math.inf
    assert bold.is_behind(safe)
    assert not safe.is_behind(bold)


def test_each_row_is_held_out_once_and_copies_together() -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(60, 3)))
    rows = torch.cat([rows, rows[:30]])
    fold = folds_of(rows, 3, seed=0)
    assert bool((fold[:30] == fold[60:]).all())
    assert sorted(fold.unique().tolist()) == [0, 1, 2]
    assert [number_of_folds(n) for n in (3, 999, 1000, 4999, 5000)] == [3, 5, 3, 3, 0]


def test_a_candidate_is_given_up_by_paired_differences() -> None:
    """The rows' own spread is far above the difference of the two, which is the same in each row."""
    torch.manual_seed(0)
    rows = 100 * torch.randn(50)
    best, near, behind = (Runner(name, None) for name in ("best", "near", "behind"))  # pyright: ignore
    best.log_probs, behind.log_probs = [rows], [rows - 0.1 - 0.05 * torch.randn(50)]
    near.log_probs = [rows + 0.05 * torch.randn(50)]
    assert behind.is_behind(best)
    assert not near.is_behind(best)


def test_training_suits_the_rows() -> None:
    for num_rows in (20, 150, 2000, 100_000, 2_000_000):
        train = by_steps(num_rows, 4000, 60)
        steps = train["epochs"] * (num_rows // train["batch_size"])
        assert train["batch_size"] <= num_rows
        assert 1 <= train["epochs"] <= 60
        assert steps <= 4000 or train["epochs"] == 1


@pytest.mark.parametrize("name", ["maf", "maf_mog", "nsf", "mixed", "planar", "mixture", "gaussian_mixture"])
@pytest.mark.parametrize("num_rows", [60, 900, 3000, 200_000])
def test_a_named_model_is_trained_until_validation_rows_no_longer_gain(name: str, num_rows: int) -> None:
    spec = DataSet(
        "r", *[Split(torch.zeros(9, 3))] * 3, schema=Schema(tuple(Column(each, "real") for each in "abc"))
    ).spec
    found = named(name, spec, num_rows)
    train = found.tables["train"]
    assert (found.name, found.model, train["patience"]) == (name, name, 10)
    assert train["validate_every"] == 1
    if name in ("mixture", "gaussian_mixture"):
        assert train["epochs"] == 200
        assert "components" not in found.tables["model"]
        return
    by_kind = {each.model: each.tables["model"] for each in candidates(spec, num_rows)}
    if name in by_kind:  # the network that is chosen among, trained for longer
        assert found.tables["model"] == by_kind[name]
    assert train["epochs"] == min(200, 4000 // (num_rows // train["batch_size"]))


def test_orders_of_columns_are_averaged_where_rows_are_few() -> None:
    schema = Schema(tuple(Column(each, "boolean", levels=("no", "yes")) for each in "ab"))
    spec = DataSet("r", *[Split(torch.zeros(9, 2))] * 3, schema=schema).spec

    def orders(num_rows: int) -> set[int]:
        found = [each for each in candidates(spec, num_rows) if each.model == "mixed"]
        assert len({each.name for each in found}) == len(found)
        return {each.tables["model"].get("orders", 1) for each in found}

    assert [orders(each) for each in (300, 3000, 8000, 50_000)] == [{8}, {8}, {1, 8}, {1}]
    few = named("mixed", spec, 300)
    assert few.under({})["model"]["orders"] == 8
    assert "orders" not in few.under({"model": {"order": "reversed"}})["model"]  # the user's is the only one
    assert few.under({"model": {"order": "reversed", "orders": 2}})["model"]["orders"] == 2


def test_mixtures_have_rows_for_their_components() -> None:
    schema = Schema((Column("a", "real"),))
    names = [each.name for each in candidates(DataSet("r", *[Split(torch.zeros(9, 1))] * 3, schema=schema).spec, 20)]
    assert [name for name in names if name.startswith("gaussian")] == [f"gaussian_mixture of {k}" for k in (1, 2, 3, 4)]
    assert len(names) == 4  # and too few for networks


def test_each_held_out_row_has_its_own_weight() -> None:
    torch.manual_seed(0)
    rows = TWO.sample((120,)).double()
    parts = (Split(part, None, part[:, 0].abs()) for part in (rows[:60], rows[60:100], rows[100:]))
    tables = {**TABLE, "model": {"name": "gaussian_mixture", "components": 2}}
    found = choose(DataSet("rows", *parts), tables)
    assert found.weight is not None
    assert bool((found.weight == rows[:100, 0].abs()).all())
