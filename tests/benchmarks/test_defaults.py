"""The default estimator's benchmark: one measure for all, what is kept, and what is said of the differences."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.neighbors import KernelDensity

from benchmarks import default_peers, default_report, default_sets, defaults, kept

UNITS = np.array([0.05, 1.0, 50.0])  # of three columns


@pytest.fixture
def rows() -> np.ndarray:
    rng = np.random.default_rng(7)
    return 5.0 + (rng.standard_normal((400, 3)) @ rng.normal(size=(3, 3))) * UNITS


def test_one_normal_distribution_has_the_density_in_file_units(
    rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_peers, "COMPONENTS", (1, 3))
    train, test = rows[:300], rows[300:]
    truth = multivariate_normal(train.mean(0), np.cov(train.T, bias=True)).logpdf(test)
    own = default_peers.Gaussians(1, seed=0).fit(train).score_samples(test)
    np.testing.assert_allclose(own, truth, atol=1e-3)  # scikit-learn adds 1e-6 to the variances
    found = default_peers.gaussian_mixtures(train, test, seed=0)
    assert found["components"]["1"]["log_p"] == pytest.approx(truth.mean(), abs=1e-3)
    assert found["components"]["1"]["lowest"] == pytest.approx(truth.min(), abs=1e-3)
    assert found["chosen"] == 1  # what the rows were drawn from


def test_a_mixture_integrates_to_one_in_file_units() -> None:
    rng = np.random.default_rng(0)
    column = np.concatenate([rng.normal(3e4, 200, 150), rng.normal(3.2e4, 500, 150)])[:, None]
    grid = np.linspace(2.5e4, 3.8e4, 20_001)
    density = np.exp(default_peers.Gaussians(2, seed=0).fit(column).score_samples(grid[:, None]))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-6)


def test_a_kernel_density_is_in_file_units(rows: np.ndarray) -> None:
    train, test = rows[:300], rows[300:]
    found = default_peers.kernel_density(train, test, seed=0)
    # sums of normal densities at each training row, by hand
    z, t = ((each - train.mean(0)) / train.std(0) for each in (train, test))
    squares = ((t[:, None] - z) ** 2).sum(2) / found["chosen"] ** 2
    norm = len(z) * (2 * math.pi * found["chosen"] ** 2) ** 1.5 * train.std(0).prod()
    assert found["log_p"] == pytest.approx(np.log(np.exp(-squares / 2).sum(1) / norm).mean())


def test_more_components_than_half_of_a_folds_rows_are_left_out() -> None:
    rows = np.random.default_rng(0).standard_normal((25, 1))  # a fold trains on 16 of 20
    assert set(default_peers.gaussian_mixtures(rows[:20], rows[20:], 0)["components"]) == {"1", "2", "3", "4", "6", "8"}


def test_any_estimator_takes_the_place_of_ours(rows: np.ndarray) -> None:
    found = defaults.ours(rows[:300], rows[300:], 0, lambda seed: KernelDensity(bandwidth=0.5))
    truth = KernelDensity(bandwidth=0.5).fit(rows[:300]).score_samples(rows[300:])
    assert found["log_p"] == pytest.approx(truth.mean())
    assert found["lowest"] == pytest.approx(truth.min())
    assert found["chosen"] == "KernelDensity"


def test_the_first_trial_is_that_of_what_was_chosen() -> None:
    estimator = default_peers.Gaussians(1, 0)
    vars(estimator)["trials_"] = [SimpleNamespace(name="simple"), SimpleNamespace(name="best")]
    assert defaults.chosen(estimator) == "simple"


def test_differences_by_hand() -> None:
    gain, error = default_report.paired([2.0, 4.0, 6.0], [1.0, 1.0, 1.0])
    assert (gain, error) == pytest.approx((3.0, 2 / math.sqrt(3)))  # of 1, 3, 5
    assert default_report.verdict(gain, error) == "ahead"  # by 2.6 standard errors
    assert default_report.verdict(-gain, error) == "behind"
    assert default_report.verdict(1.9, 1.0) == default_report.verdict(-2.0, 1.0) == "level"
    assert default_report.verdict(*default_report.paired([9.0], [1.0])) == "level"  # one split says nothing


def _split(chosen: int, one: float, two: float, ours: float | None) -> dict[str, Any]:
    components = {"1": {"log_p": one}, "2": {"log_p": two}}
    own = {} if ours is None else {"ours": {"log_p": ours, "chosen": "flow", "seconds": 61.0}}
    return {"gaussian": {"components": components, "chosen": chosen}, **own}


def test_the_best_number_is_that_of_the_mean_and_the_chosen_one_of_each_split() -> None:
    splits = [_split(1, -3.0, -1.0, -0.5), _split(1, -1.0, -2.0, -1.5), _split(2, -2.0, -2.0, -1.5)]
    assert default_report.best_number(splits) == "2"  # -5 / 3 against -6 / 3
    assert default_report.of_mixtures(splits, "2") == [-1.0, -2.0, -2.0]
    assert default_report.of_mixtures(splits) == [-3.0, -1.0, -2.0]
    about = {"rows": 10, "columns": 2, "source": "drawn", "tied": 0.25, "most": 0.1}
    record = {"sets": {"swiss_roll": {"about": about, "splits": dict(zip("012", splits, strict=True))}}}
    assert default_report.verdicts(record) == {"swiss_roll": "ahead"}  # 0.5 in each split
    said = default_report.table(record)
    # ours - chosen: 2.5, -0.5, 0.5, of mean 0.833 and deviation 1.528
    assert "| swiss roll | 10 x 2 | 25%, 10.0% | -1.667, 2 | -2.000, 1 (2), 2 (1) |  | -1.167 |" in said
    assert "| 0.500 ± 0.000, ahead | 0.833 ± 0.882, level | flow | 61 |" in said
    assert "ahead on 1, level on 0, behind on 0" in said


def test_what_is_not_measured_yet_leaves_its_cells_empty() -> None:
    about = {"rows": 10, "columns": 2, "source": "drawn", "tied": 0.0, "most": 0.1}
    first = {"0": _split(1, -1.0, -2.0, None)}
    splits = {**first, "1": _split(1, -1.0, -2.0, -0.5)}
    record = {"sets": {name: {"about": about, "splits": found} for name, found in (("wine", splits), ("iris", first))}}
    said = default_report.table(record)
    iris, wine = said.splitlines()[2:4]  # in the order of the sets
    assert iris.startswith("| iris |")
    record["sets"]["moons"] = {"about": about}
    assert default_report.table(record) == said
    assert default_report.table({}) == default_report.HEAD
    assert iris.endswith("|  |  |  |  |  |  |")
    assert "-0.500 (1 of 2)" in wine


def test_a_later_call_measures_what_is_missing_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    def counted(train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, Any]:
        calls.append((seed, len(test)))
        return {"log_p": float(len(calls)), "seconds": 0.0}

    monkeypatch.setitem(defaults.MEASURED, "ours", counted)
    output = tmp_path / "results" / "defaults.json"
    defaults.measure(output, "iris", 2, ["ours"])
    defaults.measure(output, "iris", 3, ["ours"])
    assert calls == [(0, 30), (1, 30), (2, 30)]
    defaults.measure(output, "iris", 1, ["ours"], again=True)
    splits = kept.read(output)["sets"]["iris"]["splits"]
    assert [splits[str(i)]["ours"]["log_p"] for i in range(3)] == [4.0, 2.0, 3.0]
    assert [each.name for each in output.parent.iterdir()] == ["defaults.json"]


def test_figures_of_another_table_are_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "defaults.json"
    defaults.measure(output, "iris", 0, [])
    monkeypatch.setitem(default_sets.SETS, "iris", default_sets.wine)
    with pytest.raises(ValueError, match="give another --output"):
        defaults.measure(output, "iris", 0, [])


def test_a_value_is_kept_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    kept.keep(path, 1, "a", "b")
    kept.keep(path, {"x": 2}, "a", "c")
    assert kept.read(path) == {"a": {"b": 1, "c": {"x": 2}}}
    assert kept.look(kept.read(path), "a", "c", "x") == 2
    assert kept.look(kept.read(path), "a", "d", "x") is None


@pytest.mark.parametrize("name", default_sets.SETS)
def test_a_table_is_of_finite_reals_and_the_same_again(name: str) -> None:
    rows = default_sets.rows_of(name)
    train, test = default_sets.split(rows, 4)
    assert rows.dtype == np.float64
    assert np.isfinite(rows).all()
    assert (default_sets.rows_of(name) == rows).all()
    assert len(train) + len(test) == len(rows)
    assert len(test) == round(len(rows) / 5)
    assert train.std(0).min() > 0
    together = np.concatenate([train, test])
    kept_columns = np.array([np.isin(column, together).all() for column in rows.T])
    assert kept_columns.sum() >= together.shape[1] >= rows.shape[1] - 1


def test_the_splits_differ_and_share_no_row() -> None:
    rows = default_sets.rows_of("moons")
    first, second = (default_sets.split(rows, seed) for seed in (0, 1))
    assert not (first[1] == second[1]).all()
    assert not set(map(tuple, first[0])) & set(map(tuple, first[1]))


def test_what_stands_for_the_census_has_its_caps() -> None:
    rows = default_sets.census_like(0)
    assert rows.shape == (4_000, 8)
    assert (rows[:, 0].max(), rows[:, 1].max()) == (default_sets.CENSUS_CAP, default_sets.AGE_CAP)
    assert rows[:, 5].max() > 5 * np.median(rows[:, 5])
