"""Data frames given to estimators: what is learnt of their columns, and samples of the same types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.estimators import FlowDensity

N = 240


def orders() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": pd.Categorical(rng.choice(["S", "M", "L"], N, p=[0.5, 0.3, 0.2]), ["S", "M", "L"], ordered=True),
            "price": np.round(rng.lognormal(size=N), 2),
            "count": rng.integers(0, 9, N),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 60, N), unit="D"),
            "length": rng.normal(size=N),
            "member": pd.array([None if i % 9 == 0 else bool(i % 2) for i in range(N)], dtype="boolean"),
        }
    )


def mixture(**options: Any) -> FlowDensity:
    return FlowDensity("mixture", options={"model": {"components": 8}}, random_state=0, **options)


def test_samples_of_pandas_polars_and_arrow_are_as_the_rows_were() -> None:
    frame = orders()
    for rows in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame, preserve_index=False)):
        found = mixture().fit(rows)
        draws = found.sample(50, random_state=1)
        assert type(draws) is type(rows)
        assert draws.shape == (50, 6)
        if isinstance(rows, pd.DataFrame):
            pd.testing.assert_series_equal(draws.dtypes, rows.dtypes)
        elif isinstance(rows, pl.DataFrame):
            assert draws.schema == rows.schema
        else:
            assert draws.schema.types == rows.schema.types
        assert np.isfinite(found.score_samples(draws)).all()


def test_all_libraries_give_one_density() -> None:
    frame = orders()
    found = mixture().fit(frame)
    scores = found.score_samples(frame)
    assert list(found.feature_names_in_) == list(frame.columns)
    assert (found.score_samples(pl.from_pandas(frame)) == scores).all()
    assert (mixture().fit(pa.Table.from_pandas(frame)).score_samples(frame) == scores).all()


def test_the_share_of_a_level_is_its_probability() -> None:
    frame = orders()[["size"]]
    found = mixture().fit(frame)
    levels = pd.DataFrame({"size": pd.Categorical(["S", "M", "L"], ["S", "M", "L"], ordered=True)})
    assert np.exp(found.score_samples(levels)) == pytest.approx(
        frame["size"].value_counts(normalize=True, sort=False).to_numpy(), abs=0.03
    )


def test_a_frame_of_real_numbers_is_an_array_with_names() -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    options = {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 2}}
    named, plain = (
        FlowDensity("maf", options=options, random_state=0).fit(rows) for rows in (pl.DataFrame(x, ["a", "b"]), x)
    )
    assert named.schema_ is None
    assert list(named.feature_names_in_) == ["a", "b"]
    assert named.sample(3).columns == ["a", "b"]
    assert (named.score_samples(pl.DataFrame(x, ["a", "b"])) == plain.score_samples(x)).all()
    assert (plain.score_samples(pd.DataFrame(x)) == plain.score_samples(x)).all()


def test_whole_numbers_for_a_flow_become_real() -> None:
    options = {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 1}}
    found = FlowDensity("maf", options=options, random_state=0)
    with pytest.warns(DataWarning, match="'count' takes 9 values"):
        found.fit(orders()[["count", "length"]])
    assert [each.kind for each in found.schema_.columns] == ["real", "real"]
    assert (found.sample(9)["count"] % 1 != 0).all()


def test_what_numbers_rows_is_left_out_and_samples_lack_it() -> None:
    frame = orders().assign(id=np.arange(N) + 1)[["id", "size", "length"]]
    with pytest.warns(DataWarning, match=r"left out 'id'.*schema=\{'id': \{'kind': 'integer'\}\}") as caught:
        found = mixture().fit(frame)
    assert {each.filename for each in caught} == {__file__}
    assert (found.n_features_in_, list(found.sample(3).columns)) == (3, ["size", "length"])
    assert (found.score_samples(frame[["size", "length"]]) == found.score_samples(frame)).all()


def test_contexts_are_frames_too() -> None:
    frame = orders()
    found = mixture().fit(frame[["price", "size"]], context=frame[["count", "member"]])
    scores = found.score_samples(frame[["price", "size"]], context=frame[["count", "member"]])
    assert scores.shape == (N,)
    draws = found.sample(5, context=frame[["count", "member"]].head(2))
    pd.testing.assert_series_equal(draws.dtypes, frame[["price", "size"]].dtypes)
    with pytest.raises(DataError, match="'size' are columns of X and of the context"):
        mixture().fit(frame[["size", "price"]], context=frame[["size"]])


def test_what_is_said_of_columns_counts() -> None:
    found = mixture(schema={"count": {"kind": "category"}}).fit(orders())
    assert found.schema_["count"].kind == "category"
    assert found.sample(5)["count"].dtype == np.int64


def test_a_categorical_of_numbers_is_a_category() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"shop": pd.Categorical(rng.choice([10, 20, 30], N)), "length": rng.normal(size=N)})
    found = mixture().fit(frame)
    assert found.schema_["shop"].kind == "category"
    assert found.sample(5)["shop"].dtype == frame["shop"].dtype


def test_columns_that_do_not_fit_are_named_with_arguments_that_mend_it() -> None:
    frame = orders()
    with pytest.raises(DataError, match=r"(?s)'size' cannot be of kind 'real'.*'day'.*or model columns.*schema=\{\}"):
        FlowDensity("maf").fit(frame)
    found = mixture().fit(frame)
    remedy = r"(?s)'size' holds 'medium', none .*train with schema=\{'size': \{'pool': 20\}\}"
    with pytest.warns(DataWarning, match=remedy) as caught:
        assert np.isneginf(found.score_samples(frame.assign(size="medium"))).all()
    assert [each.filename for each in caught] == [__file__]
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing"):
        found.score_samples(frame[["size"]])
    with pytest.raises(ValueError, match="give a data frame with size, price"):
        found.score_samples(np.zeros((3, 6)))


def test_rows_with_cells_that_were_never_seen_have_density_0_and_leave_the_others_as_they_are() -> None:
    frame = orders()
    found = mixture().fit(frame)
    odd = frame.head(20).astype({"size": str, "count": float, "day": str})
    odd.loc[2, "size"], odd.loc[4, "count"], odd.loc[5, "day"], odd.loc[6, "length"] = "medium", 2.5, "soon", np.nan
    odd.loc[9, ["price", "count"]] = [1.2345, -0.5]
    wrong = np.isin(np.arange(20), [2, 4, 5, 6, 9])
    for rows in (odd, pl.from_pandas(odd), pa.Table.from_pandas(odd)):
        with pytest.warns(DataWarning, match="5 of 20 have density 0") as caught:
            scores = found.score_samples(rows)
        lines = str(caught[0].message).splitlines()
        assert len(caught) == 1
        assert lines[1:5] == [
            "  row 2: column 'size' holds 'medium', none of its levels",
            "  row 4: column 'count' holds 2.5, between the steps of its grid, 1 apart",
            "  row 5: column 'day' holds 'soon', no date as 2024-04-24",
            "  row 6: column 'length' has no value, where the schema has none missing",
        ]
        assert "'price' holds 1.2345, between" in lines[5]
        assert "'count' holds -0.5, between" in lines[5]
        assert lines[6].endswith("train with schema={'size': {'pool': 20}, 'length': {'blank': True}}")
        assert (np.isneginf(scores) == wrong).all()
        assert (scores[~wrong] == found.score_samples(frame.head(20))[~wrong]).all()
    with pytest.warns(DataWarning, match="5 of 20"):
        assert found.score(odd) == -np.inf
    with pytest.raises(DataError, match="'count' holds 'many' in row 0"):
        found.score_samples(odd.assign(count="many"))
    with pytest.raises(ValueError, match="now missing"):
        found.score_samples(odd.drop(columns="day"))


def test_a_context_that_was_never_seen_has_rows_of_density_0() -> None:
    frame = orders()
    found = mixture().fit(frame[["price"]], context=frame[["size"]])
    new = pd.DataFrame({"size": ["S", "medium", "L"]})
    with pytest.warns(DataWarning, match="1 of 3 .*\n  row 1: column 'size' holds 'medium'"):
        scores = found.score_samples(frame[["price"]].head(3), context=new)
    assert np.isneginf(scores).tolist() == [False, True, False]


def test_real_numbers_that_are_missing_in_a_frame_have_density_0() -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    options = {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 1}}
    found = FlowDensity("maf", options=options, random_state=0).fit(pd.DataFrame(x, columns=["a", "b"]))
    odd = x.copy()
    odd[3, 0], odd[7, 1], odd[8, 1] = np.nan, np.inf, 1e200
    with pytest.warns(DataWarning, match="3 of 100 (?s:.*)row 3: column 'a' has no value"):
        scores = found.score_samples(pd.DataFrame(odd, columns=["a", "b"]))
    assert np.isneginf(scores).nonzero()[0].tolist() == [3, 7, 8]
    rest = np.isfinite(scores)
    assert (scores[rest] == found.score_samples(pd.DataFrame(x, columns=["a", "b"]))[rest]).all()


def test_numbers_without_names_are_an_array_unless_some_are_missing() -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    options = {"model": {"hidden": [8], "blocks": 1}, "train": {"epochs": 2}}
    found = FlowDensity("maf", options=options, random_state=0).fit(pd.DataFrame(x))
    assert isinstance(found.sample(2), np.ndarray)
    frame = pd.DataFrame(np.where(x > 1.5, np.nan, x))
    with pytest.warns(DataWarning, match="names of columns are text here: '0', '1'"):
        of_any = mixture().fit(frame)
    assert list(of_any.sample(2).columns) == [0, 1]
    assert np.isfinite(of_any.score_samples(frame)).all()
