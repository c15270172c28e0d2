"""Weights of rows: a row of weight 2 counts as two rows, in losses, statistics, validation, evaluation and EM."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from marginflow import check, data, models
from marginflow.base.data_error import DataError
from marginflow.data import Batch, Column, DataSet, Schema, Split
from marginflow.data.tables.statistics import fitted
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.distributions.product_em import ProductEM
from marginflow.evaluation.evaluate import evaluate
from marginflow.training import fit
from marginflow.training.validation import robust_mean
from marginflow.transforms import ActNorm, BatchNorm, Standardise, Whiten
from marginflow.transforms.calibrate import calibrate


def rows(number: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(number, 2), torch.randint(1, 4, (number,)).double()


def repeated(x: Tensor, weight: Tensor) -> Tensor:
    return x.repeat_interleave(weight.long(), 0)


def test_a_step_follows_the_gradient_of_the_weighted_mean() -> None:
    x, weight = rows()
    found = []
    for train in (Split(x, None, weight), Split(repeated(x, weight))):
        torch.manual_seed(0)
        model = models.maf(2, hidden=[8], blocks=1)
        whole = DataSet("rows", train, Split(x), Split(x))
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        config = {"epochs": 1, "batch_size": len(train.x), "device": "cpu", "precision": "64-true", "clip_norm": 0.0}
        history = fit(model, whole, config, optimiser=optimiser)
        found.append((history[0].train_nll, *model.parameters()))
    assert found[0][0] == pytest.approx(found[1][0])
    torch.testing.assert_close(found[0][1:], found[1][1:])


@pytest.mark.parametrize("at_once", [60, 7])
def test_statistics_of_the_training_rows_count_a_row_as_often_as_it_weighs(at_once: int) -> None:
    x, weight = rows()
    x = 5 + 3 * x.double()
    copies, found = repeated(x, weight), []
    for batches in (
        [Batch(a, None, w) for a, w in zip(x.split(at_once), weight.split(at_once), strict=True)],
        list(copies.split(at_once)),
    ):
        torch.manual_seed(0)
        flow = models.maf(2, hidden=[8], blocks=2, batch_norm=True)
        model = Flow([Standardise(2), ActNorm(2), *flow.transform, Whiten(2)], StandardNormal(2)).double()
        for each in model.parameters():
            torch.nn.init.normal_(each, std=0.1)
        calibrate(model, batches)
        found.append(model.state_dict())
        mean, variance = next(each for each in model.modules() if isinstance(each, Standardise)).statistics()
        torch.testing.assert_close((mean, variance), (copies.mean(0), copies.var(0, correction=0)))
    torch.testing.assert_close(*found)


def test_statistics_of_images_weigh_all_pixels_of_a_row() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(20, 3, 4, 4).double(), torch.randint(0, 3, (20,)).double()
    norm = ActNorm(3).double()
    calibrate(norm, [Batch(x, None, weight)])
    of_copies = ActNorm(3).double()
    calibrate(of_copies, [repeated(x, weight)])
    torch.testing.assert_close(norm.state_dict(), of_copies.state_dict())


def test_a_training_leaves_weighted_statistics() -> None:
    x, weight = rows()
    found = []
    for train in (Split(x, None, weight), Split(repeated(x, weight))):
        torch.manual_seed(0)
        model = Flow([Standardise(2)], models.maf(2, hidden=[8], blocks=1, batch_norm=True))
        config = {"epochs": 1, "batch_size": len(train.x), "device": "cpu", "precision": "64-true", "lr": 1e-12}
        fit(model, DataSet("rows", train, Split(x), Split(x)), config)
        norms = [each for each in model.modules() if isinstance(each, Standardise | BatchNorm)]
        assert {type(each) for each in norms} == {Standardise, BatchNorm}
        found.append([each.statistics() for each in norms])
        assert check(model, train).ok
    torch.testing.assert_close(*found)


def test_their_unit_does_not_matter() -> None:
    x, weight = rows()
    found = []
    for scale in (1.0, 1e6):
        torch.manual_seed(0)
        model = models.maf(2, hidden=[8], blocks=1)
        part = Split(x, None, scale * weight)
        history = fit(model, DataSet("rows", part, part, part), {"epochs": 2, "batch_size": 20, "device": "cpu"})
        found.append([history[-1].train_nll, history[-1].validation_nll, history[-1].validation_robust_nll])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_validation_and_evaluation_are_weighted_means() -> None:
    x, weight = rows(200)
    torch.manual_seed(0)
    model = models.maf(2, hidden=[8], blocks=1)
    part = Split(x, None, weight)
    (record,) = fit(model, DataSet("rows", part, part, part), {"epochs": 1, "batch_size": 200, "device": "cpu"})
    with torch.no_grad():
        nll = -model.log_prob(x)
    mean = float((weight * nll).sum() / weight.sum())
    assert record.validation_nll == pytest.approx(mean)
    assert record.validation_robust_nll == pytest.approx(robust_mean(nll, weight))
    found, by_count = evaluate(model, part), evaluate(model, repeated(x, weight))
    assert found.bound.value == pytest.approx(mean)
    assert by_count.bound.value == pytest.approx(mean)
    assert found.bound.standard_error > by_count.bound.standard_error  # copies are no more rows
    assert found.effective_rows == pytest.approx(float(weight.sum() ** 2 / weight.square().sum()))
    assert (by_count.effective_rows, found.num_rows) == (None, 200)


def test_importance_weighted_errors_are_those_of_the_weighted_mean() -> None:
    x, weight = rows(100)
    model = Marginalising(models.maf(3, hidden=[8], blocks=1), StandardNormal(1))
    plain = evaluate(model, x, num_samples=50).importance_weighted
    equal = evaluate(model, Split(x, None, torch.full((100,), 3.0)), num_samples=50).importance_weighted
    assert (equal.value, equal.standard_error, equal.draws_error) == pytest.approx(
        (plain.value, plain.standard_error, plain.draws_error)
    )
    weighted = evaluate(model, Split(x, None, weight), num_samples=50).importance_weighted
    assert weighted.draws_error is not None
    assert plain.draws_error is not None
    assert weighted.draws_error > plain.draws_error * 0.9


def test_em_counts_a_row_as_often_as_it_weighs() -> None:
    torch.manual_seed(0)
    x = torch.stack([torch.randint(0, 3, (300,)).double(), torch.randn(300)], 1)
    weight = torch.randint(1, 4, (300,)).double()
    columns = Column("a", "category", levels=("x", "y", "z")), Column("b", "real")
    by_weight, by_copies = fitted(Schema(columns), x, weights=weight), fitted(Schema(columns), repeated(x, weight))
    assert by_weight["a"].shares == pytest.approx(by_copies["a"].shares)
    model, other = (models.mixture(by_copies, components=3, prior=0.0) for _ in range(2))
    one = ProductEM(model, Split(x, None, weight), lambda: None)
    two = ProductEM(other, Split(repeated(x, weight)), lambda: None)
    one.start(0)
    other.load_state_dict(model.state_dict())
    for _ in range(10):
        assert one.step() == pytest.approx(two.step())
    torch.testing.assert_close(dict(model.state_dict()), dict(other.state_dict()))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.tensor([1.0, -1.0, 1.0]), r"the weight -1.0 of row 1 .*: a weight is 0 or more, and finite"),
        (torch.tensor([1.0, 1.0, float("nan")]), "the weight nan of row 2"),
        (torch.zeros(3), "all weights are 0: give some row a positive weight, or leave the weights out"),
        (torch.ones(2), r"weights must have shape \(3,\), one a row; got \(2,\)"),
    ],
)
def test_what_is_no_weight_is_refused(weight: Tensor, message: str) -> None:
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match=message):
        DataSet("rows", Split(x, None, weight), Split(x), Split(x))
    with pytest.raises(ValueError, match=message):
        evaluate(models.planar(2), Split(x, None, weight))


def table(tmp_path: Path, weights: list[object]) -> str:
    path = tmp_path / "table.csv"
    torch.manual_seed(0)
    with path.open("w", newline="") as file:
        pairs = zip(torch.randn(len(weights), 2).tolist(), weights, strict=True)
        csv.writer(file).writerows([["a", "b", "w"], *([f"{a:.6f}", f"{b:.6f}", w] for (a, b), w in pairs)])
    return str(path)


@pytest.mark.parametrize("schema", [None, {}])
def test_a_table_names_its_column_of_weights(tmp_path: Path, schema: dict | None) -> None:
    path = table(tmp_path, [0 if i % 5 == 0 else 0.5 + i % 3 for i in range(100)])
    found = data.table(path, weights="w", schema=schema)
    assert found.columns == ("a", "b")
    splits = found.train, found.validation, found.test
    assert sum(len(split.x) for split in splits) == 80  # those of weight 0 tell nothing
    weights = torch.cat([split.weight for split in splits if split.weight is not None])
    assert sorted(set(weights.tolist())) == [0.5, 1.5, 2.5]
    other = data.table(table(tmp_path, [1.0 + i % 2 for i in range(100)]), weights="w", schema=schema)
    assert found.fingerprint != other.fingerprint


@pytest.mark.parametrize("schema", [None, {}])
@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, -2.5, 3], "holds -2.5 in row 1 .*no weight of a row"), ([1, "", 2], "has no value in row 1"),
     ([0, 0, 0], "is 0 in every row; some weight must be positive"), (["a", "b", "c"], "'a' in row 0 ")],
)  # fmt: skip
def test_weights_that_are_none_are_told(tmp_path: Path, schema: dict | None, weights: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.table(table(tmp_path, weights * 20), weights="w", schema=schema)


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    for schema in (None, {}):
        with pytest.raises(DataError, match=r"has no column '?v"):
            data.table(table(tmp_path, [1, 2, 3] * 20), weights="v", schema=schema)


def test_a_schema_of_weighted_rows_has_weighted_shares(tmp_path: Path) -> None:
    path = tmp_path / "levels.csv"
    with path.open("w", newline="") as file:
        lines = [["x", i, 3.0] if i % 2 else ["y", i, 1.0] for i in range(400)]
        csv.writer(file).writerows([["a", "b", "w"], *lines])
    found = data.table(str(path), schema={"w": {"kind": "weight"}, "b": {"kind": "integer"}})
    weight, codes = found.train.weight, found.train.x[:, 0]
    assert found.schema is not None
    assert weight is not None
    expected = [float(weight[codes == i].sum() / weight.sum()) for i in range(2)]
    assert found.schema["a"].shares == pytest.approx(expected)
    assert expected == pytest.approx([0.75, 0.25], abs=0.05)
