"""Columns given to an estimator: draws, log p of others, quantiles; of arrays and of frames."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest

from marginflow.base.data_warning import DataWarning
from marginflow.estimators import FlowDensity

QUICK = {"model": {"hidden": [16, 16], "orders": 1}, "train": {"epochs": 3}}


def frame(number: int = 500, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    segment = rng.integers(0, 3, number)
    return pd.DataFrame({
        "segment": np.array(list("abc"))[segment], "price": np.round(10 + 5 * segment + rng.gamma(2, 2, number), 1),
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, number), "D"),
        "age": np.where(rng.random(number) < 0.2, np.nan, rng.normal(40, 5, number).round()),
    })  # fmt: skip


@pytest.fixture(scope="module")
def density() -> FlowDensity:
    return FlowDensity("mixed", options=QUICK, random_state=0).fit(frame())


def test_samples_have_the_given_values_and_the_types_that_were_fitted(density: FlowDensity) -> None:
    found = density.sample(20, random_state=0, given={"segment": "b"})  # the first column: exact, no warning
    assert list(found.columns) == ["segment", "price", "day", "age"]
    assert set(found["segment"]) == {"b"}
    assert found["day"].dtype == frame()["day"].dtype
    for blank in (pd.NA, float("nan"), pd.Series([pd.NA], dtype="Int64"), [None]):
        with pytest.warns(DataWarning, match="weighted draws"):
            assert density.sample(2, random_state=0, given={"age": blank})["age"].isna().all()
    days = np.array(["2024-02-01", "2024-02-03"], "datetime64[ns]")
    with pytest.warns(DataWarning, match="weighted draws"):
        assert list(density.sample(2, random_state=0, given={"day": days})["day"]) == list(pd.to_datetime(days))
    with pytest.warns(DataWarning, match="weighted draws"):
        assert list(density.sample(2, random_state=0, given={"age": range(40, 42)})["age"]) == [40, 41]
    with pytest.warns(DataWarning, match=r"20 rows come from \d+ distinct ones of 256 weighted draws"):
        found = density.sample(20, random_state=0, given={"day": datetime.date(2024, 2, 1), "age": None})
    assert set(found["day"]) == {pd.Timestamp("2024-02-01")}
    assert found["age"].isna().all()
    several = pd.DataFrame({"segment": ["a", "c"], "price": [15.0, 25.5]})
    found = density.sample(5, random_state=0, given=several)
    assert list(found["segment"]) == list("acaca")
    assert list(found["price"]) == [15.0, 25.5, 15.0, 25.5, 15.0]
    found = density.sample(4, random_state=0, given={"segment": ["a", "c"]})
    assert list(found["segment"]) == list("acac")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"segment": "d"}, "given: column 'segment' holds 'd', none of the levels a, b, c"),
        ({"pirce": 3}, "no column 'pirce'; did you mean price"),
        ({"price": 10.05}, "between the steps of its grid"),
        ({"segment": None}, "has no value"),
        ({}, "given must be values by name"),
        ("price", "given must be values by name"),
        ({"segment": ["a", "b"], "price": [1.0]}, "as many values as each other"),
        ({"segment": [1, "b"]}, "must hold values of one type"),
        ({"segment": []}, "must hold one value at least"),
    ],
)
def test_what_cannot_be_given_is_told(density: FlowDensity, given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        density.sample(3, given=given)


def test_log_p_given_others_adds_up_to_log_p(density: FlowDensity) -> None:
    rows = frame(20, 1)
    rest = density.score_given(rows, ["segment", "price"])
    first = density.score_given(rows, "segment", "price")
    assert rest.exact
    assert first.exact
    whole = density.score_samples(rows)
    of_segment = whole - rest.log_prob.numpy() - first.log_prob.numpy()
    by_segment = dict(zip(rows["segment"], of_segment, strict=True))
    assert sum(map(math.exp, by_segment.values())) == pytest.approx(1, abs=1e-3)
    estimated = density.score_given(rows, "age")
    assert estimated.high
    assert float(estimated.standard_error.min()) > 0
    rows.loc[0, "price"], rows.loc[1, "segment"] = 12.345, "z"
    odd = density.score_given(rows, "segment", "price").log_prob
    assert odd[0] == -math.inf
    assert odd[:2].tolist()[1] != odd[:2].tolist()[1]  # NaN
    assert odd[2:].isfinite().all()
    assert density.score_given(rows, "segment", "day").log_prob[0].isfinite()
    with pytest.raises(ValueError, match=r"given must name columns .*'agee'; did you mean age\?"):
        density.score_given(rows, "agee")


def test_quantiles_are_of_the_type_of_the_column(density: FlowDensity) -> None:
    rows = frame(30, 2)
    found = density.predict_quantiles(rows.drop(columns="age"), "age", [0.1, 0.5, 0.9])
    assert found.shape == (30, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    assert (found == found.round()).all()
    found = density.predict_quantiles(rows, "price", [0.25, 0.75], num_samples=200)
    middle = frame(20_000, 3).groupby("segment")["price"].median()
    for segment, (low, high) in zip(rows["segment"], found, strict=True):
        assert low - 4 < middle[segment] < high + 4
    days = density.predict_quantiles(rows, "day", [0.5], num_samples=200)
    assert np.issubdtype(days.dtype, np.datetime64)
    with pytest.raises(ValueError, match="is a category"):
        density.predict_quantiles(rows, "segment")
    with pytest.raises(ValueError, match=r"between 0 and 1; got 1\.5"):
        density.predict_quantiles(rows, "age", [1.5])
    with pytest.raises(ValueError, match=r"column must name columns"):
        density.predict_quantiles(rows, "agee")


def test_a_context_may_be_among_the_given_values() -> None:
    rows = frame(300)
    density = FlowDensity("mixed", options=QUICK, random_state=0).fit(rows[["segment", "price"]], context=rows[["age"]])
    found = density.sample(6, random_state=0, given={"segment": "a", "age": 41})
    assert set(found["segment"]) == {"a"}
    assert set(density.sample(6, random_state=0, given={"age": 41}).columns) == {
        "segment",
        "price",
    }  # the context alone
    found = density.sample(6, random_state=0, given={"segment": "a"}, context=pd.DataFrame({"age": [40.0, np.nan]}))
    assert len(found) == 6
    with pytest.raises(ValueError, match="modelled given 'age'"):
        density.sample(6, given={"segment": "a"})
    with pytest.raises(ValueError, match="given twice"):
        density.sample(6, given={"segment": "a", "age": 41}, context=pd.DataFrame({"age": [40.0]}))


def test_arrays_are_given_by_the_names_of_their_columns() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    X[:, 2] += 2 * X[:, 0]
    density = FlowDensity("gaussian_mixture", options={"model": {"components": 1}}, random_state=0).fit(X)
    found = density.sample(4000, random_state=0, given={"x2": 3.0})
    assert isinstance(found, np.ndarray)
    assert (found[:, 2] == 3).all()
    assert found[:, 0].mean() == pytest.approx(6 / 5, abs=0.1)
    quantiles = density.predict_quantiles(X[:5], "x2", [0.5])
    np.testing.assert_allclose(quantiles[:, 0], 2 * X[:5, 0], atol=0.3)
    with pytest.raises(ValueError, match=r"X must have 3 columns.*shape \(5, 2\)"):
        density.predict_quantiles(X[:5, :2], "x2")
    flow = FlowDensity("maf", options={"train": {"epochs": 1}}, random_state=0).fit(X)
    for call in (lambda: flow.sample(3, given={"x2": 1.0}), lambda: flow.score_given(X, "x2"),
                 lambda: flow.predict_quantiles(X, "x2")):  # fmt: skip
        with pytest.raises(ValueError, match=r"no factor for each column.*fit FlowDensity\('mixed'\)"):
            call()


def test_frames_of_polars_come_back_as_such() -> None:
    rows = pl.from_pandas(frame(200))
    density = FlowDensity("mixture", options={"model": {"components": 2}}, random_state=0).fit(rows)
    found = density.sample(5, random_state=0, given=pl.DataFrame({"segment": ["a"], "age": [None]}))
    assert isinstance(found, pl.DataFrame)
    assert found["age"].null_count() == 5
    assert density.predict_quantiles(rows[:3], "price").shape == (3, 3)
