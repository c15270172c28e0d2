"""Tables with columns of any kind as data sets: rows of a schema, contexts, splits that do not leak."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import visits
from pyarrow import csv, feather, parquet

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.data import DataSet, Schema, load
from marginflow.data.tables import stream
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.other_rows import chunks_for
from marginflow.data.tables.table import table

pytestmark = pytest.mark.filterwarnings("ignore:.*left out 'id':marginflow.base.data_warning.DataWarning")
COLUMNS = ("city", "age", "paid", "height", "member", "day")


def written(folder: Path, content: pa.Table, name: str = "visits.parquet") -> str:
    path = folder / name
    if name.endswith(".csv"):
        csv.write_csv(content, path)
    elif name.endswith(".feather"):
        feather.write_feather(content, path)
    else:
        parquet.write_table(content, path)
    return str(path)


def schema_of(data: DataSet) -> Schema:
    assert data.schema is not None
    return data.schema


def every_row(data: DataSet) -> torch.Tensor:
    return torch.cat([torch.as_tensor(split.x[:]) for split in (data.train, data.validation, data.test)])


def as_sets(x: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in x.nan_to_num(-1e9).tolist()}


@pytest.mark.parametrize("name", ["visits.csv", "visits.parquet", "visits.feather"])
def test_rows_are_numbers_of_the_schema_and_say_what_the_file_says(tmp_path: Path, name: str) -> None:
    content = visits()
    data = table(written(tmp_path, content, name), schema={})
    assert data.columns == tuple(schema_of(data).names) == COLUMNS
    assert data.train.x.dtype == torch.float64
    assert [len(each.x) for each in (data.train, data.validation, data.test)] == [240, 30, 30]
    x = every_row(data)
    back = decoded(x, schema_of(data)).to_pylist()
    expected = content.select(COLUMNS).to_pylist()
    assert sorted(back, key=str) == sorted(expected, key=str)
    ages = content["age"].to_numpy(zero_copy_only=False)
    shares = x[:, 1].isnan().sum(), (x[:, 2] == 0).sum()
    assert shares == (np.isnan(ages).sum(), (content["paid"].to_numpy() == 0).sum())


def test_what_is_known_of_columns_comes_from_training_rows_alone(tmp_path: Path) -> None:
    data = table(written(tmp_path, visits()), schema={})
    city = schema_of(data)["city"]
    counts = torch.bincount(data.train.x[:, 0].long(), minlength=3).double()
    np.testing.assert_allclose(city.shares, counts / counts.sum())
    height = schema_of(data)["height"]
    seen = data.train.x[:, 3]
    assert height.quantiles[0] == seen[~seen.isnan()].min()
    assert height.quantiles[-1] == seen[~seen.isnan()].max()
    assert height.blank_share == pytest.approx(float(seen.isnan().double().mean()))
    assert 0.0 in schema_of(data)["paid"].atoms


def test_options_override_what_values_tell(tmp_path: Path) -> None:
    path = written(tmp_path, visits())
    data = table(path, schema={"age": {"kind": "real"}, "member": {"kind": "category"}}, drop="day,id")
    assert (schema_of(data)["age"].kind, schema_of(data)["member"].kind) == ("real", "category")
    assert schema_of(data)["day"].reason == "left out on request"
    assert data.columns == COLUMNS[:-1]


def test_columns_of_any_kind_become_the_context(tmp_path: Path) -> None:
    content = visits()
    path = written(tmp_path, content)
    for named in (["age", "city"], "age,city"):
        data = table(path, schema={}, context=named)
        assert data.columns == ("paid", "height", "member", "day")
        assert [column.name for column in schema_of(data).given] == ["city", "age"]  # in the order of the file
        assert data.spec.context_features == 2
        context = data.train.context
        assert context is not None
        assert context.dtype == torch.float64
        assert bool(context[:, 1].isnan().any())
    whole = table(path, schema={})
    both = torch.cat([data.train.context, data.train.x], 1)
    assert as_sets(both) == as_sets(whole.train.x)


def test_a_table_of_numbers_takes_a_context_without_a_schema(tmp_path: Path) -> None:
    path = str(tmp_path / "t.npy")
    rows = np.random.default_rng(0).normal(size=(300, 3))
    np.save(path, rows)
    data = load("table", path=path, context="x2")
    assert data.columns == ("x0", "x1")
    both = torch.cat([torch.cat([each.x, each.context], 1) for each in (data.train, data.validation, data.test)])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(rows, axis=0))
    assert {column.kind for column in schema_of(data).modelled} == {"real"}
    text = written(tmp_path, visits(), "a.csv")
    with pytest.raises(DataError, match="column 'city' cannot be of kind 'real'"):
        table(text, context="age")


def test_rows_of_a_group_stay_together_and_the_group_is_no_column(tmp_path: Path) -> None:
    content = visits().append_column("customer", pa.array([f"c{i % 60}" for i in range(300)]))
    path = written(tmp_path, content)
    data = table(path, schema={}, group="customer")
    assert data.columns == COLUMNS
    whole = decoded(every_row(data), schema_of(data)).to_pylist()
    customer = dict(zip(map(str, content.select(COLUMNS).to_pylist()), content["customer"].to_pylist(), strict=True))
    parts = np.split([customer[str(row)] for row in whole], [len(data.train.x), len(data.train.x) + 30])
    train, validation, test = (set(each) for each in parts)
    assert len(train) + len(validation) + len(test) == 60
    with pytest.raises(ValueError, match="split by group or in time; got group='customer' and split='time'"):
        table(path, schema={}, group="customer", split="time")
    with pytest.raises(DataError, match=r"has no column 'custmer'.*did you mean customer"):
        table(path, schema={}, group="custmer")
    with pytest.warns(DataWarning, match="levels that no training row has, .* in column 'customer'"):
        given = table(path, schema={}, group="customer", context="customer")
    assert [column.name for column in schema_of(given).given] == ["customer"]


@pytest.mark.parametrize("how", ["time", "day", "id"])
def test_the_last_rows_in_time_are_test_rows(tmp_path: Path, how: str) -> None:
    content = visits()
    data = table(written(tmp_path, content), schema={}, split=how)
    if how == "id":  # which is no column of a row
        last = content.sort_by("id").select(COLUMNS).to_pylist()[-30:]
        assert sorted(map(str, decoded(data.test.x, schema_of(data)).to_pylist())) == sorted(map(str, last))
        return
    train, validation, test = (each.x[:, 5] for each in (data.train, data.validation, data.test))
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    assert len(test) == pytest.approx(30, abs=5)


def test_a_split_in_time_needs_to_know_by_which_column(tmp_path: Path) -> None:
    two = visits().append_column("until", visits()["day"])
    with pytest.raises(DataError, match=r"several columns of dates, 'day', 'until': name the one .* split = 'NAME'"):
        table(written(tmp_path, two), schema={}, split="time")
    none = visits().drop_columns(["day"])
    with pytest.raises(DataError, match=r"no column of dates: name the one"):
        table(written(tmp_path, none), schema={}, split="time")
    with pytest.raises(DataError, match=r"no column 'dya'.*did you mean day\?"):
        table(written(tmp_path, none.append_column("day", visits()["day"])), schema={}, split="dya")


def test_copies_of_a_row_are_on_one_side(tmp_path: Path) -> None:
    once = visits().drop_columns(["id"])
    path = written(tmp_path, pa.concat_tables([once, once.slice(0, 150)]))
    with pytest.warns(DataWarning, match="150 of 450 rows are the same as an earlier one"):
        data = table(path, schema={})
    train, validation, test = (as_sets(each.x) for each in (data.train, data.validation, data.test))
    assert not train & validation | train & test | validation & test


def test_a_schema_reads_the_file_as_before_without_a_word(tmp_path: Path) -> None:
    path = written(tmp_path, visits())
    data = table(path, schema={"paid": {"upper": 10_000}}, context="age", split="time", drop="member")
    schema = Schema.from_json(schema_of(data).to_json())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = table(path, schema=schema, context="age", split="time", drop="member")
    assert again.spec == data.spec
    torch.testing.assert_close(again.test.x, data.test.x, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(again.test.context, data.test.context, rtol=0, atol=0, equal_nan=True)
    other = visits().set_column(1, "city", pa.array(["Lyon"] * 300))
    with pytest.raises(DataError, match=r"column 'city' holds 'Lyon' in row 0.*none of the levels Paris"):
        table(written(tmp_path, other), schema=schema)


def test_another_value_is_another_fingerprint(tmp_path: Path) -> None:
    content = visits()
    path = written(tmp_path, content)
    before = table(path, schema={}, context="city").fingerprint
    assert before
    assert table(path, schema={}, context="city").fingerprint == before
    paid = content["paid"].to_numpy().copy()
    paid[7] += 0.5
    written(tmp_path, content.set_column(3, "paid", pa.array(paid)))
    assert table(path, schema={}, context="city").fingerprint != before


TABLES = {
    "categories alone": pa.table({"a": ["u", "v"] * 100, "b": ["x", "y", "y", "z"] * 50}),
    "one column": pa.table({"a": np.random.default_rng(0).normal(size=100)}),
    "a thousand of two values": pa.table(
        {f"b{i}": np.random.default_rng(i).integers(0, 2, 60).astype(bool) for i in range(1000)}
    ),
    "a hundred rows": visits(100),
}


@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.DataWarning")
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_one_sort_are_tables_too(tmp_path: Path, name: str) -> None:
    data = table(written(tmp_path, TABLES[name]), schema={})
    assert len(data.columns) == TABLES[name].num_columns - ("id" in TABLES[name].column_names)
    assert len(every_row(data)) == TABLES[name].num_rows


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({"labels": "city"}, r"labels are for tables of real numbers: give in their place: context=\['city'\]"),
    "context": ({"context": "cty"}, r"has no column 'cty'.*did you mean city\?"),
    "every column": ({"context": list(COLUMNS)}, "no column is left to be modelled"),
    "kind": ({"schema": {"city": {"kind": "integer"}}}, "column 'city' cannot be of kind 'integer'"),
    "key": ({"schema": {"city": {"kid": "integer"}}}, r"unknown key schema\.city\.kid; did you mean kind\?"),
    "column": ({"schema": {"town": {"kind": "category"}}}, "has no column 'town'"),
    "grid": ({"schema": {"paid": {"step": 0.4}}}, "column 'paid' .*between the steps of its grid, 0.4 apart"),
    "bounds": ({"schema": {"age": {"lower": 40, "upper": 20}}}, "column 'age' .*40.*20"),
    "blank": ({"schema": {"age": {"blank": False}}}, r"column 'age' has no value in row \d+"),
    "drop": ({"drop": "agee"}, "has no column 'agee'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        table(written(tmp_path, visits()), **{"schema": {}, **options})


def test_all_missing_columns_are_left_out(tmp_path: Path) -> None:
    content = visits().append_column("nothing", pa.nulls(300))
    with pytest.warns(DataWarning, match="'nothing' \\(constant: "):
        data = table(written(tmp_path, content), schema={})
    assert data.columns == COLUMNS


@pytest.mark.parametrize("name", ["visits.csv", "visits.parquet", "visits.feather"])
def test_other_rows_come_chunk_after_chunk(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ROWS", 64)
    data = table(written(tmp_path, visits(), name), schema={}, context="city,age")
    spec, schema = data.spec, schema_of(data)
    other = visits().slice(100, 150).select(["day", "member", "height", "paid", "age", "city"])
    path = written(tmp_path, other, f"other-{name}")
    found = list(chunks_for(spec, path))
    assert len(found) > 1 or name.endswith("feather")
    x, context = (torch.cat([each[i] for each in found]) for i in (0, 1))
    assert decoded(x, schema).to_pylist() == other.select(COLUMNS[2:]).to_pylist()
    given = Schema(tuple(replace(column, given=False) for column in schema.given))
    assert decoded(context, given).to_pylist() == other.select(COLUMNS[:2]).to_pylist()
    (first,) = chunks_for(spec, path, rows=10)
    assert [len(each) for each in first if each is not None] == [10, 10]


def test_what_does_not_fit_other_rows_is_named_by_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ROWS", 64)
    spec = table(written(tmp_path, visits()), schema={}, context="age").spec
    city = visits()["city"].to_pylist()
    city[150] = "Pars"
    path = written(tmp_path, visits().set_column(1, "city", pa.array(city)), "other.parquet")
    message = r"other.parquet: column 'city' holds 'Pars' in row 150 \(counted from 0\).*did you mean Paris\?"
    with pytest.raises(DataError, match=message):
        list(chunks_for(spec, path))
    path = written(tmp_path, visits().drop_columns(["age", "city"]), "less.parquet")
    with pytest.raises(ValueError, match="lacks 'city', 'age'"):
        list(chunks_for(spec, path))


def test_a_text_written_as_its_user_said_is_read_so_again(tmp_path: Path) -> None:
    lines = [f"{i % 7},{'ab'[i % 2]}" for i in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["# a table", "n,kind", *lines]) + "\n")
    data = table(str(tmp_path / "a.csv"), schema={}, skip=1, header=True)
    found = list(chunks_for(data.spec, str(tmp_path / "a.csv"), Asked(skip=1, header=True)))
    assert sum(len(each.x) for each in found) == 100


def test_dates_of_other_rows_may_be_written_otherwise_but_not_with_day_and_month_exchanged(tmp_path: Path) -> None:
    def lines(*days: str) -> str:
        return "\n".join(["n,when", *(f"{i % 7},{day}" for i, day in enumerate(days))]) + "\n"

    days = [f"{1 + i % 28:02d}/{1 + i % 12:02d}/2021" for i in range(84)]
    (tmp_path / "a.csv").write_text(lines(*days))
    spec = table(str(tmp_path / "a.csv"), schema={}).spec
    (tmp_path / "b.csv").write_text(lines(*(f"2021-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(84))))
    first, second = (
        torch.cat([each.x for each in chunks_for(spec, str(tmp_path / name))]) for name in ("a.csv", "b.csv")
    )
    assert torch.equal(first, second)
    (tmp_path / "c.csv").write_text(lines("01/02/2021", "03/13/2021"))
    with (
        pytest.warns(DataWarning, match="1 cell, such as '03/13/2021', can only be %m/%d/%Y"),
        pytest.raises(
            DataError, match=r"column 'when' holds '03/13/2021' in row 1 \(counted from 0\), no date as 24/04/"
        ),
    ):
        list(chunks_for(spec, str(tmp_path / "c.csv")))
