"""The schema that a file's columns ask for, and what contradicts what is asked of it."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from marginflow.base.data_error import DataError
from marginflow.data.column_options import ColumnOptions, options_in
from marginflow.data.grid import Grid
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.cells import Texts
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded

RNG = np.random.default_rng(0)
N = 200
PLACES = np.arange(N)
TRUTHS = RNG.integers(0, 2, N)


def texts(*cells: object) -> Texts:
    """A column of a text table that repeats these cells."""
    return Texts(pa.chunked_array([[str(cells[i % len(cells)]) for i in range(N)]]))


@contextmanager
def said(*lines: str) -> Iterator[None]:
    """Exactly these warnings, by their beginnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found = [str(each.message) for each in caught]
    assert len(found) == len(lines), found
    for line, each in zip(lines, found, strict=True):
        assert each.startswith(line), each


def column(values: Any, **options: Any) -> Column:
    return drafted({"a": values, "beside": TRUTHS[: len(values)]}, {"a": ColumnOptions(**options)})["a"]


KINDS: dict[str, tuple[Any, str]] = {
    "counts": (RNG.poisson(5, N), "integer"),
    "counts as floats": (RNG.poisson(5, N).astype(float), "integer"),
    "counts with gaps": (np.where(PLACES % 3 == 0, np.nan, RNG.poisson(5, N)), "integer"),
    "large counts, each once": (RNG.permutation(N) * 1009 + 3, "integer"),
    "cents": (RNG.integers(0, 500, N) / 100, "decimal"),
    "cents that hardly repeat": (RNG.permutation(N * 50)[:N] / 100, "real"),
    "reals": (RNG.normal(size=N), "real"),
    "reals above 0": (RNG.normal(100, 1, N), "real"),
    "skewed above 0": (RNG.lognormal(size=N), "positive"),
    "skewed with a zero": (np.append(RNG.lognormal(size=N - 1), 0), "real"),
    "rounded beyond use": (np.round(RNG.normal(size=N), 6), "real"),
    "bits": (TRUTHS, "boolean"),
    "bits as floats": (TRUTHS.astype(float), "boolean"),
    "truth": (TRUTHS > 0, "boolean"),
    "a value or none": (np.where(TRUTHS > 0, 7.0, np.nan), "category"),
    "text": (texts("a", "b", "c"), "category"),
    "yes and no": (texts("yes", "no"), "category"),
    "truth in text": (texts("TRUE", "FALSE"), "boolean"),
    "dates in text": (texts("2024-01-31", "2023-05-01"), "date"),
    "moments in text": (texts("2024-01-31 10:00", "2023-05-01 11:30"), "timestamp"),
    "midnights in text": (texts("1/8/90 0:00", "12/31/99 0:00"), "date"),
    "times in text": (texts("10:00", "11:30"), "time"),
    "codes with zeros": (texts("007", "010", "100"), "category"),
    "whole decimals in text": (texts("5.0", "7.0"), "integer"),
}
LEFT_OUT: dict[str, tuple[Any, str, str]] = {
    "a constant": (np.full(N, 2.5), "constant", "always 2.5"),
    "nothing": (pa.nulls(N), "constant", "no values"),
    "nothing in text": (texts("NA"), "constant", "no values"),
    "row numbers, mixed": (RNG.permutation(N) + 100, "identifier", "whole numbers, each once"),
    "names, each once": (pa.array([f"N{i}" for i in PLACES]), "identifier", "text, 200 different values in 200 rows"),
    "names": (pa.array([f"N{i // 2 * 2 + i % 2 * (i % 3)}" for i in PLACES]), "text", ""),
    "sentences": (pa.array([f"it was row {i} again" for i in PLACES]), "text", "free text, 200 different values"),
    "hashes": (RNG.integers(-(2**62), 2**62, N), "identifier", "whole numbers of too many digits"),
    "numbers but for one": (
        Texts(pa.chunked_array([[*map(str, RNG.normal(size=N - 1)), "x"]])),
        "text",
        "numbers but for text, 'x' in row 199",
    ),
    "lists": (pa.array([[1, 2]] * N), "text", "holds list<item: int64>"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_column_has_the_kind_that_a_person_would_give_it(name: str) -> None:
    values, kind = KINDS[name]
    with said():
        assert column(values).kind == kind


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_no_data_is_left_out_with_its_reason(name: str) -> None:
    values, kind, reason = LEFT_OUT[name]
    with said(f"table: left out 'a' ({kind}: {reason}"):
        found = column(values)
    assert (found.kind, found.is_modelled) == (kind, False)
    assert found.reason.startswith(reason)
    with said():  # no need to say what was asked for
        assert drafted({"a": values, "b": TRUTHS}, drop=["a"])["a"].reason == "left out on request"


def test_a_column_named_like_a_number_of_rows_is_one_unless_it_is_meant() -> None:
    values = {"customer_id": RNG.permutation(N) * 17, "b": TRUTHS}
    with said("table: left out 'customer_id' (identifier: whole numbers, each once)"):
        assert drafted(values)["customer_id"].kind == "identifier"
    for options in ({"meant": ["customer_id"]}, {"options": {"customer_id": ColumnOptions(kind="integer")}}):
        with said():
            assert drafted(values, **options)["customer_id"].kind == "integer"
    with said("table: left out 'index' (identifier: row numbers)"):
        drafted({"index": PLACES, "b": TRUTHS})
    with said("table: left out 'id' (identifier: counts the rows)"):
        drafted({"id": PLACES + 1, "b": TRUTHS})


@pytest.mark.parametrize(
    ("values", "grid"),
    [
        (PLACES % 50 * 25, Grid(25)),
        (np.tile([0, 50], N // 2), Grid(1)),  # two values do not tell a step
        (PLACES % 50 + 0.5, Grid(10, 5, 1)),
        (PLACES % 50 / 4, Grid(25, 0, 2)),
        (np.array(["2024-01-01"], "M8[D]") + PLACES % 50 * 7, Grid(7, 19723)),
        (
            np.array(["2024-01-01T00:30"], "M8[ns]") + (PLACES % 50 * 3600 * 10**9).astype("m8[ns]"),
            Grid(3600 * 10**9, 1704069000 * 10**9),
        ),
    ],
)
def test_steps_are_those_that_chance_would_not_keep_to(values: np.ndarray, grid: Grid) -> None:
    assert column(pa.array(values)).grid == grid


def test_levels_stand_in_order_of_numbers_or_names_or_as_asked() -> None:
    assert column(texts(10, 9, "x")).levels == ("10", "9", "x")
    assert column(pa.array(["10", "9", "8", "8"] * 50)).levels == ("8", "9", "10")
    assert column(np.tile([10, 9, -1, 9], 50), kind="category").levels == ("-1", "9", "10")
    sizes = column(texts("S", "L", "M"), kind="ordered", levels=["S", "M", "L"])
    assert (sizes.kind, sizes.levels) == ("ordered", ("S", "M", "L"))
    assert column(texts("S", "L", "M"), levels="S,M,L").kind == "category"
    assert column(np.tile([1.0, 2.0], 100), levels=[2, 1, 3]).levels == ("2", "1", "3")


def test_question_marks_are_blanks_and_it_is_said() -> None:
    with said("table: '-', '?' taken for missing values in 'a', 'b'"):
        schema = drafted({"a": texts(1, 2, "?", "-"), "b": texts("x", "?", "None"), "c": TRUTHS})
    assert schema["a"].blank
    assert schema["b"].levels == ("None", "x")


def test_dates_that_may_be_two_are_text_and_it_is_said() -> None:
    with said(
        "table: 'a' may be day or month first, and is taken for text: for dates give "
        "--set schema.a.format=%d/%m/%Y or --set schema.a.format=%m/%d/%Y"
    ):
        assert column(texts("01/02/2024", "03/04/2024")).kind == "category"
    with pytest.raises(DataError, match=r"'a' may be day or month first: give --set schema.a.format=%d/%m/%Y or"):
        column(texts("01/02/2024", "03/04/2024"), kind="date")


@pytest.mark.parametrize("as_arrow", [False, True])
@pytest.mark.parametrize(
    ("format", "cells", "kind", "type"),
    [
        ("%d/%m/%Y", ["1/2/2020", "3/2/2020", "10/4/2020"], "date", "date32[day] %-d/%-m/%Y"),
        ("%m/%d/%Y", ["01/02/2020", "03/02/2020"], "date", "date32[day] %m/%d/%Y"),
        ("%d.%m.%y %H:%M", ["01.02.20 10:30", "03.02.20 11:00"], "timestamp", "timestamp[s] %d.%m.%y %H:%M"),
        ("%I:%M %p", ["10:30 AM", "11:00 PM"], "time", "time32[s] %I:%M %p"),
        ("%Y%m%d", ["20240131", "20240201"], "date", "date32[day] %Y%m%d"),
    ],
)  # fmt: skip
def test_dates_are_read_in_the_format_that_is_given(
    format: str, cells: list[str], kind: str, type: str, as_arrow: bool
) -> None:
    values = pa.array(cells * 20) if as_arrow else texts(*cells)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        columns = {"a": values, "beside": np.arange(len(cells * 20) if as_arrow else len(values.cells)) % 2}
        schema = drafted(columns, {"a": ColumnOptions(format=format)})
    found = schema["a"]
    assert (found.kind, found.type) == (kind, f"{'string' if as_arrow else 'text'} {type}")
    x, _, _ = encoded(columns, schema)
    assert found.grid is not None
    units = found.grid.values(x[: len(cells), 0].numpy())
    expected = [datetime.strptime(cell, format) for cell in cells]
    if kind == "date":
        assert [date(1970, 1, 1) + timedelta(int(each)) for each in units] == [each.date() for each in expected]
    else:
        epoch = datetime(1970, 1, 1) if kind == "timestamp" else datetime(1900, 1, 1)
        assert [epoch + timedelta(seconds=int(each)) for each in units] == expected


def test_a_format_that_does_not_fit_is_refused_with_the_row() -> None:
    cells = texts("1/2/2020", "3/13/2020", "1/2/2020")
    with pytest.raises(DataError, match=r"'a' holds '3/13/2020' in row 1 .*not written as format = '%d/%m/%Y'"):
        column(cells, format="%d/%m/%Y")
    with pytest.raises(DataError, match="'a' is to be of kind 'integer', and '%d/%m/%Y' is the format of a date"):
        column(cells, format="%d/%m/%Y", kind="integer")
    with pytest.raises(DataError, match="'a' holds no text, but int64, which has no format: leave format out"):
        column(np.arange(N), format="%d/%m/%Y")
    for wrong, message in {
        "%Y-%m": "it lacks the day",
        "%j": "%j is unknown here",
        "%d/%d/%Y": "its day stands there twice",
        "%H:%S": "it holds neither a date nor a time of day",
        "%I:%M": "%I and %p go together",
        "day": "neither a date nor a time",
    }.items():
        with pytest.raises(DataError, match=rf"schema.a.format = '{wrong}': .*{message}"):
            options_in({"a": {"format": wrong}})


def test_bounds_atoms_steps_and_a_transform_are_kept_in_the_unit_of_rows() -> None:
    found = column(RNG.integers(10, 20, N) / 4, lower=1, upper=9.75, atoms=[9.75, 2], step=0.25)
    assert (found.kind, found.lower, found.upper, found.atoms) == ("decimal", 4, 39, (8, 39))
    days = np.array(["2024-01-01"], "M8[D]") + PLACES % 50
    found = column(pa.array(days), lower=date(2024, 1, 1), upper="2024-12-31", atoms=["2024-02-29"])
    assert (found.lower, found.upper, found.atoms) == (0, 365, (59,))
    times = pa.array([time(8), time(9, 30)] * 100)
    assert column(times, step=1800, lower=time(7), upper="23:30").upper == 31
    found = column(RNG.lognormal(size=N), transform="log", lower=0)
    assert found.warp is not None
    assert (found.warp.shape, found.lower) == ("log", 0.0)
    assert column(RNG.lognormal(size=N), kind="real").kind == "real"
    assert column(np.arange(N), kind="integer", blank=True).blank


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no whole numbers": (
        [1, 2.5],
        {"kind": "integer"},
        "cannot be of kind 'integer': it holds 2.5 in row 1 (counted from 0), no whole number",
    ),
    "text as numbers": (
        texts("a", 1),
        {"kind": "real"},
        "cannot be of kind 'real': it holds 'a' in row 0 (counted from 0), no number; 100 such cells",
    ),
    "numbers as dates": (
        [20240131, 20240201],
        {"kind": "date"},
        "cannot be of kind 'date': it holds numbers, '20240131' in row 0 (counted from 0), no dates",
    ),
    "text as dates": (
        texts("2024-01-31", "soon"),
        {"kind": "date"},
        "cannot be of kind 'date': it holds 'soon' in row 1 (counted from 0), no date as 2024-04-24; 100 such cells",
    ),
    "zero as positive": ([3.5, 0.0], {"kind": "positive"}, "it holds 0 in row 1 (counted from 0), no positive number"),
    "three as truth": ([1, 2, 3, 1], {"kind": "boolean"}, "it has 3 different values; of kind boolean there are two"),
    "ten thousand levels": (
        pa.array([f"{i}x" for i in range(10_001)]),
        {"kind": "category"},
        "has 10,001 levels, more than 10,000: pool rare levels: schema={'a': {'pool': 20}}; correct",
    ),
    "unknown level": (
        texts("S", "L"),
        {"levels": ["S", "M"]},
        "holds 'L' in row 1 (counted from 0), none of the levels S, M: name it, or set pool",
    ),
    "off the grid": (
        [0.5, 0.75, 0.5],
        {"step": 0.5},
        "holds 0.75 in row 1 (counted from 0), between the steps of its grid, 0.5 apart",
    ),
    "step of levels": (texts("S", "L"), {"step": 1}, "is of kind 'category', which has no step"),
    "bounds of levels": (texts("S", "L"), {"lower": 1}, "is of kind 'category', which has no lower"),
    "contradictory bounds": (
        [1, 2, 3, 2],
        {"lower": 5, "upper": 0},
        "has the bound lower = 5, which must be below",
    ),
    "below": ([1, 2, 3, 2], {"lower": 2}, "holds 1 in row 0 (counted from 0), below lower = 2"),
    "above": ([1.5, 2.5, 1.5, 2.5], {"upper": 2}, "holds 2.5 in row 1 (counted from 0), above upper = 2"),
    "atom beyond bounds": (
        [1, 2, 3, 2],
        {"lower": 0, "upper": 5, "atoms": [1, 9]},
        "has the atom 9, beyond the bounds lower = 0, upper = 5",
    ),
    "bound off the grid": ([1, 2, 3, 2], {"lower": 0.5}, "has lower = 0.5, between the steps of its grid, 1 apart"),
    "a number as date": (
        pa.array([date(2024, 1, 1), date(2024, 1, 2)] * 2),
        {"lower": 3},
        "has lower = 3, which is not a",
    ),
    "missing": (
        [1.0, np.nan, 2.0, 1.0],
        {"blank": False},
        "has no value in row 1 (counted from 0), 1 in all, where none may be missing",
    ),
    "infinite": ([1.5, np.inf, 2.5, 1.5], {}, "holds inf in row 1 (counted from 0), too large a number"),
    "no values": (pa.nulls(4), {"kind": "real"}, "it has no values"),
    "lists": (pa.array([[1]] * 4), {"kind": "category"}, "holds list<item: int64>, no levels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_values_contradict_is_named_with_value_and_row(name: str) -> None:
    values, options, message = WRONG[name]
    values = values if isinstance(values, Texts | pa.Array) else np.array(values)
    columns = {"a": values, "beside": np.arange(len(values)) % 2}
    with pytest.raises(DataError) as caught:
        drafted(columns, {"a": ColumnOptions(**options)})
    assert str(caught.value).startswith("table: column 'a' ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("correct that, or leave it out: drop=['a']")


def test_all_problems_are_one_error() -> None:
    columns = {"a": texts("x", "y"), "b": np.array([1.5] * N), "c": TRUTHS}
    with pytest.raises(DataError, match="table: 4 problems with its columns:") as caught:
        drafted(
            columns,
            {
                "a": ColumnOptions(kind="integer"),
                "b": ColumnOptions(kind="integer", blank=False),
                "c": ColumnOptions(lower=1, transform="log"),
            },
        )
    assert [line.split("'")[1] for line in caught.value.lines[1:]] == ["a", "b", "c", "c"]
    assert caught.value.remedies == ()  # nothing would be left
    with pytest.raises(DataError, match=r"table has no column 'agee'; it has 'age', 'b': did you mean age\?"):
        drafted({"age": TRUTHS, "b": TRUTHS}, {"agee": ColumnOptions(kind="integer")})
    with pytest.raises(DataError, match="no column is left to be modelled"):
        drafted({"a": np.zeros(N), "b": TRUTHS}, given=["b"])
    with pytest.raises(DataError, match="column 'a' cannot be given, it is left out: always 0"):
        drafted({"a": np.zeros(N), "b": TRUTHS}, given=["a"])


def test_weights_are_numbers_of_each_row() -> None:
    schema = drafted({"a": TRUTHS, "w": RNG.uniform(size=N)}, weights="w")
    assert (schema["w"].kind, schema.names) == ("weight", ["a"])
    for values, message in (
        (np.append(np.ones(N - 1), -1), "holds -1 in row 199"),
        (np.append(np.ones(N - 1), np.nan), "has no value in row 199"),
        (np.zeros(N), "is 0 in every row"),
    ):
        with pytest.raises(DataError, match=message):
            drafted({"a": TRUTHS, "w": values}, weights="w")
    with pytest.raises(DataError, match="'v' is a second column of weights, beside 'w'"):
        drafted({"a": TRUTHS, "w": np.ones(N), "v": np.ones(N)}, {"v": ColumnOptions(kind="weight")}, weights="w")


def test_options_name_what_is_wrong_with_them() -> None:
    assert options_in({"a": {"kind": "integer", "levels": "S,M", "atoms": 0}})["a"].levels == ["S", "M"]
    wrong = {"a": {"kind": "intger", "foo": 1}, "b": {"pool": 1, "lower": [1]}, "c": 3}
    with pytest.raises(DataError) as caught:
        options_in(wrong)
    assert list(caught.value.lines) == [
        "schema.a.kind = 'intger': did you mean integer?",
        "unknown key schema.a.foo; there are kind, blank, levels, pool, step, lower, upper, atoms, transform, format",
        "schema.b.pool = 1: input should be greater than or equal to 2",
        "schema.b.lower = [1]: a number or a date is needed, or none",
        "schema.c = 3: it is a table of options, such as --set schema.c.kind=integer",
    ]


def test_a_hundred_thousand_rows_and_a_thousand_columns_take_no_time() -> None:
    rows = 100_000
    columns = {
        "real": RNG.normal(size=rows),
        "cents": Texts(pa.chunked_array([[f"{each / 100:.2f}" for each in RNG.integers(0, 10**6, rows)]])),
        "name": Texts(pa.chunked_array([[f"n{each}" for each in RNG.integers(0, 900, rows)]])),
        "day": pa.array(np.array(["2000-01-01"], "M8[D]") + RNG.integers(0, 9000, rows)).cast(pa.string()),
    }
    start = clock.perf_counter()
    schema = drafted(columns)
    encoded(columns, schema)
    assert clock.perf_counter() - start < 4  # about 0.4 s on a quiet machine
    many = {f"b{i}": RNG.integers(0, 2, 100) for i in range(1000)}
    start = clock.perf_counter()
    schema = drafted(many)
    assert {each.kind for each in schema.columns} == {"boolean"}
    assert encoded(many, schema)[0].shape == (100, 1000)
    assert clock.perf_counter() - start < 6


def test_a_schema_survives_as_json() -> None:
    columns = {
        "a": texts("x", 'ü "y"', "?"),
        "b": RNG.integers(0, 99, N) / 100,
        "c": PLACES * 3,
        "d": RNG.normal(size=N),
    }
    with said("table: '?' taken for missing values in 'a'"):
        schema = drafted(columns)
    assert Schema.from_json(schema.to_json()) == schema
