"""Data frames of pandas, polars and Arrow as columns, and rows as such frames again, type for type."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.frames import FrameType, content_of, is_frame

N = 60
DAY = pd.Timestamp("2024-01-01")


def some(rng: np.random.Generator, *values: object) -> list[Any]:
    return [values[i] for i in rng.integers(len(values), size=N)]


def of_pandas() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    days = pd.to_timedelta(rng.integers(0, 30, N), unit="D")
    hours = pd.to_timedelta(rng.integers(0, 300, N), unit="h")
    return pd.DataFrame(
        {
            "int": rng.integers(0, 5, N),
            "uint8": rng.integers(0, 3, N).astype("uint8"),
            "Int64": pd.array(some(rng, 1, 2, None), dtype="Int64"),
            "float": np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N)),
            "float32": rng.normal(size=N).astype("float32"),
            "Float32": pd.array(some(rng, 1.5, 2.5, None), dtype="Float32"),
            "bool": rng.random(N) < 0.5,
            "boolean": pd.array(some(rng, True, False, None), dtype="boolean"),
            "str": some(rng, "a", "b"),
            "string": pd.array(some(rng, "a", "b", None), dtype="string"),
            "object": pd.Series(some(rng, "a", "b", None), dtype=object),
            "truth": pd.Series(some(rng, True, False, None), dtype=object),
            "decimal": some(rng, Decimal("1.25"), Decimal("0.50")),
            "date": some(rng, dt.date(2024, 1, 1), dt.date(2024, 1, 2)),
            "ordered": pd.Categorical(some(rng, "x", "y"), categories=["y", "x", "z"], ordered=True),
            "category": pd.Categorical(some(rng, "x", "y", None)),
            "us": (DAY + days).astype("datetime64[us]"),
            "ns": (DAY + hours).astype("datetime64[ns]"),
            "zone": (DAY + hours).tz_localize("Europe/Berlin"),
            "timedelta": hours,
            "arrow": pd.array(some(rng, 1, 2, None), dtype="int64[pyarrow]"),
            "sparse": pd.arrays.SparseArray(rng.integers(0, 2, N).astype(float)),
        }
    )


def of_polars() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "int16": rng.integers(0, 4, N).astype(np.int16),
            "float32": rng.normal(size=N).astype("f4"),
            "blanks": some(rng, 1, 2, None),
            "bool": rng.random(N) < 0.5,
            "text": some(rng, "x", "y"),
            "enum": pl.Series(some(rng, "x", "y"), dtype=pl.Enum(["y", "x", "z"])),
            "categorical": pl.Series(some(rng, "x", "y", None), dtype=pl.Categorical),
            "decimal": some(rng, Decimal("1.25"), Decimal("0.50")),
            "date": some(rng, dt.date(2024, 1, 1), dt.date(2024, 1, 2)),
            "zone": pl.Series(some(rng, dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1))).dt.replace_time_zone("UTC"),
            "duration": some(rng, dt.timedelta(hours=1), dt.timedelta(hours=5)),
            "time": some(rng, dt.time(1), dt.time(13)),
        }
    )


def again(frame: Any) -> Any:
    """A frame through rows of numbers."""
    content, kind = content_of(frame)
    schema = drafted(content.columns)
    return kind.frame(decoded(encoded(content.columns, schema)[0], schema))


def test_pandas_comes_back_value_for_value_and_type_for_type() -> None:
    pd.testing.assert_frame_equal(again(of_pandas()), of_pandas(), check_exact=True)


def test_polars_comes_back_value_for_value_and_type_for_type() -> None:
    polars.testing.assert_frame_equal(again(of_polars()), of_polars(), check_exact=True)


def test_arrow_comes_back_value_for_value_and_type_for_type() -> None:
    table = of_polars().to_arrow()
    assert again(table).schema.remove_metadata() == pa.schema([each.remove_metadata() for each in table.schema])
    assert again(table).to_pylist() == table.to_pylist()
    batch = table.combine_chunks().to_batches()[0]
    assert again(batch).to_pylist() == table.to_pylist()


class Exchanged:
    """A frame of a library that is not known, which speaks a protocol only."""

    def __init__(self, table: pa.Table, protocol: str) -> None:
        self.columns = table.column_names
        setattr(type(self), protocol, lambda _, *given, **options: getattr(table, protocol)(*given, **options))


@pytest.mark.parametrize("protocol", ["__arrow_c_stream__", "__dataframe__"])
def test_any_frame_is_read_by_the_protocols(protocol: str) -> None:
    frame = type("Frame", (Exchanged,), {})(pa.table({"a": [1.5, 2.5], "b": ["x", "y"]}), protocol)
    assert is_frame(frame)
    content, kind = content_of(frame)
    assert {name: column.to_pylist() for name, column in content.columns.items()} == {"a": [1.5, 2.5], "b": ["x", "y"]}
    assert kind.library == "arrow"


@pytest.mark.parametrize("value", [np.zeros((2, 2)), [[1.0]], pd.Series([1.0]), pl.Series([1.0]), {"a": [1.0]}, "text"])
def test_what_has_no_columns_is_no_frame(value: object) -> None:
    assert not is_frame(value)


def test_objects_of_several_types_are_refused_all_at_once() -> None:
    frame = pd.DataFrame({"a": [1, "b"], "fine": [1, 2], "c": [{"x": 1}, 2.5]})
    with pytest.raises(DataError, match=r"2 columns(?s:.)*'a' holds int, str(?s:.)*'c' holds dict, float"):
        content_of(frame)


def test_two_columns_of_a_name_are_refused() -> None:
    with pytest.raises(DataError, match="'a' stands for several columns"):
        content_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_frame_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="has 0 rows and 1 columns"):
        content_of(pl.DataFrame({"a": []}))


def test_names_that_are_no_text_become_text_and_come_back() -> None:
    frame = pd.DataFrame({2020: [1.0, 2.5, 3.5, 3.0], "b": ["x", "y", "x", "x"]})
    with pytest.warns(DataWarning, match="names of columns are text here: '2020'"):
        content, kind = content_of(frame)
    assert list(content.columns) == ["2020", "b"]
    assert list(kind.frame(pa.table({"2020": [1.0], "b": ["x"]})).columns) == [2020, "b"]


def test_an_index_with_a_name_is_left_out_and_said() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.5]}, index=pd.Index([7, 8], name="key"))
    with pytest.warns(DataWarning, match=r"the index, 'key', is left out: frame.reset_index\(\)"):
        content, _ = content_of(frame)
    assert list(content.columns) == ["a"]


def test_whole_numbers_modelled_as_real_stay_real() -> None:
    kind = content_of(pd.DataFrame({"a": [1, 2]}))[1]
    assert kind.frame(pa.table({"a": [1.5]}))["a"].tolist() == [1.5]


def test_blanks_of_a_file_s_columns_are_those_of_nullable_types() -> None:
    found = FrameType("pandas").frame(pa.table({"a": [1, None], "b": [True, None], "c": [1.5, None]}))
    assert [str(each) for each in found.dtypes] == ["Int64", "boolean", "float64"]
