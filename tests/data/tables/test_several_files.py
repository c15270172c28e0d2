"""Several files as one table: rows in order, columns by name, and errors that name file and row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, feather, parquet

from marginflow import data
from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.data import DataSet
from marginflow.data.tables.paths import absolute, files_of, name_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers(num_rows: int, seed: int, **more: Any) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"x": rng.normal(size=num_rows), "y": rng.normal(size=num_rows), **more})


def write(table: pa.Table, name: str) -> pa.Table:
    {"csv": csv.write_csv, "parquet": parquet.write_table, "feather": feather.write_feather}[name.split(".")[-1]](
        table, name
    )
    return table


def load(path: object, **options: Any) -> DataSet:
    return data.load("table", path=path, **options)


def refused(path: object, **options: Any) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load(path, **options)
    return str(error.value)


def same(one: DataSet, other: DataSet) -> bool:
    """Whether two data sets have the same rows in the same parts, and may stand for each other."""
    pairs = [(getattr(one, part).x, getattr(other, part).x) for part in ("train", "validation", "test")]
    return one.spec == other.spec and all(torch.equal(*(each.nan_to_num(-1e9) for each in pair)) for pair in pairs)


@pytest.mark.usefixtures("here")
def test_files_of_all_formats_are_one_table_whatever_the_order_of_their_columns() -> None:
    parts = [numbers(60, 0), numbers(40, 1), numbers(30, 2)]
    write(parts[0], "a.csv")
    write(parts[1].select(["y", "x"]), "b.parquet")
    write(parts[2], "c.feather")
    write(pa.concat_tables(parts), "whole.parquet")
    assert same(load(["a.csv", "b.parquet", "c.feather"]), load("whole.parquet"))
    backwards = [parts[2], parts[1], parts[0]]
    write(pa.concat_tables(backwards), "backwards.parquet")
    found = load(["c.feather", "b.parquet", "a.csv"])
    assert same(found, load("backwards.parquet"))
    assert not same(found, load("whole.parquet"))


@pytest.mark.usefixtures("here")
def test_rows_of_any_kind_are_the_same_in_parts_and_whole() -> None:
    city = pa.array(["Paris", "Rome", None, "Rome"] * 25)
    days = pa.array(np.datetime64("2024-01-01") + np.arange(100)).cast(pa.date32())
    whole = write(
        numbers(100, 0, city=city, day=days, nights=pa.array(np.arange(100) ** 2 % 7, pa.int16())), "whole.parquet"
    )
    write(whole.slice(0, 70).set_column(2, "city", city.slice(0, 70).dictionary_encode()), "part-1.parquet")
    write(whole.slice(70), "part-2.feather")
    parts = load("part-*", schema={})
    assert same(parts, load("whole.parquet", schema={}))
    assert same(load(["part-1.parquet", "part-2.feather"], schema=parts.schema), parts)
    some = {"columns": "x,nights", "context": "day", "schema": {}}
    assert same(load("part-?.*", **some), load("whole.parquet", **some))
    for name, cut in (("t1.csv", whole.slice(0, 30)), ("t2.csv", whole.slice(30))):
        write(cut, name)
    write(whole, "t.csv")
    assert same(load("t?.csv", schema={}), load("t.csv", schema={}))


@pytest.mark.usefixtures("here")
def test_numbers_of_text_stand_beside_those_of_typed_files_and_dates_do_not() -> None:
    days = pa.array(np.datetime64("2024-01-01") + np.arange(50)).cast(pa.date32())
    text = write(numbers(50, 0, n=np.arange(50) % 7, city=["a", "b"] * 25), "a.csv")
    write(numbers(50, 1, n=np.arange(50) % 5, city=["b", "c"] * 25), "b.parquet")
    found = load(["a.csv", "b.parquet"], schema={})
    assert found.schema is not None
    assert found.schema["city"].levels == ("a", "b", "c")
    assert found.schema["n"].kind == "integer"
    write(text.append_column("day", days), "a.csv")
    late = pa.array(np.arange(50) % 3 == 0)
    write(numbers(50, 1, n=late, city=["b", "c"] * 25, day=days), "b.parquet")
    message = refused(["a.csv", "b.parquet"], schema={})
    assert "2 columns differ in type" in message
    assert "'n' is double in a.csv and bool in b.parquet" in message
    assert "'day' is string in a.csv and date32[day] in b.parquet" in message


@pytest.mark.usefixtures("here")
def test_columns_that_differ_are_named_for_all_files_with_an_option_that_settles_them() -> None:
    write(numbers(40, 0, z=np.arange(40.0)), "a.csv")
    write(numbers(40, 1, z=np.arange(40.0) ** 2).drop_columns(["y"]), "b.csv")
    write(numbers(40, 2), "c.csv")
    message = refused("?.csv")
    assert "2 of 3 files lack columns that others have:" in message
    assert "b.csv lacks 'y', which a.csv has" in message
    assert "c.csv lacks 'z', which a.csv has" in message
    assert "drop=['y', 'z']" in message
    assert load("?.csv", drop=["y", "z"]).columns == ("x",)
    assert load("?.csv", columns="x").columns == ("x",)
    assert load("?.csv", columns="x", schema={}).columns == ("x",)
    assert load("?.csv", drop="y,z", schema={}).columns == ("x",)
    assert "the files have different columns: b.csv lacks 'y'" in refused(["a.csv", "b.csv"])


@pytest.mark.usefixtures("here")
def test_a_row_that_is_wrong_is_named_by_its_file() -> None:
    write(numbers(40, 0), "a.csv")
    Path("b.csv").write_text("x,y\n" + "1.5,2\n" * 7 + "'row 3' of old,2\n" + "1,\n" * 20)
    message = refused(["a.csv", "b.csv"])
    assert re.search(r"'x' holds text, \"'row 3' of old\" in row 7 of b.csv", message), message
    assert "'y' has no value in row 8 of b.csv" in message
    Path("c.csv").write_text("y,x\n2,\n" + "3,1.5\n" * 20)
    assert "'x' has no value in row 0 of c.csv (counted from 0)" in refused(["a.csv", "c.csv"])
    real = {"x": {"kind": "real", "blank": False}}
    assert "column 'x' has no value in row 0 of c.csv (counted from 0)" in refused(["a.csv", "c.csv"], schema=real)


@pytest.mark.usefixtures("here")
def test_all_files_that_cannot_be_read_are_named_at_once() -> None:
    write(numbers(40, 0), "a.csv")
    Path("b.csv").write_text("x,y\n1,2\n1,2,3\n")
    message = refused(["a.csv", "b.csv", "nosuch.csv"])
    assert "2 of 3 files cannot be read:" in message
    assert "line 3 has 3 values" in message
    assert "nosuch.csv does not exist" in message


@pytest.mark.usefixtures("here")
def test_decimal_marks_that_differ_are_settled_by_an_option() -> None:
    Path("a.csv").write_text("x;y\n" + "".join(f"{i},5;{i * i % 7}\n" for i in range(40)))
    Path("b.csv").write_text("x;y\n" + "".join(f"{i};{i * i % 5}\n" for i in range(40)))
    assert "read all files so: decimal=','" in refused(["a.csv", "b.csv"])
    with pytest.warns(DataWarning) as said:
        found = load(["a.csv", "b.csv"], decimal=",")
    assert sum("between values" in str(each.message) for each in said) == 1
    every = torch.cat([part.x for part in (found.train, found.validation, found.test)])  # pyright: ignore
    assert sorted(every[:, 0].tolist()) == sorted([i + 0.5 for i in range(40)] + [float(i) for i in range(40)])


@pytest.mark.usefixtures("here")
def test_row_numbers_that_begin_anew_in_each_file_are_no_data() -> None:
    for name, seed in (("a.csv", 0), ("b.csv", 1)):
        table = numbers(50, seed)
        write(table.add_column(0, "Unnamed: 0", pa.array(np.arange(50))), name)
    with pytest.warns(DataWarning, match="column 'Unnamed: 0' left out"):
        assert load("?.csv").columns == ("x", "y")


@pytest.mark.usefixtures("here")
def test_a_pattern_is_sorted_and_one_that_fits_nothing_says_what_is_there() -> None:
    for name in ("year-2020.csv", "year-2019.csv", "notes.md", "[1].csv"):
        Path(name).write_text("x\n1\n")
    assert [str(each) for each in files_of("year-*")] == ["year-2019.csv", "year-2020.csv"]
    assert [str(each) for each in files_of("[1].csv")] == ["[1].csv"]  # a file of that name
    assert [str(each) for each in files_of(["year-2020.csv", "year-*19.csv"])] == ["year-2020.csv", "year-2019.csv"]
    with pytest.raises(FileNotFoundError, match=r"years-\*.csv fits no file: .*'year-2019.csv'.*did you mean year-20"):
        files_of("years-*.csv")
    with pytest.raises(FileNotFoundError, match="there is no folder nowhere"):
        files_of("nowhere/*.csv")
    with pytest.raises(ValueError, match=r"names 'year-2019\.csv' twice, so that its rows would count twice"):
        files_of(["year-2019.csv", "year-*.csv"])
    with pytest.raises(ValueError, match="path must name a file, or several in a list"):
        files_of([])
    with pytest.raises(ValueError, match="path must be a path; got 3"):
        files_of(3)


def test_a_pattern_in_a_folder_whose_name_looks_like_one_stays_one(here: Path) -> None:
    folder = here / "data[1]"
    folder.mkdir()
    (folder / "a.csv").write_text("x\n1\n")
    assert files_of(absolute("*.csv", folder)) == [folder / "a.csv"]
    assert absolute("a.csv", folder) == str(folder / "a.csv")
    assert name_of([Path("sales_2019.csv.gz"), Path("sales_2020.csv.gz")]) == "sales"


@pytest.mark.usefixtures("here")
def test_errors_of_several_files_are_data_errors_with_options() -> None:
    write(numbers(40, 0, z=np.arange(40.0)), "a.csv")
    write(numbers(40, 1), "b.csv")
    with pytest.raises(DataError) as error:
        load(["a.csv", "b.csv"], drop="y")
    assert error.value.remedies == (("leave out what some lack", {"drop": ["y", "z"]}),)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), r"timestamp\[us\].*timestamp\[us, tz=UTC\]"),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo"), "tz=UTC.*tz=Asia/Tokyo"),
        (pa.int64(), pa.float64(), "int64.*double"),
        (pa.int64(), pa.uint64(), "int64.*uint64"),
    ],
)
def test_types_that_one_column_cannot_hold_are_named(one: pa.DataType, other: pa.DataType, names: str) -> None:
    """Times with and without a zone, and whole numbers past those of the other type."""
    large = [2**53 + 1 + i for i in range(60)], [2**63 + i for i in range(60)]
    for name, kind, values in (("a", one, large[0]), ("b", other, large[pa.types.is_uint64(other)])):
        column = (
            pa.array(values, pa.int64()).cast(kind)
            if pa.types.is_timestamp(kind)
            else pa.array(np.array(values).astype(kind.to_pandas_dtype()))
        )
        parquet.write_table(numbers(60, 0, when=column), f"{name}.parquet")
    said = refused(["a.parquet", "b.parquet"], schema={})
    assert re.search(f"'when'.*{names}|{names}.*'when'", said, re.DOTALL)
    assert "b.parquet" in said
