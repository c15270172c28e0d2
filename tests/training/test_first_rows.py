"""What is told before the first step: columns far from standardised, rows outside the support, a rate that diverges."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers import Recorder, config, moons
from torch import Tensor

from marginflow import models
from marginflow.base.data_warning import DataWarning, TrainingWarning
from marginflow.base.distribution import Distribution
from marginflow.data import DataSet, Split
from marginflow.data.loader import Loader
from marginflow.distributions import DiagonalNormal, Flow, StandardNormal, Uniform
from marginflow.training import VariationalConfig, fit, fit_to_density
from marginflow.training.first_rows import some_rows
from marginflow.transforms import ActNorm, Logit, Planar, Standardise

TINY = 1e-9  # a learning rate that leaves the weights as they are


@pytest.mark.parametrize(("mean", "deviation"), [(30.0, 1.0), (-12.0, 1.0), (0.0, 20.0), (0.0, 1e-3), (1e-3, 1e-4)])
def test_columns_far_from_standardised_are_named_with_the_remedy(mean: float, deviation: float) -> None:
    rows = torch.randn(300, 3) * torch.tensor([1.0, deviation, 1.0]) + torch.tensor([0.0, mean, 0.0])
    part = Split(rows)
    data = DataSet("rows", part, part, part, columns=("age", "income", "height"))
    model = models.planar(3, blocks=1)
    with pytest.warns(DataWarning, match="far from standardised") as told:
        fit(model, data, config(epochs=1, lr=TINY))
    text = str(told[0].message)
    assert told[0].filename == __file__
    found = re.search(
        r"standardised, which hinders its training: 'income' \(mean (.*), standard deviation (.*)\): ", text
    )
    assert found is not None, text
    assert float(found[1]) == pytest.approx(float(rows[:, 1].mean()), rel=1e-3)
    assert float(found[2]) == pytest.approx(float(rows[:, 1].std(correction=0)), rel=1e-3)
    assert "Flow([Standardise(3)], base=model)" in text
    fit(Flow([Standardise(3)], base=model), data, config(epochs=1, lr=TINY))  # warnings are errors: it is a remedy


@pytest.mark.parametrize(
    "build",
    [
        lambda: Flow([ActNorm(2), Planar(2)], StandardNormal(2)),
        lambda: Flow([Standardise(2), Planar(2)], StandardNormal(2)),
        lambda: models.maf(2, hidden=[8], blocks=1, batch_norm="before"),
    ],
)
def test_a_model_that_standardises_by_itself_is_not_warned_of(build: Callable[[], Distribution]) -> None:
    fit(build(), torch.randn(300, 2) * 50 + 1e3, config(epochs=1, lr=TINY))


def test_a_density_that_was_placed_where_the_rows_are_is_not_warned_of() -> None:
    model = DiagonalNormal(2)
    with torch.no_grad():
        model.mean.fill_(1e3)
        model.log_scale.fill_(math.log(50))
    fit(model, torch.randn(300, 2) * 50 + 1e3, config(epochs=1, lr=TINY))


def test_a_model_that_starts_far_out_is_told_apart_from_its_rows() -> None:
    model = DiagonalNormal(2)
    with torch.no_grad():
        model.log_scale.fill_(-6.0)
    with pytest.warns(RuntimeWarning) as told:
        fit(model, torch.randn(300, 2), config(epochs=1, lr=TINY))
    before, after = (str(each.message) for each in told)
    assert re.search(r"is .* nats on average, though they are near standardised", before)
    assert "more than 1000 nats a feature" in after


def test_a_rate_by_which_adam_diverges_is_told_and_so_is_the_result() -> None:
    with pytest.warns(RuntimeWarning) as told:
        history = fit(models.maf(2, hidden=[32], blocks=3), moons(), config(lr=10.0))
    before, after = (str(each.message) for each in told)
    assert "at lr = 10 each step of Adam moves every weight by about 10" in before
    assert "--set train.lr=1e-3" in before
    ended = str(history[-1].ended)
    assert "worse than before the first step" in ended
    assert "lower lr (now 10)" in ended
    assert ended in after
    assert [each.filename for each in told] == [__file__] * 2


def test_the_rate_of_another_kind_of_optimiser_is_its_own() -> None:
    model = models.planar(2)
    fit(model, moons(), config(epochs=1), optimiser=torch.optim.SGD(model.parameters(), lr=1.0))


def test_raw_rows_are_warned_of_before_and_after() -> None:
    with pytest.warns((DataWarning, TrainingWarning)) as told:
        history = fit(models.maf(2, hidden=[8], blocks=2), torch.randn(300, 2) + 1e6, config())
    assert [each.category for each in told] == [DataWarning, TrainingWarning]
    assert re.search("worse than before the first step|more than 1000 nats a feature", str(history[-1].ended))


@pytest.mark.parametrize("where", ["train", "validation"])
@pytest.mark.parametrize("bounded", ["base", "preprocessing"])
def test_rows_outside_the_support_are_counted_and_named_before_the_first_step(where: str, bounded: str) -> None:
    inside = torch.rand(2000, 2) * 0.9 + 0.05
    wrong = inside.clone()
    wrong[[1, 41, 999, 1000, 1201, 1999], 1] = torch.linspace(1.5, 2.5, 6)
    data = DataSet("rows", Split(wrong if where == "train" else inside), Split(wrong), Split(inside))
    if where == "train":
        data = replace(data, validation=Split(inside))
    model: Distribution = Flow([Logit(0.05)], base=models.planar(2))
    if bounded == "base":
        layer = ActNorm(2)
        layer.mark_initialised()
        model = Flow([layer], base=Uniform(2))
    recorder = Recorder()
    name = "training" if where == "train" else where
    message = (
        rf"at 6 of 2000 {name} rows: rows 1, 41, 999, 1000, 1201, \.\.\. \(counted from 0\), .* outside the support"
    )
    with pytest.raises(ValueError, match=message):
        fit(model, data, config(epochs=1), observers=[recorder])
    assert not recorder.losses


def test_the_rows_that_are_tried_first_hold_the_extremes() -> None:
    x = torch.rand(5000, 3)
    x[[17, 4017], [0, 2]] = torch.tensor([9.0, -9.0])
    numbers = some_rows(Split(x))
    assert {17, 4017} <= set(numbers.tolist())
    assert len(numbers) == len(numbers.unique()) <= 506


@pytest.mark.filterwarnings("ignore:column.* without a density")  # nearly all rows are 0
def test_a_row_that_the_support_leaves_in_training_is_named() -> None:
    class Narrowing(Distribution):
        """A density on a square, which is smaller in the twelfth step."""

        def __init__(self) -> None:
            super().__init__()
            self.width, self.calls = torch.nn.Parameter(torch.ones(())), 0

        def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
            self.calls += self.training
            inside = x.abs().amax(1) < (0.5 if self.training and self.calls == 12 else 5.0)
            return torch.where(inside, -self.width.abs(), -torch.inf)

        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            raise NotImplementedError

    data, train = moons(500), torch.zeros(500, 2)
    batch = Loader(data.train, 50, seed=0).order(2)[50:100]
    train[batch[[3, 8]]] = 1.0
    data = replace(data, train=Split(train), validation=Split(torch.zeros(50, 2)))
    rows = f"training rows {batch[3]}, {batch[8]} "
    message = rf"loss became inf in epoch 2 at step 2 of 10: .*infinite for 2 of 50 rows, {rows}"
    with pytest.raises(FloatingPointError, match=message):
        fit(Narrowing(), data, config())


def test_a_fit_to_a_density_says_so_too() -> None:
    def target(x: Tensor) -> Tensor:
        return -0.5 * x.square().sum(1)

    model = models.realnvp(2, hidden=[8], blocks=2)
    with pytest.warns(RuntimeWarning) as told:
        fit_to_density(model, target, VariationalConfig(steps=5, lr=5.0, annealing=0.0, clip_norm=0))
    before, after = (str(each.message) for each in told)
    assert "at lr = 5 each step of Adam" in before
    assert re.search(r"has diverged: E\[log q - log target\] is .* and was .* lower lr \(now 5\)", after)
    assert {each.filename for each in told} == {__file__}
    fit_to_density(models.realnvp(2, hidden=[8], blocks=2), target, VariationalConfig(steps=5, lr=1e-3))


@pytest.mark.parametrize("places", [[5], [5, 17, 41, 208], list(range(100, 130))])
def test_rows_outside_the_support_are_named_by_their_numbers_in_what_was_given(places: list[int]) -> None:
    """Those of both splits at once, so that one correction is enough."""
    x = torch.rand(300, 2)
    x[places] = 1.5 + 1e-3 * torch.arange(len(places))[:, None]
    model = Flow([Logit(0.01)], models.planar(2))
    with pytest.raises(ValueError, match="outside the support") as refused:
        fit(model, x, config(epochs=1))
    text = str(refused.value)
    listed = re.findall(r"rows? ((?:\d+, )*\d+)(?:, \.\.\.)? \(counted", text)
    told = [list(map(int, each.split(", "))) for each in listed]
    assert sum(map(len, told)) == len(places) or any(len(each) == 5 for each in told)
    assert {number for each in told for number in each} <= set(places)
    assert sum(int(each) for each in re.findall(r"at (\d+) of \d+ (?:training|validation) rows", text)) == len(places)
    assert "the first of them [1.5" in text
    left = torch.ones(300, dtype=torch.bool)
    left[places] = False
    fit(model, x[left], config(epochs=1, lr=TINY))  # which the message asks for


def test_a_row_that_decides_on_the_scale_is_told_though_it_is_standardised() -> None:
    x = torch.randn(300, 2)
    x[3, 1] = 1e6
    others = Split(torch.randn(50, 2) * 0.01)
    data = DataSet("rows", Split(x), others, others, columns=("a", "income"))
    with pytest.warns(DataWarning, match="few rows decide on the scale of columns: 'income'"):
        fit(Flow([Standardise(2)], models.planar(2)), data, config(epochs=1, lr=TINY))
    heavy = torch.distributions.StudentT(3.0).sample((300, 2))
    fit(Flow([Standardise(2)], models.planar(2)), heavy, config(epochs=1, lr=TINY))  # tails are no errors
