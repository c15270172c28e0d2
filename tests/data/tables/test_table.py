"""A user's own table: every format, and every mistake by its name."""

from __future__ import annotations

import decimal
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, feather, parquet

from marginflow import data
from marginflow.base.data_warning import DataWarning
from marginflow.data.tables import stream
from marginflow.data.tables import table as tables
from marginflow.data.tables.other_rows import chunks_for

WRITERS: dict[str, Callable[..., object]] = {
    ".csv": csv.write_csv,
    ".parquet": parquet.write_table,
    ".feather": lambda table, path, **options: feather.write_feather(table, str(path), **options),
}


def some_table(n: int = 50) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({
        "height": rng.standard_normal(n),
        "steps": rng.integers(100, size=n),
        "kind": [("b", "a", "c")[i % 3] for i in range(n)],
    })  # fmt: skip


@pytest.mark.parametrize("ending", WRITERS)
def test_formats_agree_and_names_are_kept(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine{ending}"
    WRITERS[ending](some_table(), path)
    loaded = data.load("table", path=str(path), labels="kind")
    assert loaded.columns == ("height", "steps")
    assert loaded.labels == ("a", "b", "c")
    assert loaded.name == "mine"
    assert [len(part.x) for part in (loaded.train, loaded.validation, loaded.test)] == [40, 5, 5]
    every = torch.cat([part.x[:] for part in (loaded.train, loaded.validation, loaded.test)])
    labels = torch.cat([part.context for part in (loaded.train, loaded.validation, loaded.test)]).argmax(1)
    source = some_table()
    by_height = {h: (s, k) for h, s, k in zip(*(source[name].to_pylist() for name in source.column_names), strict=True)}
    assert {float(row[0]) for row in every} == set(by_height)
    for row, label in zip(every, labels, strict=True):
        assert by_height[float(row[0])] == (float(row[1]), "abc"[int(label)])


def test_the_split_follows_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32))
    first, again, other = (tables.table(str(path), seed=seed) for seed in (1, 1, 2))
    assert first.columns == ("x0", "x1", "x2")
    assert first.train.x[:].dtype == torch.float32
    assert torch.equal(first.test.x[:], again.test.x[:])
    assert not torch.equal(first.test.x[:], other.test.x[:])
    sizes = [len(part.x) for part in (first.train, first.validation, first.test)]
    assert sizes == [80, 10, 10]
    third = tables.table(str(path), validation=0.2, test=0.3)
    assert [len(part.x) for part in (third.train, third.validation, third.test)] == [50, 20, 30]


def test_columns_are_chosen_and_dropped(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    csv.write_csv(some_table(), path)
    assert tables.table(str(path), drop=["kind"]).columns == ("height", "steps")
    assert tables.table(str(path), columns=["steps"]).columns == ("steps",)
    assert tables.table(str(path), columns="steps").columns == ("steps",)
    assert tables.table(str(path), drop="kind").columns == ("height", "steps")
    assert tables.table(str(path), columns=["steps", "height"]).columns == ("steps", "height")
    for options, message in (
        ({"columns": ["weight"]}, "has no column 'weight'; it has 'height', 'steps', 'kind': did you mean height[?]"),
        ({"drop": ["weight"]}, "has no column 'weight'"),
        ({"labels": "sort"}, "has no column 'sort'"),
        ({"columns": ["kind"], "labels": "kind"}, "no column is left"),
        ({"labels": "height", "drop": ["kind"]}, "'height' of labels has 50 different values in 50 rows"),
        (
            {},
            r"'kind' holds text, 'b' in row 0 \(counted from 0\): leave it out: drop=\['kind'\]; or .*labels='kind'",
        ),
        ({"drop": ["kind"], "validation": 0.5, "test": 0.5}, "together below 1; got 0.5 and 0.5"),
        ({"drop": ["kind"], "test": 0.001}, "50 rows are too few"),
    ):
        with pytest.raises(ValueError, match=message):
            tables.table(str(path), **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", "column 'b' holds text, 'x' in row 1"),
        ("a,b\n1,2\n3,\n", "column 'b' has no value in row 1 .*1 missing in the 2 rows"),
        ("a,b\n1,2\n3,inf\n5,-inf\n", "column 'b' holds inf in row 1 .*2 missing, infinite or huge"),
        ("a,b\n1,2\n3,2020-01-01\n", "column 'b' holds dates, '2020-01-01' in row 1"),
        ("a,b\n1,2\n3,1e300\n", "column 'b' holds 1e[+]300 in row 1 .*1 value too large in the 2 rows"),
        ("a,b\n1,\n3,\n", "column 'b' has no value"),
        ("a,b\n2020-01-01,2\n2020-01-02,2\n", "column 'a' holds dates, '2020-01-01' in row 0"),
        ("a,a\n1,2\n", "'a' stands for several columns"),
        ("a,b\n1,2\n3\n", "cannot be read as .csv: line 3 has 1 value .*2 values are expected"),
        ("", "is empty"),
        ("a,b\n", "has no rows, only the names 'a', 'b'"),
    ],
)
def test_mistakes_in_a_csv_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        tables.table(str(path))
    with pytest.raises(ValueError, match=message):  # and where it is read block after block
        list(chunks_for(data.DataSpec((2,), columns=("a", "b")), str(path)))


@pytest.mark.parametrize("ending", [*WRITERS, ".npy"])
def test_files_that_are_damaged_or_of_another_kind_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine{ending}"
    if ending == ".npy":
        np.save(path, np.zeros((50, 2)))
    else:
        WRITERS[ending](some_table().drop_columns("kind"), path)
    content = path.read_bytes()
    broken = [content[: len(content) // 2 + 3], b"\x00" * 200, b"PAR1" + b"\xff" * 100, b"ARROW1" + b"\xff" * 100, b""]
    for damaged in broken:
        path.write_bytes(damaged)
        if ending == ".csv" and damaged == broken[0]:
            continue  # rows are missing, which nothing in the file tells, or the last one is
        with pytest.raises(ValueError, match=str(path)):
            tables.table(str(path))
        with pytest.raises(ValueError, match=str(path)):
            list(chunks_for(data.DataSpec((2,), columns=("height", "steps")), str(path)))


def test_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist, or is not a file"):
        tables.table(str(tmp_path / "a.csv"))
    with pytest.raises(ValueError, match=r"must end in .csv, .tsv, .* got '.xlsx': save the sheet as .csv"):
        tables.table(str(tmp_path / "a.xlsx"))
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(FileNotFoundError):
        tables.table(str(tmp_path / "b.csv"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(10), r"an array of numbers \(rows, columns\) is needed; got float64 of shape \(10,\)"),
        (np.array([["a"], ["b"]]), "got <U1"),
        (np.array([[1 + 1j]]), "got complex128"),
        (np.array([[object()]]), "cannot be read as .npy"),
    ],
)
def test_arrays_that_are_no_table_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "x.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        tables.table(str(path))


def test_columns_whose_values_repeat_come_with_one_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "x.npy"
    x = np.stack([rng.standard_normal(50), np.full(50, 3.0), 1.7e9 + rng.standard_normal(50), np.arange(50) % 2], 1)
    np.save(path, x)
    with pytest.warns(
        DataWarning, match="columns without a density: 'x1' is constant .3., 'x3' takes 2 values"
    ) as said:
        tables.table(str(path))
    assert len(said) == 1
    assert "drop=['x1', 'x3']" in str(said[0].message)


def every_row(spec: data.DataSpec, path: Path) -> data.Batch:
    """All rows of a table for a model."""
    (found,) = chunks_for(spec, str(path))
    return found.take()


def test_rows_for_a_model_are_found_by_name(tmp_path: Path) -> None:
    spec = data.DataSpec((2,), columns=("steps", "height"))
    path = tmp_path / "other.csv"
    csv.write_csv(some_table().drop_columns("kind"), path)
    rows = every_row(spec, path).x
    np.testing.assert_array_equal(rows[:, 0].numpy(), some_table()["steps"].to_numpy())
    csv.write_csv(some_table().drop_columns("steps"), path)
    with pytest.raises(ValueError, match="lacks 'steps', and has 'kind' instead: the model takes 'steps', 'height'"):
        every_row(spec, path)
    csv.write_csv(some_table(), path)
    with pytest.warns(UserWarning, match="'kind' left out"):
        every_row(spec, path)


@pytest.mark.parametrize("ending", [*WRITERS, ".npy"])
@pytest.mark.parametrize("num_rows", [1, 7, 20, 21, 50])
def test_rows_come_in_chunks_of_one_size_and_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, num_rows: int
) -> None:
    monkeypatch.setattr(stream, "ROWS", 7)
    monkeypatch.setattr(stream, "BYTES", 100)  # of a .csv file
    monkeypatch.setattr(stream, "BYTES_OF_COLUMN", 1)
    path = tmp_path / f"mine{ending}"
    whole = np.arange(num_rows)
    columns = {"a": np.where(whole < 20, whole, whole + 0.25), "b": -1.5 * whole}  # whole at first
    if ending == ".npy":
        np.save(path, np.stack(list(columns.values()), 1))
    elif ending == ".csv":
        path.write_text("a,b\n" + "".join(f"{a:g},{b}\n" for a, b in zip(*columns.values(), strict=True)))
    else:
        WRITERS[ending](pa.table(columns), path, **({"chunksize": 5} if ending == ".feather" else {}))
    spec = data.DataSpec((2,)) if ending == ".npy" else data.DataSpec((2,), columns=("b", "a"))
    found = list(chunks_for(spec, str(path)))
    assert [len(each.x) for each in found] == [7] * (num_rows // 7) + [num_rows % 7] * (num_rows % 7 > 0)
    x = torch.cat([each.x[:] for each in found]).numpy()
    expected = np.stack([columns["a"], columns["b"]], 1)
    np.testing.assert_array_equal(x, expected if ending == ".npy" else expected[:, ::-1])
    for rows in (1, 7, 13, 14, 60):
        some = [each.x[:] for each in chunks_for(spec, str(path), rows=rows)]
        np.testing.assert_array_equal(torch.cat(some).numpy(), x[:rows])


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["1"] * 50 + ["u"] * 50, ("1", "u")),  # whole numbers at first
        (["7"] * 50 + ["12"] * 50, ("12", "7")),
        (["007"] * 50 + ["12"] * 50, ("12", "7")),  # which are read as numbers, as they were to be trained on
        (["1"] * 50 + ["1.50"] * 50, ("1.0", "1.5")),
        (["true"] * 50 + ["false"] * 50, ("False", "True")),
    ],
)
def test_labels_are_read_as_they_were_to_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], labels: tuple[str, ...]
) -> None:
    monkeypatch.setattr(stream, "BYTES", 100)
    monkeypatch.setattr(stream, "BYTES_OF_COLUMN", 1)
    path = tmp_path / "mine.csv"
    path.write_text("a,kind\n" + "".join(f"{i}.5,{text}\n" for i, text in enumerate(texts)))
    loaded = tables.table(str(path), labels="kind")
    assert set(loaded.labels) == set(labels)
    (found,) = chunks_for(loaded.spec, str(path), labels="kind")
    assert found.context is not None
    names = [loaded.labels[i] for i in found.context.argmax(1)]
    assert len(set(names[:50])) == len(set(names[50:])) == 1
    assert names[0] != names[-1]
    path.write_text(path.read_text().replace("60.5", "x"))
    with pytest.raises(ValueError, match="column 'a' holds text, 'x' in row 60"):
        list(chunks_for(loaded.spec, str(path), labels="kind"))


@pytest.mark.parametrize("ending", [*WRITERS, ".npy"])
def test_chunks_of_many_columns_have_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(stream, "NUMBERS", 120)
    path, x = tmp_path / f"wide{ending}", np.random.default_rng(0).standard_normal((25, 12))
    if ending == ".npy":
        np.save(path, x)
    else:
        WRITERS[ending](pa.table({f"x{i}": column for i, column in enumerate(x.T)}), path)
    found = [each.x[:] for each in chunks_for(data.DataSpec((12,)), str(path))]
    assert [len(each) for each in found] == [10, 10, 5]
    np.testing.assert_allclose(torch.cat(found).numpy(), x)


def test_mistakes_far_down_are_named_by_their_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ROWS", 8)
    spec = data.DataSpec((1,), columns=("a",), labels=("p", "q"))
    table = {"a": [1.0] * 30, "kind": ["p", "q"] * 15}
    path = tmp_path / "mine.parquet"
    for column, value, message in (
        ("a", None, r"column 'a' has no value in row 21 \(counted from 0\), 1 missing in the 8 rows from row 16 on"),
        (
            "a",
            math.nan,
            r"column 'a' holds nan in row 21 \(counted from 0\), 1 missing, infinite or huge values in the 8 rows",
        ),
        ("kind", "r", "column 'kind' has the label 'r', which the model does not know; it knows 'p', 'q'"),
        ("kind", None, "column 'kind' of labels has missing values"),
    ):
        wrong = {name: list(values) for name, values in table.items()}
        wrong[column][21] = value
        parquet.write_table(pa.table(wrong), path)
        read = chunks_for(spec, str(path), labels="kind")
        assert len(next(read).x) == len(next(read).x) == 8
        with pytest.raises(ValueError, match=message):
            next(read)
    parquet.write_table(pa.table({"a": table["a"], "kind": pa.array(table["kind"]).dictionary_encode()}), path)
    context = torch.cat([each.context for each in chunks_for(spec, str(path), labels="kind")])
    assert context.argmax(1).tolist() == [0, 1] * 15


def test_booleans_decimals_and_small_integers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    n = 40
    columns = {
        "yes": pa.array([i % 2 == 0 for i in range(n)]),
        "cents": pa.array([decimal.Decimal(10 * i) / 100 for i in range(n)], pa.decimal128(20, 2)),
        "byte": pa.array(range(n), pa.int8()),
    }
    parquet.write_table(pa.table(columns), path)
    with pytest.warns(DataWarning, match="'yes' takes 2 values"):
        loaded = tables.table(str(path))
    every = torch.cat([part.x[:] for part in (loaded.train, loaded.validation, loaded.test)])
    assert every.sum(0).tolist() == pytest.approx([20, sum(range(n)) / 10, sum(range(n))])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array(["1", "2"] * 20), "column 'b' holds numbers stored as text: convert it"),
        (pa.array([None] * 40, pa.string()), "column 'b' has no values"),
        (pa.array([["x"]] * 40), "column 'b' holds list<.*not numbers"),
    ],
)
def test_columns_of_other_kinds_are_named(tmp_path: Path, values: pa.Array, message: str) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"a": np.arange(40.0), "b": values}), path)
    with pytest.raises(ValueError, match=message):
        tables.table(str(path))


def test_large_whole_numbers_upper_case_endings_and_odd_headers(tmp_path: Path) -> None:
    path = tmp_path / "X.PARQUET"
    parquet.write_table(pa.table({"big": np.arange(40) * 2**56, "a": np.arange(40.0)}), path)
    assert float(tables.table(str(path)).train.x[:].max()) > 1e18
    with pytest.raises(ValueError, match="'a' stands for several columns"):
        tables.table(str(path), columns=["a", "a"])
    with pytest.raises(ValueError, match="delimiter must be one character; got ';;'"):
        tables.table(str(path), delimiter=";;")


def test_labels_that_are_missing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,g\n" + "".join(f"{i},{('u', 'v', '')[i % 3]}\n" for i in range(60)))
    with pytest.raises(ValueError, match="column 'g' of labels has missing values"):
        tables.table(str(path), labels="g")


def test_shares_of_labels_and_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,g\n" + "".join(f"{i},{'uvvv'[i % 4]}\n" for i in range(400)))
    loaded = tables.table(str(path), labels="g")
    assert loaded.train.context is not None
    np.testing.assert_allclose(loaded.label_shares, loaded.train.context.double().mean(0).numpy())
    assert sum(loaded.label_shares) == pytest.approx(1)
    first = loaded.fingerprint
    assert tables.table(str(path), labels="g", seed=1).fingerprint == first
    path.write_text(path.read_text().replace("399,v", "399,u"))
    assert tables.table(str(path), labels="g").fingerprint != first
    assert first.startswith(tables.table(str(path), drop="g").fingerprint)


@pytest.mark.alone
def test_a_million_rows_load_in_less_than_three_seconds(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rng = np.random.default_rng(0)
    parquet.write_table(pa.table({f"c{i}": rng.standard_normal(1_000_000) for i in range(10)}), path)
    started = time.perf_counter()
    loaded = tables.table(str(path))
    assert time.perf_counter() - started < 3
    assert len(loaded.train.x) == 800_000
