"""The comparison on real tables: one measure for all, whose probabilities add up to one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch
from drawn_tables import orders, real_task, reals, the_task
from scipy.stats import norm
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from benchmarks.tables import fitted, forest, ours, sets, studies
from benchmarks.tables.copula import Copula, Margin
from benchmarks.tables.fitted import CannotTake, Density
from benchmarks.tables.measure import FOLDS, Task, counts_the_same, kinds_of, number_of_parts, split, task_of
from benchmarks.tables.normals import Kernels, Normals, gaussian_mixtures
from marginflow.estimators.trials import with_schema

COLUMNS = {
    "moons": 2, "abalone": 9, "synthetic": 5, "people": 13, "adult": 15, "adult without fnlwgt": 14, "california": 10,
    "diamonds": 10, "birdstrikes": 13, "german": 21, "horse colic": 27, "penguins_raw": 17, "protein": 10,
    "concrete": 9, "bike": 18,
}  # fmt: skip
SMALL = {"model": {"hidden": [16]}, "train": {"epochs": 2, "batch_size": 50}}


def grown(task: Task) -> Density:
    """A forest that tells rows from shuffled ones, as arfpy's first does."""
    rows = task.rows_to_train_on.numpy()
    codes = forest._codes(rows, task.schema.modelled)
    rng = np.random.default_rng(0)
    both = np.concatenate([codes, np.stack([rng.permutation(each) for each in codes.T], 1)])
    trees = RandomForestClassifier(5, min_samples_leaf=5, random_state=0)
    return forest.Forest(trees.fit(both, np.repeat([0, 1], len(rows))), rows, task.schema)


OF_CELLS: dict[str, Callable[[Task], Density]] = {
    "mixed": lambda task: ours.with_settings(task, SMALL).density,
    "independent": lambda task: ours.independent_columns(task).density,
    "mixture": lambda task: ours.product_mixture(task, 4, False),
    "forest": grown,
}
OF_REALS: dict[str, Callable[[Task], Density]] = {
    "flow": lambda task: (
        ours.with_settings(task, {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 2}}, "maf").density
    ),
    "independent": lambda task: ours.independent_columns(task).density,
    "normals": lambda task: Normals(task.train.numpy(), 2, 0),
    "kernels": lambda task: Kernels(task.train.numpy(), 0.3),
    "copula": lambda task: Copula(task.train.numpy(), 1.0),
    "forest": grown,
}


@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.DataWarning")
@pytest.mark.parametrize("name", OF_CELLS)
def test_probabilities_of_all_cells_add_up_to_one(name: str) -> None:
    task = the_task(orders(), 0)
    cells = [
        [*range(len(each.levels)), *([math.nan] if each.blank else [])] if each.levels else range(-20, 30)
        for each in task.schema.modelled
    ]
    density = OF_CELLS[name](task)
    log_p = density.log_prob(torch.tensor([*itertools.product(*cells)], dtype=torch.float64))
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    assert (density.log_prob(task.test) <= 0).all()


@pytest.mark.parametrize("name", OF_REALS)
def test_a_density_integrates_to_one_in_the_units_of_the_file(name: str) -> None:
    task = real_task()
    assert task.is_real
    x, y = np.linspace(-17, 23, 401), np.linspace(-350, 550, 401)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2))
    density = np.exp(OF_REALS[name](task).log_prob(grid)).reshape(401, 401)
    assert np.trapezoid(np.trapezoid(density, y), x) == pytest.approx(1, abs=0.01)


def test_samples_of_each_density_follow_it() -> None:
    task, rows = real_task(), reals()
    for name in ("normals", "copula", "independent", "forest"):
        drawn = OF_REALS[name](task).sample(1_000, 0).numpy()
        assert drawn.shape == (1_000, 2)
        assert drawn.mean(0) == pytest.approx(rows.mean(0), abs=4 * rows.std(0).max() / 15), name
        assert drawn.std(0) == pytest.approx(rows.std(0), rel=0.2), name
        correlation = np.corrcoef(drawn.T)[0, 1]
        assert (abs(correlation) < 0.1) if name == "independent" else (correlation > 0.6), name


def test_a_copula_with_a_known_law() -> None:
    margin = Margin(np.array([1.0, 3.0, 4.0, 9.0]), 0.5)
    x = np.array([-0.5, 2.5, 8.5])
    z = (x[:, None] - margin.centres) / margin.width
    np.testing.assert_allclose(margin.log_density(x), np.log((norm.pdf(z) / margin.width).mean(1)))
    np.testing.assert_allclose(margin.normal(x), norm.ppf(norm.cdf(z).mean(1)), rtol=1e-6)
    np.testing.assert_allclose(margin.inverse(margin.normal(x)), x, rtol=1e-6)


def test_a_forests_cell_is_the_mass_of_a_normal_cut_off_at_its_leaf() -> None:
    leaf = forest.Leaf(np.array([0]), *(np.array([[each]]) for each in (1.0, -0.5, 4.5, 1.0, 2.0)), levels={})
    cells = np.arange(5.0)
    found = forest._log_normal(leaf, np.zeros(5, int), 0, cells, on_grid=True)
    law = norm(1.0, 2.0)
    truth = (law.cdf(cells + 0.5) - law.cdf(cells - 0.5)) / (law.cdf(4.5) - law.cdf(-0.5))
    np.testing.assert_allclose(np.exp(found), truth)


def test_the_schema_is_of_the_rows_to_train_on_and_what_it_does_not_know_is_left_out_for_all() -> None:
    columns = orders(200)
    rows = split(200, 0)
    labels = columns["shop"].to_pylist()
    for each in rows[2][:3]:
        labels[int(each)] = "never seen"
    task = the_task({**columns, "shop": pa.chunked_array([labels])}, 0)
    assert set(task.schema["shop"].levels) == {"a", "b"}
    assert (task.left_out, len(task.test)) == (3, len(rows[2]) - 3)
    assert (len(task.train), len(task.validation)) == (len(rows[0]), len(rows[1]))


def test_no_model_that_looks_at_some_rows_changes_what_is_counted() -> None:
    rng = np.random.default_rng(0)
    price = np.where(rng.random(600) < 0.3, 0.0, rng.lognormal(size=600))
    columns = {"price": pa.chunked_array([price]), "rate": pa.chunked_array([rng.standard_normal(600)])}
    task = the_task(columns, 0)
    assert task.schema["price"].atoms == (0.0,)
    assert not task.is_real
    positive = task.of(task.train[task.train[:, 0] > 0][:50], task.validation)
    again = with_schema(positive.data(), "mixed").schema
    assert counts_the_same(again, task.schema)
    assert not counts_the_same(the_task({**columns, "price": columns["rate"]}, 0).schema, task.schema)


def test_a_study_without_atoms_changes_no_measure_and_no_training_finds_them_again() -> None:
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(600) < 0.7, 0, rng.integers(1, 5_000, 600))
    price = np.where(rng.random(600) < 0.3, 0.0, rng.lognormal(size=600))
    task = the_task({"gain": pa.chunked_array([gain]), "price": pa.chunked_array([price])}, 0)
    study = studies.study("smooth", ["model.orders=2"], without_atoms=True)
    changed = study.change(task)
    assert [each.atoms for each in task.schema.modelled] == [(0.0,), (0.0,)]
    found = with_schema(changed.data(), "mixed").schema
    assert found is not None
    assert [each.atoms for each in found.modelled] == [(), (0.0,)]  # of real numbers they are of the measure
    assert counts_the_same(found, task.schema)


def test_kinds_are_the_same_in_all_parts() -> None:
    _, _, test = split(200, 0)
    price = np.round(np.random.default_rng(0).normal(size=200), 1)
    price[test[0]] = 1 / 3  # which the other parts train on
    columns = {"price": pa.chunked_array([price]), "shop": orders(200)["shop"]}
    kinds = kinds_of(columns)
    assert task_of(columns, 0, kinds).schema["price"].kind == "decimal"
    with pytest.raises(ValueError, match="price"):
        task_of(columns, 1, kinds)


@pytest.mark.parametrize(("rows", "seeds"), [(1_500, 3), (2_500, 3)])
def test_parts_share_no_row_and_folds_hold_every_row_out_once(rows: int, seeds: int) -> None:
    parts = [split(rows, part) for part in range(number_of_parts(rows, seeds))]
    for part in parts:
        assert sorted(np.concatenate(part)) == list(range(rows))
    held_out = np.concatenate([test for _, _, test in parts])
    if rows < 2_000:
        assert len(parts) == FOLDS
        assert sorted(held_out) == list(range(rows))
    else:
        assert len(parts) == seeds
        assert len(held_out) == 3 * 250


def test_repeated_rows_are_dropped_before_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"a": pa.chunked_array([[1, 2, 1, None, None]]), "b": pa.chunked_array([["x", "y", "x", None, "y"]])}
    monkeypatch.setitem(sets.SETS, "moons", sets.TableSet(draw=lambda: dict(cells)))
    found = sets.columns_of("moons")
    assert [each.to_pylist() for each in found.values()] == [[1, 2, None, None], ["x", "y", None, "y"]]
    assert sets.size_of(sets.columns_of("moons", 2)) == 2


@pytest.mark.parametrize("name", sets.SETS)
def test_a_table_is_read_with_its_names_and_without_what_is_dropped(name: str) -> None:
    why = sets.missing(name)
    if why:
        pytest.skip(why)
    if name == "flights":
        pytest.skip("too many rows for a test")
    found = sets.columns_of(name, 300)
    assert len(sets.SETS[name].names.split()) in (0, len(found) + len(sets.SETS[name].dropped))
    assert len(found) == COLUMNS[name]
    assert {len(each) for each in found.values()} == {300}
    if name == "adult":
        assert {each.strip() for each in found["income"].cells.to_pylist()} == {"<=50K", ">50K"}


def test_settings_are_chosen_by_rows_they_have_not_seen() -> None:
    task = real_task()
    tried: list[float] = []

    class Shifted:
        def __init__(self, train: Tensor, shift: float) -> None:
            self.law = norm(train.numpy().mean(0) + shift, train.numpy().std(0))

        def log_prob(self, x: Tensor) -> np.ndarray:
            return self.law.logpdf(x.numpy()).sum(1)

        def sample(self, number: int, seed: int) -> Tensor:
            return torch.zeros(number, 2)

    def fit(of: Task, shift: float, is_ended: bool) -> Density:
        tried.append(shift)
        return Shifted(of.train, shift)

    density, setting, scores = fitted.chosen(task, [4.0, 0.0, 5.0, 6.0, 7.0], fit)
    assert setting == 0.0
    assert [*scores] == ["4.0", "0.0", "5.0", "6.0"]  # two that are worse end it
    assert isinstance(density, Shifted)
    rows = task.rows_to_train_on.numpy()
    np.testing.assert_allclose(density.law.mean(), rows.mean(0))  # of few rows fitted to all
    assert len(tried) == 4 * 5 + 1


def test_a_mixture_of_normals_is_refused_where_a_column_is_not_real() -> None:
    with pytest.raises(CannotTake, match="3 of 3 columns"):
        gaussian_mixtures(the_task(orders(), 0))
