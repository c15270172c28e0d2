"""Rows of numbers from a file and back: each type and spelling, and what does not fit."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.data.column_options import ColumnOptions
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.cells import Texts
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.read import read

RNG = np.random.default_rng(0)
N = 40
OTHER = np.tile([0, 1], N // 2)  # a column beside, so that one is always left


def both_ways(column: Any, **options: Any) -> tuple[Column, pa.Table, np.ndarray]:
    """A column's entry in the schema, the table made of its rows, and these."""
    columns = {"a": column, "other": OTHER}
    schema = drafted(columns, {"a": ColumnOptions(**options)})
    x, context, weights = encoded(columns, Schema.from_json(schema.to_json()))
    assert x.dtype == torch.float64
    assert context is None
    assert weights is None
    return schema["a"], decoded(x, schema), x[:, 0].numpy()


def repeated(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Forty values of these, and of nothing."""
    return pa.array([values[i % len(values)] if i % 7 else None for i in range(N)], kind)


DAYS = [date(2020, 2, 29), date(1969, 12, 31), date(2024, 1, 1)]
MOMENTS = [datetime(2020, 2, 29, 12, 30, 15), datetime(1969, 12, 31, 23, 59, 59), datetime(2024, 1, 1, 1, 2, 3)]
TYPED = {
    **{
        f"{kind}": (repeated([-3, 4, 5, 17], kind), "integer")
        for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
    },
    **{
        f"{kind}": (repeated([3, 4, 5, 17], kind), "integer")
        for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    },
    "far": (repeated([2**62, 2**62 + 1, 2**62 + 5], pa.int64()), "integer"),
    "whole floats": (repeated([1.0, 2.0, 7.0], pa.float64()), "integer"),
    "bits": (repeated([0, 1], pa.int64()), "boolean"),
    "half": (repeated([0.5, 1.5, 2.25], pa.float16()), "decimal"),
    "single": (repeated([0.1, 1.7, 250000.3], pa.float32()), "decimal"),
    "double": (repeated([0.1, 1.7, 2.25], pa.float64()), "decimal"),
    "reals": (pa.array(RNG.normal(size=N)), "real"),
    "positive reals": (pa.array(RNG.lognormal(size=N)), "positive"),
    "decimal": (repeated([Decimal("1.50"), Decimal("-2.25"), Decimal("3.10")], pa.decimal128(10, 2)), "decimal"),
    "wide decimal": (repeated([Decimal("1.50"), Decimal("-2.25"), Decimal("3.10")], pa.decimal256(50, 4)), "decimal"),
    "truth": (repeated([True, False], pa.bool_()), "boolean"),
    "text": (repeated(["b", "a", "ä c"], pa.string()), "category"),
    "large text": (repeated(["b", "a"], pa.large_string()), "category"),
    "text in views": (repeated(["b", None, "a"], pa.string_view()), "category"),
    "bytes in views": (repeated([b"b", b"a"], pa.binary_view()), "category"),
    "dictionary": (repeated(["b", "a"], pa.string()).dictionary_encode(), "category"),
    "numbers in a dictionary": (repeated([5, 7, 5], pa.int64()).dictionary_encode(), "integer"),
    "date32": (repeated(DAYS, pa.date32()), "date"),
    "date64": (repeated(DAYS, pa.date64()), "date"),
    "midnights": (repeated(DAYS, pa.date32()).cast(pa.timestamp("ns")), "date"),
    **{f"timestamp {unit}": (repeated(MOMENTS, pa.timestamp(unit)), "timestamp") for unit in ("s", "ms", "us", "ns")},
    "zone": (repeated(MOMENTS, pa.timestamp("us", "UTC")), "timestamp"),
    "time32": (repeated([time(1, 2, 3), time(23, 59)], pa.time32("s")), "time"),
    "time64": (repeated([time(1, 2, 3, 7), time(23, 59)], pa.time64("us")), "time"),
    **{
        f"duration {unit}": (repeated([timedelta(seconds=3), timedelta(days=2)], pa.duration(unit)), "duration")
        for unit in ("s", "ms", "us", "ns")
    },
}


@pytest.mark.parametrize("name", TYPED)
def test_a_column_of_each_type_comes_back_as_it_was(name: str) -> None:
    column, kind = TYPED[name]
    found, table, x = both_ways(column)
    assert (found.kind, found.blank) == (kind, column.null_count > 0)
    assert np.array_equal(np.isnan(x), column.is_null().to_numpy(zero_copy_only=False))
    expected = column.cast(column.type.value_type) if name.startswith("numbers in") else column
    back = table["a"].combine_chunks()
    assert back.type == column.type or name.startswith("numbers in")
    assert back.to_pylist() == expected.to_pylist()
    if kind not in ("real", "positive"):
        assert np.array_equal(x[~np.isnan(x)], np.rint(x[~np.isnan(x)]))


def test_an_ordered_dictionary_keeps_its_order_and_its_unused_levels() -> None:
    places = pa.array([2, 0, 1, None] * 10, pa.int8())
    column = pa.DictionaryArray.from_arrays(places, pa.array(["low", "mid", "high", "top"]), ordered=True)
    found, table, x = both_ways(column)
    assert (found.kind, found.levels) == ("ordered", ("low", "mid", "high", "top"))
    assert x[:3].tolist() == [2, 0, 1]
    assert table["a"].type == column.type
    assert table["a"].to_pylist() == column.to_pylist()


CELLS = {
    "whole": ["12", "-3", "40"],
    "padded": ["02139", "00501", "94105"],
    "cents": ["1.50", "20.00", "0.05"],
    "point": ["5.0", "0.25", "17.125"],
    "short": ["5", "0.25", "17.125"],
    "truth": ["TRUE", "FALSE"],
    "Truth": ["True", "False"],
    "text": ["b", "a", "None"],
    "German dates": ["31.12.2023", "01.02.2024"],
    "American dates": ["12/31/2023", "1/2/2024"],
    "moments": ["2024-01-01 08:30:00", "2023-12-31 23:59:59"],
    "times": ["08:30", "23:15"],
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_text_are_written_as_they_were(name: str, tmp_path: Path) -> None:
    cells = [CELLS[name][i % len(CELLS[name])] if i % 7 else "NA" for i in range(N)]
    path = tmp_path / "t.csv"
    path.write_text("a,other\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells)))
    columns = read(path).columns
    schema = drafted(columns, path=path)
    x, _, _ = encoded(columns, schema, path)
    back = decoded(x, schema, as_written=True)["a"].to_pylist()
    assert back == [None if cell == "NA" else cell for cell in cells]
    typed = decoded(x, schema)["a"]
    again, _, _ = encoded({"a": typed, "other": OTHER}, schema)  # of another format
    assert np.array_equal(again, x, equal_nan=True)


def test_decimal_commas_and_groups_are_written_as_they_were() -> None:
    cells = ["1.234,50", "-12,25", "1.000.000,00", "0,75"] * 10
    column = Texts(pa.chunked_array([cells]), ",", ".")
    columns = {"a": column, "other": OTHER}
    schema = drafted(columns)
    x, _, _ = encoded(columns, schema)
    assert decoded(x, schema)["a"].to_pylist()[:4] == [1234.5, -12.25, 1e6, 0.75]
    assert decoded(x, schema, as_written=True)["a"].to_pylist() == cells


def test_dates_and_many_numbers_in_a_column_of_text_are_no_text() -> None:
    days = pa.array([f"2024-01-{1 + i % 31:02}T00:30:00Z" for i in range(N)], pa.large_string())
    found, table, _ = both_ways(days)
    assert (found.kind, found.type) == ("timestamp", "large_string timestamp[s] %Y-%m-%dT%H:%M:%SZ")
    assert table["a"].combine_chunks() == days
    numbers = pa.array([f"{value:.3f}" for value in RNG.normal(size=N)])
    found, table, _ = both_ways(numbers)
    assert found.kind == "real"
    assert table["a"].combine_chunks() == numbers
    assert both_ways(repeated(["1", "2", "3"], pa.string()))[0].kind == "category"


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=30), st.integers(0, 2**52))
def test_whole_numbers_of_any_size_are_exact(values: list[int], spread: int) -> None:
    near = [min(values[0], 2**63 - 1 - spread) + each % (spread + 1) for each in values]
    near += near  # else they may number the rows
    columns = {"a": np.array(near, np.int64), "other": np.arange(len(near)) % 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        schema = drafted(columns, {"a": ColumnOptions(kind="integer")})
    x, _, _ = encoded(columns, schema)
    assert decoded(x, schema)["a"].to_pylist() == near


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30), st.integers(1, 6))
def test_decimals_of_any_number_of_digits_are_exact(units: list[int], digits: int) -> None:
    values = np.array([*units, *units, *units]) / 10**digits
    columns = {"a": values, "other": np.arange(len(values)) % 2}
    schema = drafted(columns, {"a": ColumnOptions(kind="decimal")})
    x, _, _ = encoded(columns, schema)
    assert decoded(x, schema)["a"].to_numpy().tolist() == (values + 0.0).tolist()


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100), min_size=1, max_size=30
    )
)
def test_reals_are_exact(values: list[float]) -> None:
    columns = {"a": np.array(values), "other": np.arange(len(values)) % 2 == 0}
    schema = (
        drafted(columns | {"b": np.array([0, 1] * len(values))[: len(values)]}, {"a": ColumnOptions(kind="real")})
        if len(values) > 1
        else None
    )
    if schema is None:
        return
    x, _, _ = encoded(columns | {"b": np.array([0, 1] * len(values))[: len(values)]}, schema)
    assert decoded(x, schema)["a"].to_numpy().tolist() == [each + 0.0 for each in values]


def test_nanoseconds_do_not_go_through_floats() -> None:
    first = 1_700_000_000_123_456_789
    column = pa.array([first, first + 1, first + 7] * 10, pa.timestamp("ns"))
    _, table, x = both_ways_of(column)
    assert x[:3].tolist() == [0, 1, 7]
    assert table["a"].combine_chunks() == column


def both_ways_of(column: Any) -> tuple[Column, pa.Table, np.ndarray]:
    columns = {"a": column, "other": np.arange(len(column)) % 2}
    schema = drafted(columns)
    x, _, _ = encoded(columns, schema)
    return schema["a"], decoded(x, schema), x[:, 0].numpy()


def test_context_and_weights_come_apart() -> None:
    columns = {
        "a": pa.array(["x", "y"] * 20),
        "w": RNG.uniform(size=N),
        "g": pa.array(["u", "v", "u", "w"] * 10),
        "n": OTHER,
    }
    schema = drafted(columns, given=["g"], weights="w")
    x, context, weights = encoded(columns, schema)
    assert schema.names == ["a", "n"]
    assert x.shape == (N, 2)
    assert context is not None
    assert context[:4, 0].tolist() == [0, 1, 0, 2]
    assert weights is not None
    assert np.array_equal(weights, columns["w"])
    assert decoded(x, schema).column_names == ["a", "n"]


def schema_of_all() -> Schema:
    columns = {
        "size": pa.array(["S", "M"] * 20),
        "cents": np.tile([0.25, 1.99], 20),
        "day": pa.array([date(2024, 1, 1), date(2024, 1, 2)] * 20),
        "n": np.tile([3, 5], 20),
        "r": RNG.normal(size=N),
    }
    return drafted(columns)


FITS: dict[str, Any] = {"size": ["S"], "cents": [0.25], "day": [date(2024, 3, 1)], "n": [4], "r": [0.1]}
MISFITS = {
    "size": (
        ["L"],
        "holds 'L' in row 7 (counted from 0), none of the levels M, S: leave it out, "
        "or train with --set schema.size.pool=20",
    ),
    "cents": ([0.255], "holds 0.255 in row 7 (counted from 0), between the steps of its grid, 0.01 apart"),
    "day": (
        [datetime(2024, 3, 1, 8)],
        "holds 2024-03-01 08:00:00.000000 in row 7 (counted from 0), between the steps of its grid, 1 day apart",
    ),
    "n": ([4.5], "holds 4.5 in row 7 (counted from 0), between the steps of its grid, 1 apart"),
    "r": ([math.inf], "holds inf in row 7 (counted from 0), too large a number"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_value_that_does_not_fit_is_named_with_its_row(name: str) -> None:
    values, message = MISFITS[name]
    columns = {each: pa.array(FITS[each] * 3) for each in FITS}
    fits = [datetime(2024, 3, 1)] if name == "day" else FITS[name]
    columns[name] = pa.array(fits * 2 + values)
    with pytest.raises(DataError) as caught:
        encoded(columns, schema_of_all(), Path("t.parquet"), first=5)
    assert str(caught.value) == f"t.parquet: column {name!r} {message}"


def test_all_misfits_are_one_error_and_missing_columns_another() -> None:
    columns = {each: pa.array([None] if each == "n" else MISFITS[each][0]) for each in FITS}
    with pytest.raises(
        DataError, match=r"t.parquet: 5 columns do not fit the schema \(rows are counted from 0\)"
    ) as caught:
        encoded(columns, schema_of_all(), Path("t.parquet"))
    assert len(caught.value.lines) == 6
    assert "'n' has no value in row 0" in str(caught.value)
    del columns["n"]
    with pytest.raises(DataError, match=r"t\.parquet lacks 'n'; it has 'size', 'cents'"):
        encoded(columns, schema_of_all(), Path("t.parquet"))


def test_text_among_numbers_is_named() -> None:
    columns = {"a": Texts(pa.chunked_array([["1", "2"] * 20])), "b": OTHER}
    schema = drafted(columns)
    with pytest.raises(
        DataError, match=r"column 'a' holds 'many' in row 3 \(counted from 0\), no number; 2 such cells"
    ):
        encoded({"a": Texts(pa.chunked_array([["1", "many", "lots"]])), "b": OTHER[:3]}, schema, first=2)


def test_pooled_levels_stand_for_others_too() -> None:
    cells = pa.array(["a"] * 20 + ["b"] * 15 + ["c", "d", "e", "c", None])
    columns = {"a": cells, "n": OTHER}
    schema = drafted(columns, {"a": ColumnOptions(pool=5)})
    assert (schema["a"].levels, schema["a"].pooled) == (("a", "b", "(other)"), True)
    x, _, _ = encoded({"a": pa.array(["b", "new", "e"]), "n": OTHER[:3]}, schema)
    assert x[:, 0].tolist() == [1, 2, 2]
    assert decoded(x, schema)["a"].to_pylist() == ["b", "(other)", "(other)"]


@pytest.mark.parametrize("kind", ["category", "ordered", "integer", "decimal", "date", "timestamp", "boolean"])
def test_whatever_kind_a_column_may_be_it_comes_back(kind: str) -> None:
    texts = {
        name: Texts(pa.chunked_array([[cells[i % len(cells)] for i in range(N)]])) for name, cells in CELLS.items()
    }
    columns = {**{name: column for name, (column, _) in TYPED.items()}, **texts}
    came = 0
    for name, column in columns.items():
        if name == "padded" and kind in ("integer", "decimal"):  # as numbers they have no zeros in front
            continue
        try:
            found, table, x = both_ways(column, kind=kind)
        except DataError:
            continue
        came += 1
        schema = drafted({"a": column, "other": OTHER}, {"a": ColumnOptions(kind=found.kind)})
        again, _, _ = encoded({"a": table["a"], "other": OTHER}, schema)
        assert np.array_equal(again[:, 0], x, equal_nan=True), name
        if isinstance(column, Texts):
            rows = np.stack([x, OTHER], 1)
            assert decoded(rows, schema, as_written=True)["a"].to_pylist() == column.cells.to_pylist(), name
        else:
            assert table["a"].to_pylist() == column.to_pylist(), name
    assert came > 3, "hardly a column can be of this kind"


def test_parts_of_a_file_are_encoded_as_the_whole() -> None:
    cells = {name: [each[i % len(each)] if i % 7 else "?" for i in range(N)] for name, each in CELLS.items()}
    columns = {name: Texts(pa.chunked_array([each])) for name, each in cells.items()}
    with pytest.warns(DataWarning, match=r"'\?' taken for missing values"):
        schema = drafted(columns)
    whole, _, _ = encoded(columns, schema)
    for start in range(0, N, 3):  # in few rows times may be dates, truth values text, and numbers whole
        part = {name: Texts(pa.chunked_array([each[start : start + 3]])) for name, each in cells.items()}
        assert np.array_equal(encoded(part, schema, first=start)[0], whole[start : start + 3], equal_nan=True)


def test_a_context_and_weights_may_be_missing_from_other_rows() -> None:
    columns = {"a": pa.array(["x", "y"] * 20), "w": np.ones(N), "g": OTHER, "h": np.tile([1, 2, 3, 1], 10)}
    schema = drafted(columns, given=["g", "h"], weights="w")
    assert encoded({"a": columns["a"]}, schema)[1:] == (None, None)
    with pytest.raises(DataError, match="table lacks 'h'"):
        encoded({"a": columns["a"], "g": OTHER}, schema)


def test_levels_of_another_format_are_the_same() -> None:
    schema = drafted(
        {"a": np.tile([1, 2, 3], 12), "b": pa.array([True, False] * 18)}, {"a": ColumnOptions(kind="category")}
    )
    other = {"a": pa.array([3.0, 1.0]), "b": Texts(pa.chunked_array([["TRUE", "false"]]))}
    assert encoded(other, schema)[0].tolist() == [[2, 1], [0, 0]]
    assert encoded({"a": pa.array(["2.0", "1"]), "b": pa.array([0, 1])}, schema)[0].tolist() == [[1, 0], [0, 1]]


def test_arrays_of_any_layout_are_read() -> None:
    rows = RNG.poisson(3, (N, 2)).astype(">f4")
    schema = drafted({"a": rows[:, 0], "b": rows[:, 1]})
    x, _, _ = encoded({"a": rows[:, 0], "b": rows[:, 1]}, schema)
    assert np.array_equal(x, rows)
    assert decoded(x, schema)["a"].type == pa.float32()


def test_a_column_without_values_fits_where_blanks_may_be() -> None:
    columns = {"a": pa.array([1, None] * 20), "b": pa.array(["x", None, "y", "x"] * 10), "n": OTHER}
    schema = drafted(columns, {"a": ColumnOptions(kind="integer")})
    for empty in (pa.nulls(2), pa.array([None, None], pa.float64())):
        x, _, _ = encoded({"a": empty, "b": empty.cast(pa.string()), "n": OTHER[:2]}, schema)
        assert x[:, :2].isnan().all()


def test_samples_beyond_a_type_take_its_nearest_value() -> None:
    schema = drafted({"a": pa.array([1, 2, 5] * 10, pa.uint8()), "b": pa.array([time(1), time(2), time(3)] * 10)})
    table = decoded(torch.tensor([[900.0, -5.0], [-1.0, 10.0], [7.0, 1.0]], dtype=torch.float64), schema)
    assert table["a"].to_pylist() == [255, 0, 7]
    assert table["b"].to_pylist()[0] == time(0)
    with pytest.raises(ValueError, match=r"rows of 2 columns are needed; got shape \(3, 1\)"):
        decoded(torch.zeros(3, 1), schema)


def test_a_decoded_table_is_read_as_what_it_was() -> None:
    columns = {
        "day": pa.array([f"{1 + i % 28}.{1 + i % 12}.2023" for i in range(N)]),
        "eur": pa.array(["1.50", "2.75"] * 20),
    }
    texts = {name: Texts(pa.chunked_array([cells])) for name, cells in columns.items()}
    schema = drafted(texts)
    x, _, _ = encoded(texts, schema)
    sink = io.BytesIO()
    csv.write_csv(decoded(x, schema, as_written=True), sink)
    lines = sink.getvalue().decode().replace('"', "").splitlines()
    assert lines[1:] == [
        f"{a},{b}" for a, b in zip(columns["day"].to_pylist(), columns["eur"].to_pylist(), strict=True)
    ]
