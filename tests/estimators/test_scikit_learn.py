"""The estimators inside scikit-learn: its own checks, searches, pipelines, copies."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from marginflow.estimators import FlowDensity, FlowOutlierDetector

SMALL: dict[str, Any] = {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 2}}
QUICK: dict[str, Any] = {"model": "maf", "options": {**SMALL, "train": {"epochs": 10}}}


def rows(num_rows: int = 120) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_rows, 2)) * [1.0, 3.0]


@pytest.mark.slow
@pytest.mark.usefixtures("single")
@pytest.mark.parametrize(
    "estimator",
    [FlowDensity(), FlowOutlierDetector(0.1, **QUICK), FlowOutlierDetector(novelty=False, **QUICK)],
    ids=["density", "novelty", "outliers"],
)
def test_it_passes_all_checks_of_scikit_learn(estimator: BaseEstimator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables as small as those of the checks
        found = check_estimator(estimator, on_skip=None, on_fail=None)
    assert {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"} == {}
    assert [each["check_name"] for each in found if each["status"] == "skipped"] == ["check_array_api_input"]


def test_a_grid_search_takes_the_better_model() -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 300)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * rng.normal(size=(300, 2))
    options = {"model": {"components": 1}}, {"model": {"components": 12}}
    search = GridSearchCV(FlowDensity("mixture", random_state=0), {"options": options}, cv=2).fit(ring)
    assert search.best_params_ == {"options": options[1]}
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == scores[1] > scores[0] + 0.2
    assert search.best_estimator_.sample(2).shape == (2, 2)


def test_a_grid_search_goes_over_models() -> None:
    options = {"train": {"epochs": 1}, "model": {"hidden": [8]}}
    search = GridSearchCV(FlowDensity(options=options, random_state=0), {"model": ["maf", "nsf"]}, cv=2).fit(rows())
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validation_scores_held_out_rows() -> None:
    x = rows()
    scores = cross_val_score(FlowDensity("maf", options=SMALL, random_state=0), x, cv=3)
    first = FlowDensity("maf", options=SMALL, random_state=0).fit(x[40:])
    assert scores[0] == first.score_samples(x[:40]).mean()


def test_it_ends_a_pipeline() -> None:
    x = rows()
    made = make_pipeline(StandardScaler(), FlowDensity("maf", options=SMALL, random_state=0)).fit(x)
    scaled = StandardScaler().fit_transform(x)
    assert made.score(x) == FlowDensity("maf", options=SMALL, random_state=0).fit(scaled).score(scaled)


def test_frames_go_through_cross_validation_and_pipelines() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.choice(["S", "M"], 90), "length": rng.normal(size=90)})
    model = FlowDensity("mixture", options={"model": {"components": 4}}, random_state=0)
    assert np.isfinite(cross_val_score(model, frame, cv=2)).all()
    scaling = make_column_transformer((StandardScaler(), ["length"]), remainder="passthrough")
    made = make_pipeline(scaling.set_output(transform="pandas"), model).fit(frame)
    assert np.isfinite(made.score(frame))


def test_weights_are_routed() -> None:
    x, weight = rows(), np.random.default_rng(0).integers(1, 4, 120).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        model = FlowDensity("maf", options=SMALL, random_state=0).set_fit_request(sample_weight=True)  # pyright: ignore
        search = GridSearchCV(model, {"random_state": [0]}, cv=2).fit(x, sample_weight=weight)
        made = make_pipeline(StandardScaler(), model)
        made[0].set_fit_request(sample_weight=False)
        made.fit(x, sample_weight=weight)
    alone = FlowDensity("maf", options=SMALL, random_state=0).fit(x, sample_weight=weight)
    assert (search.best_estimator_.score_samples(x) == alone.score_samples(x)).all()


@pytest.mark.parametrize("model", ["maf", "maf_mog", "mixed", "mixture"])
def test_a_pickle_is_the_same_density(model: str) -> None:
    x = rows()
    found = FlowDensity(model, options={"train": {"epochs": 1}}, random_state=0).fit(x)
    again = pickle.loads(pickle.dumps(found))
    assert (again.score_samples(x) == found.score_samples(x)).all()
    assert (again.sample(4, random_state=0) == found.sample(4, random_state=0)).all()
    assert again.held_out_.threshold(0.2) == found.held_out_.threshold(0.2)


def test_a_clone_has_the_settings_and_was_not_fitted() -> None:
    found = FlowOutlierDetector(0.2, model="maf", options=SMALL, random_state=3).fit(rows())
    copy = clone(found)
    assert copy.get_params() == found.get_params()
    assert not hasattr(copy, "model_")
