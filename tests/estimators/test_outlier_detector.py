"""FlowOutlierDetector: thresholds counted by hand, and how many fresh rows are flagged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from marginflow.base.data_warning import DataWarning
from marginflow.estimators import FlowOutlierDetector

SMALL: dict[str, Any] = {"model": {"hidden": [16], "blocks": 2}, "train": {"epochs": 5}}


def rows(num_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]])


def detector(contamination: float, **settings: Any) -> FlowOutlierDetector:
    return FlowOutlierDetector(contamination, model="maf", options=SMALL, random_state=0, **settings)


def test_the_threshold_is_the_kth_smallest_of_held_out_rows() -> None:
    found = detector(0.1).fit(rows(1500))
    held_out = np.sort(found.held_out_.log_prob.numpy())
    kth = held_out[int(0.1 * (len(held_out) + 1)) - 1]
    assert found.offset_ == np.nextafter(kth, np.inf)  # the k-th itself is below it
    x = rows(300, seed=1)
    assert np.allclose(found.decision_function(x), found.score_samples(x) - found.offset_)
    assert (found.predict(x) == np.where(found.score_samples(x) < found.offset_, -1, 1)).all()
    assert (found.predict([[0.0, 0.0], [50.0, -50.0]]) == [1, -1]).all()


def test_of_fresh_rows_the_share_is_flagged() -> None:
    """Of a density that is the same from two thirds of the rows and from all; others improve, and flag fewer."""
    shares, one = [], {"model": {"components": 1}}
    for seed in range(6):
        found = FlowOutlierDetector(0.1, model="gaussian_mixture", options=one, random_state=0).fit(rows(1200, seed))
        shares.append((found.predict(rows(3000, seed + 100)) < 0).mean())
    held_out = len(found.held_out_.log_prob)
    error = np.sqrt(0.1 * 0.9 / held_out / len(shares))  # of the threshold, by far the larger part
    assert abs(np.mean(shares) - 0.1) < 3 * error


def test_of_the_fitted_rows_the_share_is_flagged_without_novelty() -> None:
    x = rows(300)
    found = detector(0.05, novelty=False)
    assert (found.fit_predict(x) < 0).sum() == 15
    worst = np.argsort(found.score_samples(x))[:15]
    assert set(np.flatnonzero(found.predict(x) < 0)) == set(worst)


def test_weights_count_in_the_share_without_novelty() -> None:
    x = rows(100)
    weight = np.where(np.arange(100) < 50, 2, 1)
    found = detector(0.1, novelty=False).fit(x, sample_weight=weight)
    repeated = detector(0.1, novelty=False).fit(x.repeat(weight, 0))
    assert found.offset_ == repeated.offset_
    assert 12 <= weight[found.predict(x) < 0].sum() <= 15  # of 150, as near as rows of weight 2 let it


def test_fit_predict_is_for_the_fitted_rows_alone() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_predict'") as caught:
        _ = detector(0.1).fit_predict
    assert "with novelty=True call predict on other rows" in str(caught.value.__cause__)
    assert callable(detector(0.1, novelty=False).fit_predict)


def test_too_few_held_out_rows_are_said_and_nothing_is_flagged() -> None:
    with pytest.warns(
        DataWarning, match=r"50 held-out rows are too few to tell .*take a contamination of 0\.02 or more"
    ):
        found = detector(0.01).fit(rows(50))
    assert found.offset_ == -np.inf
    assert (found.predict([[0.0, 0.0], [500.0, -500.0]]) == 1).all()


@pytest.mark.parametrize("few", [False, True])
def test_rows_with_values_that_were_never_seen_are_outliers(few: bool) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"city": rng.choice(["Rome", "Oslo"], 300), "age": rng.integers(18, 80, 300)})
    found = FlowOutlierDetector(0.05, model="mixture", options={"model": {"components": 2}}, random_state=0).fit(frame)
    if few:  # so that nothing else is flagged
        found.offset_ = -np.inf
    new = frame.head(50).astype({"age": float})
    plain = found.predict(new)
    new.loc[3, "city"], new.loc[8, "age"] = "Lyon", 30.5
    told = r"(?s)2 of 50 have .*row 3: column 'city' holds 'Lyon', none .*row 8: column 'age' holds 30\.5, between"
    for call, odd in ((found.predict, -1), (found.decision_function, -np.inf), (found.score_samples, -np.inf)):
        with pytest.warns(DataWarning, match=told) as caught:
            scores = call(new)
        assert [each.filename for each in caught] == [__file__]
        assert scores[[3, 8]].tolist() == [odd, odd]
    with pytest.warns(DataWarning, match=told):
        assert (np.delete(found.predict(new), [3, 8]) == np.delete(plain, [3, 8])).all()


@pytest.mark.parametrize("contamination", [0, -0.1, 0.6, "auto", True, None])
def test_a_contamination_that_is_no_share_is_refused(contamination: Any) -> None:
    with pytest.raises(ValueError, match=r"contamination must be a number above 0 and at most 0\.5"):
        detector(contamination).fit(rows(50))
