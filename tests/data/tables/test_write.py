"""Rows to files: chunk after chunk, as they come, whole or not at all."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from csv import reader as csv_reader
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import Call, fails, succeeds, visits
from pyarrow import csv, feather, parquet
from torch import Tensor

from marginflow.data import DataSpec, load
from marginflow.data.tables import stream
from marginflow.data.tables import write as output
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.formats import is_text
from marginflow.data.tables.lines import lines
from marginflow.data.tables.other_rows import chunks_for
from marginflow.data.tables.read import dialect_of
from marginflow.data.tables.table import table
from marginflow.data.tables.write import write, write_columns
from marginflow.evaluation.row_scores import RowScores
from marginflow.runs.evaluate import evaluate
from marginflow.runs.load import load as load_model
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate

SPEC = DataSpec((3,), columns=("a", 'the "b", of two', "c"))


def text_of(path: Path) -> pa.Table:
    """A text table, tabs between values but in .csv; arrow unpacks .gz by the name."""
    delimiter = "," if ".csv" in path.suffixes else "\t"
    return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))


def read(path: Path) -> np.ndarray:
    """What a file holds, (N, columns), by the libraries of its format."""
    if path.suffix == ".npy":
        return np.load(path)
    reader = {".parquet": parquet.read_table, ".feather": feather.read_table}.get(path.suffix, text_of)
    table = reader(path)
    assert tuple(table.column_names) == SPEC.columns
    return np.stack([column.to_numpy() for column in table.columns], 1)


@pytest.mark.parametrize("ending", output.FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_written_in_chunks_is_read_as_one(tmp_path: Path, ending: str, dtype: torch.dtype) -> None:
    x = torch.randn(25, 3).to(dtype)
    path = tmp_path / f"rows{ending}"
    write(x.split([10, 1, 14]), SPEC, path)
    found = read(path)
    np.testing.assert_allclose(found, x.numpy(), rtol=1e-6 if is_text(ending) else 0)
    assert is_text(ending) or found.dtype == x.numpy().dtype
    if ending == ".parquet":  # parts of a size that others can read well, however small the chunks
        assert parquet.ParquetFile(path).num_row_groups == 1
    write([x], SPEC, tmp_path / f"one{ending}")
    np.testing.assert_array_equal(read(tmp_path / f"one{ending}"), found)


def test_an_array_keeps_the_shape_of_images_however_many_rows_there_are(tmp_path: Path) -> None:
    pixels = torch.randint(256, (1234, 1, 2, 3), dtype=torch.uint8)
    write(pixels.split(7), DataSpec((1, 2, 3), levels=256), tmp_path / "pixels.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), pixels.numpy())
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy", mmap_mode="r"), pixels.numpy())
    write(pixels.split(7), DataSpec((1, 2, 3), levels=256), tmp_path / "pixels.parquet")
    assert parquet.read_table(tmp_path / "pixels.parquet").column_names == [f"x{i}" for i in range(6)]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet", ".feather", ".npy"])
def test_chunks_are_written_as_they_come_and_nothing_is_left_of_half_a_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    sizes = []

    def coming(stop: int) -> Iterator[Tensor]:
        for i in range(10):
            if i == stop:
                raise KeyboardInterrupt
            sizes.append(sum(each.stat().st_size for each in tmp_path.iterdir()))
            yield torch.randn(66_000, 3)

    write_columns(coming(10), SPEC.columns, path)
    whole = path.read_bytes()
    assert sizes[-1] > 0.7 * len(whole)  # what came before was on its way to the disk, not in memory
    with pytest.raises(KeyboardInterrupt):
        write_columns(coming(5), SPEC.columns, path)
    assert path.read_bytes() == whole
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        write_columns(coming(5), SPEC.columns, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".feather"])
def test_what_was_read_of_a_table_does_not_stay_in_memory(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    write_columns((torch.randn(2**16, 3) for _ in range(48)), SPEC.columns, path)
    dialect = dialect_of(path, Asked()) if ending == ".csv" else None
    before, held, rows = pa.total_allocated_bytes(), 0, 0
    for chunk in stream.chunks(path, SPEC.columns, (), dialect):
        held = max(held, pa.total_allocated_bytes() - before)
        rows += len(next(iter(chunk.values())))
    assert rows == 48 * 2**16
    whole = path.stat().st_size
    assert held < whole / 2, f"{held:,} bytes of {whole:,}"


@pytest.mark.usefixtures("single")
def test_evaluate_passes_rows_on_before_it_reads_more(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds(call("train", "moons.toml", "--set", "train.epochs=1"))
    monkeypatch.setattr(stream, "ROWS", 64)
    x = np.random.default_rng(0).standard_normal((64 * 5 + 3, 2)).astype(np.float32)
    np.save("rows.npy", x)
    read_so_far: list[int] = []
    passed_on: list[Tensor] = []
    original = stream.of_array

    def counted(array: np.ndarray) -> dict[str, np.ndarray]:
        read_so_far.append(len(array))
        return original(array)

    monkeypatch.setattr(stream, "of_array", counted)

    def look(scores: Iterator[RowScores]) -> None:
        for i, each in enumerate(scores):
            passed_on.append(each.log_prob)
            assert len(read_so_far) <= i + 2  # once for its shape, then one for each block

    result = evaluate(Run.open("runs/moons"), Evaluate(), "rows.npy", each_row=look)
    assert [len(each) for each in passed_on] == [64] * 5 + [3]
    assert result.accounting.num_rows == len(x)
    with torch.no_grad():
        expected = load_model("runs/moons").log_prob(torch.from_numpy(x))
    torch.testing.assert_close(torch.cat(passed_on).float(), expected)
    assert result.accounting.raw_nll == pytest.approx(-float(expected.mean()), rel=1e-5)
    succeeds(call("evaluate", "runs/moons", "--data", "rows.npy", "-o", "log_p.parquet", "--rows", 70))
    written = parquet.read_table("log_p.parquet")["log_prob"].to_numpy()
    np.testing.assert_allclose(written, expected[:70], rtol=1e-5)


@pytest.mark.usefixtures("single")
def test_a_row_far_down_that_cannot_be_read_leaves_no_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((200, 3))
    x[:, 2] = 1
    np.savetxt("rows.csv", x, delimiter=",", header="a,b,w", comments="")
    quick = ("--model", "planar", "--set", "train.epochs=1")
    succeeds(call("train", "rows.csv", "--weights", "w", *quick))
    monkeypatch.setattr(stream, "ROWS", 64)
    x[150, 2] = -1
    np.savetxt("others.csv", x, delimiter=",", header="a,b,w", comments="")
    message = r"column 'w' holds -1 in row 150 .*no weight of a row"
    fails(call("evaluate", "runs/rows", "--data", "others.csv", "-o", "log_p.csv"), message)
    assert not Path("log_p.csv").exists()
    assert not list(Path().glob(".*"))


@pytest.mark.usefixtures("single")
def test_mistakes_in_the_output_are_told_before_anything_is_drawn_or_lost(call: Call) -> None:
    np.save("one.npy", np.random.default_rng(0).standard_normal((200, 1)).astype(np.float32))
    succeeds(call("train", "one.npy", "--set", "train.epochs=1", "--set", "model.hidden=[8]"))
    fails(call("sample", "runs/one", "-n", 10**5), r"a \.png needs at least 2 features: write \.csv")
    before = Path("one.npy").read_bytes()
    fails(call("evaluate", "runs/one", "--data", "one.npy", "-o", "./one.npy"), "is the table itself: give another")
    assert Path("one.npy").read_bytes() == before


TEXTS = ["plain", "a,b", 'the "best"', "two\nlines", "", " spaces ", "tab\there", None]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_text_is_quoted_where_it_must_be_and_nowhere_else(delimiter: str) -> None:
    table = pa.table({"text": TEXTS, "number": [1.5, None, 2.0, 3.0, -1.0, 0.25, 1e300, 7.0], "more": TEXTS[::-1]})
    written = bytes(lines(table, delimiter)).decode()
    found = list(csv_reader(io.StringIO(written, newline=""), delimiter=delimiter))
    assert [row[0] for row in found] == [text or "" for text in TEXTS]
    assert [row[2] for row in found] == [text or "" for text in TEXTS[::-1]]
    assert [row[1] for row in found] == ["1.5", "", "2", "3", "-1", "0.25", "1e+300", "7"]
    needed = [text for text in TEXTS if text is not None and (not text or set(text) & {delimiter, '"', "\n"})]
    assert written.count('"') == 2 * 2 * len(needed) + 2 * 2 * 2  # those in the text are doubled
    names = csv.ReadOptions(column_names=["text", "number", "more"])
    how = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    kept = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    again = csv.read_csv(pa.py_buffer(written.encode()), read_options=names, parse_options=how, convert_options=kept)
    assert again.to_pylist() == table.to_pylist()


def test_a_missing_value_of_one_column_is_no_empty_line() -> None:
    assert bytes(lines(pa.table({"a": ["u", None, "v"]}), ",")) == b'u\n""\nv\n'
    assert bytes(lines(pa.table({"a": [1.5, None]}), ",")) == b'1.5\n""\n'
    assert bytes(lines(pa.table({"a": pa.array([], pa.string())}), ",")) == b""


@pytest.mark.parametrize("ending", output.FORMATS)
def test_rows_of_a_schema_are_written_as_their_file_writes_them(tmp_path: Path, ending: str) -> None:
    content = visits().drop_columns(["id"])
    source = tmp_path / "visits.parquet"
    parquet.write_table(content, source)
    data = load("table", path=str(source), schema={})
    x = torch.cat([data.train.x[:], data.validation.x[:], data.test.x[:]])
    path = tmp_path / f"rows{ending}"
    write(x.split([100, 7, 193]), data.spec, path)
    if ending == ".npy":
        np.testing.assert_array_equal(np.load(path), x)
    elif is_text(ending):
        found, expected = text_of(path), content.to_pylist()
        assert [str(kind) for kind in found.schema.types] == [
            "string",
            "int64",
            "double",
            "double",
            "bool",
            "date32[day]",
        ]
        assert sorted(found.to_pylist(), key=str) == sorted(expected, key=str)
    else:
        found = (parquet.read_table if ending == ".parquet" else feather.read_table)(path)
        assert found.schema.equals(content.schema)
        assert sorted(found.to_pylist(), key=str) == sorted(content.to_pylist(), key=str)


def test_a_text_table_keeps_its_spellings(tmp_path: Path) -> None:
    rows = [
        ["2,50", "31.12.2024", "ja", "007"],
        ["1.000,00", "01.02.2024", "nein", "123"],
        ["", "15.06.2023", "ja", "007"],
    ]
    text = "".join(";".join(row) + "\n" for row in [["preis", "tag", "da", "stelle"], *rows * 40])
    (tmp_path / "a.csv").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load("table", path=str(tmp_path / "a.csv"), schema={}, thousands=".", decimal=",", delimiter=";")
    write([data.train.x[:]], data.spec, tmp_path / "b.csv")
    found = list(csv_reader((tmp_path / "b.csv").read_text().splitlines()))
    assert {tuple(row) for row in found[1:]} == {tuple(row) for row in rows}


def test_a_typed_file_is_read_back_from_the_text_that_is_drawn(tmp_path: Path) -> None:
    rng, first = np.random.default_rng(0), datetime(2021, 1, 1)

    def times() -> list[datetime]:
        return [first + timedelta(hours=int(hours)) for hours in rng.integers(0, 5000, 300)]

    took = [timedelta(minutes=int(minutes)) for minutes in rng.integers(1, 90, 300)]
    prices = [Decimal(int(cents)).scaleb(-2) for cents in rng.integers(1, 9999, 300)]
    columns = {
        "paris": pa.array(times(), pa.timestamp("ns", tz="Europe/Paris")),
        "utc": pa.array(times(), pa.timestamp("us", tz="UTC")),
        "plain": pa.array(times(), pa.timestamp("ns")),
        "day": pa.array([each.date() for each in times()]),
        "took": pa.array(took, pa.duration("ms")),
        "big": pa.array(2**60 + 7 * rng.integers(0, 50, 300)),
        "price": pa.array(prices, pa.decimal128(9, 2)),
    }
    parquet.write_table(pa.table(columns), tmp_path / "typed.parquet")
    data = table(str(tmp_path / "typed.parquet"), schema={})
    assert data.schema is not None
    write([data.train.x], data.spec, tmp_path / "drawn.csv")
    (found,) = chunks_for(data.spec, str(tmp_path / "drawn.csv"))
    assert torch.equal(torch.as_tensor(found.x[:]), torch.as_tensor(data.train.x[:]))
