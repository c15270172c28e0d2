"""Columns that number the rows are left out, with a line: by name and values, in every format."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from marginflow.base.data_warning import DataWarning
from marginflow.data import DataSpec
from marginflow.data.tables.other_rows import chunks_for
from marginflow.data.tables.table import table

N = 40
RNG = np.random.default_rng(0)
A = RNG.normal(size=N)
COUNT = np.arange(N)


def columns_of(path: Path, content: dict[str, Any], note: dict[str, Any] | None = None, **options: Any) -> list[str]:
    found = pa.table(content)
    if note is not None:
        found = found.replace_schema_metadata({"pandas": json.dumps(note)})
    if path.suffix == ".parquet":
        parquet.write_table(found, path)
    else:
        feather.write_feather(found, str(path))
    return list(table(str(path), **options).columns)


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("__index_level_0__", COUNT),
        ("__index_level_0__", RNG.permutation(N) * 3),
        ("__index_level_0__", [f"row {i}" for i in COUNT]),
        ("Unnamed: 0", COUNT),
        ("Unnamed: 0.1", COUNT + 1),
        ("", COUNT),
        ("index", COUNT),
        ("level_0", COUNT),
        ("X", COUNT + 1),
        ("rownames", COUNT + 1),
        ("Row.Names", COUNT + 1),
        ("...1", COUNT + 1.0),
    ],
)
def test_row_numbers_are_left_out_with_a_line(tmp_path: Path, ending: str, name: str, values: Any) -> None:
    path = tmp_path / f"t{ending}"
    content = {name: values, "a": A, "b": -A}
    with pytest.warns(DataWarning, match=f"column {name!r} left out, row numbers.*: name it in columns to use it"):
        assert columns_of(path, content) == ["a", "b"]
    if not isinstance(values, list):  # whoever names it means it
        assert columns_of(path, content, columns=[name, "a"]) == [name, "a"]
    assert columns_of(path, content, drop=[name]) == ["a", "b"]  # without a line


@pytest.mark.filterwarnings("ignore:column.* without a density")  # they repeat
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("index", COUNT[::-1]),
        ("index", COUNT * 2),
        ("index", A),
        ("X", A),
        ("X", COUNT % 7),
        ("Unnamed: 0", A),
        ("__index_level_0__", COUNT % 7),
        ("height", COUNT),
        ("indexed", COUNT),
    ],
)
def test_what_may_be_data_is_kept(tmp_path: Path, name: str, values: Any) -> None:
    assert columns_of(tmp_path / "t.parquet", {name: values, "a": A}) == [name, "a"]


@pytest.mark.parametrize("name", ["id", "ID", "PassengerId", "case_no", "Nr"])
def test_a_column_that_may_be_meant_is_kept_with_a_line(tmp_path: Path, name: str) -> None:
    with pytest.warns(DataWarning, match=f"column {name!r} counts the rows: drop it unless"):
        assert columns_of(tmp_path / "t.parquet", {name: COUNT + 1, "a": A}) == [name, "a"]
    assert columns_of(tmp_path / "t.parquet", {name: RNG.permutation(N), "a": A}) == [name, "a"]


def test_the_index_that_pandas_notes_is_no_data(tmp_path: Path) -> None:
    path, content = tmp_path / "t.parquet", {"a": A, "b": -A, "when": RNG.normal(size=N)}
    with pytest.warns(DataWarning, match="'when' left out, the index of a pandas data frame"):
        assert columns_of(path, content, {"index_columns": ["when"]}) == ["a", "b"]
    ranged = {"index_columns": [{"kind": "range", "name": None, "start": 0, "stop": N, "step": 1}]}
    for note in (ranged, {}, {"index_columns": "when"}, {"index_columns": [["when"]]}, {"index_columns": None}, []):
        assert columns_of(path, content, note) == ["a", "b", "when"]  # pyright: ignore[reportArgumentType]
    for broken in (b"{", b"[" * 100_000, b"\xff"):
        parquet.write_table(pa.table(content).replace_schema_metadata({b"pandas": broken}), path)
        assert table(str(path)).columns == ("a", "b", "when")


def test_row_numbers_of_another_table_are_no_news(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",a,b\n" + "".join(f"{i},{a},{-a}\n" for i, a in enumerate(A)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = chunks_for(DataSpec((2,), columns=("b", "a")), str(path))
    np.testing.assert_array_equal(found.x[:].numpy(), np.stack([-A, A], 1))
