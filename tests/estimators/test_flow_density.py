"""FlowDensity beside closed forms, and its rows, weights and contexts."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import NotFittedError

from marginflow.base.data_error import DataError
from marginflow.estimators import FlowDensity

SMALL: dict[str, Any] = {"model": {"hidden": [16], "blocks": 2}, "train": {"epochs": 3}}
COVARIANCE = np.array([[1.0, 1.2], [1.2, 4.0]])


def gaussian(num_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal([3.0, -1.0], COVARIANCE, num_rows)


def density(name: str = "maf", **options: Any) -> FlowDensity:
    return FlowDensity(name, options=options or SMALL, random_state=0)


def test_it_finds_a_gaussian() -> None:
    found = density(**{**SMALL, "train": {"epochs": 40, "lr": 5e-3}}).fit(gaussian(3000))
    fresh = gaussian(2000, seed=1)
    truth = multivariate_normal([3.0, -1.0], COVARIANCE).logpdf(fresh)
    assert found.score(fresh) == pytest.approx(truth.mean(), abs=0.02)
    assert np.abs(found.score_samples(fresh) - truth).mean() < 0.1
    draws = found.sample(4000, random_state=2)
    assert np.abs(draws.mean(0) - [3.0, -1.0]).max() < 0.15
    assert np.abs(np.cov(draws.T) - COVARIANCE).max() < 0.4


@pytest.mark.parametrize("model", ["maf", "maf_mog", "nsf"])
def test_log_p_is_that_of_the_model(model: str) -> None:
    x = gaussian(300)
    found = density(model, train={"epochs": 1}).fit(x)
    scores = found.score_samples(x)
    assert scores.dtype == np.float64
    assert np.abs(scores - found.model_.log_prob(x).detach().numpy()).max() < 1e-10
    assert found.score(x) == pytest.approx(scores.mean(), rel=1e-12)
    assert (found.n_features_in_, found.schema_, hasattr(found, "feature_names_in_")) == (2, None, False)


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("model", ["maf", "mixed"])
def test_a_row_has_the_same_bits_in_any_company(model: str) -> None:
    x = gaussian(600)
    found = density(model, train={"epochs": 4}).fit(x)
    scores, order = found.score_samples(x), np.random.default_rng(0).permutation(600)
    assert (found.score_samples(x[:7]) == scores[:7]).all()
    assert (found.score_samples(x[300:301]) == scores[300]).all()
    moved = np.abs(found.score_samples(x[order]) - scores[order]).max()
    assert moved == 0 if model == "maf" else moved < 1e-14


def test_the_order_of_rows_and_repeats_in_place_of_weights_change_nothing() -> None:
    x, rng = gaussian(80), np.random.default_rng(3)
    weight = rng.integers(0, 4, 80)
    weighted = density().fit(x, sample_weight=weight).score_samples(x)
    assert (density().fit(x.repeat(weight, 0)).score_samples(x) == weighted).all()
    order = rng.permutation(80)
    assert (density().fit(x[order], sample_weight=weight[order]).score_samples(x) == weighted).all()
    assert (density().fit(x[weight > 0], sample_weight=weight[weight > 0]).score_samples(x) == weighted).all()
    assert not np.allclose(density().fit(x).score_samples(x), weighted)


@pytest.mark.parametrize("model", [None, "mixture"])
def test_an_interrupt_says_that_nothing_is_kept(model: str | None) -> None:
    """Of the trials, and of the training after them."""
    found = FlowDensity(model, options={"train": {"epochs": 100_000}} if model else None, random_state=0)
    timer = threading.Timer(3.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt, match=r"^the fit had not ended, nothing of it is kept: fit again$"):
        found.fit(np.exp(gaussian(4000)))
    with pytest.raises(NotFittedError):
        found.score_samples(gaussian(3))


def test_weights_move_the_density() -> None:
    x = np.concatenate([gaussian(200), gaussian(200, 1) + 8])
    weight = np.repeat([1.0, 0.01], 200)
    found = density(**{**SMALL, "train": {"epochs": 30, "lr": 5e-3}}).fit(x, sample_weight=weight)
    assert found.score(x[:200]) > found.score(x[200:]) + 1


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(50), "zero"),
        (-np.ones(50), "0 or more"),
        (np.ones(49), r"shape \(50,\)"),
        (np.full(50, np.nan), "row 0"),
    ],
)  # fmt: skip
def test_weights_that_are_none_are_refused(weight: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        density().fit(gaussian(50), sample_weight=weight)


def test_rows_given_a_context() -> None:
    rng = np.random.default_rng(0)
    given = rng.normal(size=(1500, 1))
    x = 2 * given + 0.5 * rng.normal(size=(1500, 1))
    options = {"model": {"hidden": [16], "blocks": 1, "dropout": 0.0}, "train": {"epochs": 20, "lr": 2e-2}}
    found = FlowDensity("maf", options=options, random_state=0).fit(x[:1000], context=given[:1000])
    truth = norm(2 * given[1000:, 0], 0.5).logpdf(x[1000:, 0])
    assert found.score(x[1000:], context=given[1000:]) == pytest.approx(truth.mean(), abs=0.05)
    draws = found.sample(2000, random_state=0, context=[[1.0]])
    assert draws.shape == (2000, 1)
    assert draws.mean() == pytest.approx(2.0, abs=0.15)
    with pytest.raises(ValueError, match="given 'c0'"):
        found.score(x)
    with pytest.raises(ValueError, match="a row for each of the 1500 rows of X; got 1000"):
        found.score(x, context=given[:1000])


def test_a_context_where_none_was_fitted_is_refused() -> None:
    found = density().fit(gaussian(50))
    for call in (found.score_samples, lambda x, context: found.sample(2, context=context)):
        with pytest.raises(ValueError, match="was fitted with one: leave it out"):
            call(gaussian(50), context=gaussian(50))


def test_noise_dimensions_give_an_estimate_that_is_the_same_each_time() -> None:
    x = gaussian(60)
    options = {**SMALL, "noise": {"features": 1}, "evaluate": {"num_samples": 50}}
    found = FlowDensity("maf", options=options, random_state=0).fit(x)
    scores = found.score_samples(x)
    assert (found.score_samples(x) == scores).all()
    assert (found.score_samples(x[:9]) == scores[:9]).all()
    assert (found.score_samples(x[7:9]) == scores[7:9]).all()
    assert len(set(found.score_samples(x[[3, 3, 3]]))) == 1


@pytest.mark.parametrize("model", ["gaussian_mixture", "mixed"])
def test_of_many_rows_the_validation_rows_are_held_out(model: str) -> None:
    x = gaussian(5200)
    options = {"train": {"epochs": 1}, "model": {"components": 1} if model != "mixed" else {"hidden": [8]}}
    found = FlowDensity(model, options=options, random_state=0).fit(x)
    held_out = found.held_out_
    assert not held_out.cross_fitted
    assert len(held_out.log_prob) == 520
    among = np.sort(found.score_samples(x))
    nearest = among[np.clip(np.searchsorted(among, held_out.log_prob.numpy()), 0, len(x) - 1)]
    np.testing.assert_allclose(held_out.log_prob.numpy(), nearest, atol=0.05)
    assert len(held_out.columns) == (2 if model == "mixed" else 0)  # by which an unusual column is told


def test_the_random_state_is_that_of_fit_and_of_samples() -> None:
    x = gaussian(60)
    first, same, other = (FlowDensity("maf", options=SMALL, random_state=seed).fit(x) for seed in (0, 0, 1))
    assert (first.score_samples(x) == same.score_samples(x)).all()
    assert not np.allclose(first.score_samples(x), other.score_samples(x))
    assert (first.sample(5, random_state=4) == same.sample(5, random_state=4)).all()
    assert not (first.sample(5, random_state=4) == first.sample(5, random_state=5)).any()


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (3, 2), (7, 1)])
def test_few_rows_are_enough(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    found = density().fit(x)
    assert np.isfinite(found.score_samples(x)).all()
    assert found.sample(3).shape == (3, shape[1])


def test_one_sample_is_too_few_however_often_it_is_there() -> None:
    with pytest.raises(ValueError, match="1 sample"):
        density().fit([[1.0, 2.0]])
    with pytest.raises(DataError, match="1 sample"):
        density().fit([[1.0, 2.0]] * 40)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (FlowDensity("mafs"), "unknown model 'mafs'; did you mean maf"),
        (FlowDensity(options={"train": {"epoch": 3}}), "unknown key train.epoch; .*did you mean train.epochs"),
        (FlowDensity(model=3), "model must be a name, such as 'planar', .* or None; got 3"),  # pyright: ignore
        (FlowDensity(options={"epochs": 3}), "holds the tables of an experiment, such as"),
        (FlowDensity(options={"data": {"path": "a.csv"}}), "must not hold 'data': rows are given to fit"),
        (FlowDensity(options={"schema": {}}), "must not hold 'schema': give schema="),
        (FlowDensity(schema={"x0": {"kind": "intger"}}), "did you mean integer"),
    ],
)
def test_settings_that_are_wrong_are_named(estimator: FlowDensity, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator.fit(gaussian(50))


def test_columns_of_an_array_can_be_of_any_kind() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=200), rng.integers(0, 3, 200)], 1)
    found = FlowDensity("mixture", schema={"x1": {"kind": "category"}}, random_state=0).fit(x)
    assert [each.kind for each in found.schema_.columns] == ["real", "category"]
    draws = found.sample(500, random_state=0)
    assert set(draws[:, 1]) == {0.0, 1.0, 2.0}
    whole = found.score_samples(np.tile([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]], (1, 1)))
    assert np.exp(whole).sum() == pytest.approx(norm.pdf(0), rel=0.3)  # the marginal density of the first at 0
