"""Columns of any kind: numbers in every dress are read, all that are none are named at once with what mends it."""

from __future__ import annotations

import ast
import datetime
import decimal
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import feather, parquet

from marginflow.base.data_error import DataError
from marginflow.data import DataSpec
from marginflow.data.tables.cells import MISSING_NUMBERS, Texts, numbers, what_is
from marginflow.data.tables.other_rows import chunks_for
from marginflow.data.tables.table import table

N = 40
RNG = np.random.default_rng(0)
A = RNG.normal(size=N)
WHOLE = RNG.integers(0, 9, N)


def written(folder: Path, ending: str, content: dict[str, Any]) -> Path:
    path = folder / f"t{ending}"
    if ending == ".parquet":
        parquet.write_table(pa.table(content), path)
    else:
        feather.write_feather(pa.table(content), str(path))
    return path


def rows_of(path: Path, **options: Any) -> np.ndarray:
    """All rows, sorted by the first column."""
    found = table(str(path), **options)
    x = torch.cat([part.x[:] for part in (found.train, found.validation, found.test)]).numpy()
    return x[x[:, 0].argsort()]


@pytest.mark.filterwarnings("ignore:column.* without a density")  # they repeat
@pytest.mark.parametrize("ending", [".parquet", ".feather"])
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(WHOLE.tolist()).dictionary_encode(), WHOLE),
        (pa.array((A * 8).round().tolist()).dictionary_encode(), (A * 8).round()),
        (pa.array((WHOLE > 4).tolist()).dictionary_encode(), WHOLE > 4),
        (pa.array((WHOLE > 4).tolist()), WHOLE > 4),
        (pa.array(A.astype(np.float16)), A.astype(np.float16)),
        (pa.array(WHOLE, pa.uint8()), WHOLE),
        (pa.array(WHOLE * 10**17, pa.uint64()), WHOLE * 10**17),
        (pa.array([decimal.Decimal(int(i)) / 4 for i in WHOLE], pa.decimal128(20, 2)), WHOLE / 4),
        (pa.array([decimal.Decimal(int(i)) / 4 for i in WHOLE], pa.decimal256(50, 2)), WHOLE / 4),
    ],
)
def test_numbers_in_every_dress_are_read_alike(
    tmp_path: Path, ending: str, column: pa.Array, expected: np.ndarray
) -> None:
    path = written(tmp_path, ending, {"a": A, "b": column})
    order = A.argsort()
    np.testing.assert_array_equal(rows_of(path)[:, 1], expected[order].astype(float))
    (found,) = chunks_for(DataSpec((2,), columns=("a", "b")), str(path))
    np.testing.assert_array_equal(found.x[:].numpy()[:, 1], expected.astype(float))


NO_NUMBERS: dict[str, tuple[pa.Array, str]] = {
    "text": (pa.array(["u", "v"] * 20), "holds text, 'u' in row 0"),
    "classes": (pa.array(["u", "v"] * 20).dictionary_encode(), "holds text, 'u' in row 0"),
    "stored": (pa.array(["1", "2"] * 20), "holds numbers stored as text: convert it"),
    "days": (pa.array([datetime.date(2020, 1, 1)] * N), "holds date32.*, not numbers"),
    "times": (pa.array([datetime.datetime(2020, 1, 1)] * N), "holds timestamp.*, not numbers"),
    "lists": (pa.array([[1.0]] * N), "holds list.*, not numbers"),
    "structs": (pa.array([{"x": 1}] * N), "holds struct.*, not numbers"),
    "bytes": (pa.array([b"\xff"] * N), "holds binary, not numbers"),
    "nothing": (pa.array([None] * N), "has no values"),
    "no numbers": (pa.array([None] * N, pa.float64()), "has no values"),
    "gaps": (pa.array([1.5] * 30 + [None] * 10), "has no value in row 30.*, 10 missing in the 40 rows"),
    "nan": (pa.array([1.5] * 30 + [float("nan")] * 10), "holds nan in row 30.*, 10 missing, infinite or huge"),
    "inf": (pa.array([1.5] * 39 + [float("-inf")]), "holds -inf in row 39.*, 1 missing, infinite or huge"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_what_is_no_number_is_named(tmp_path: Path, kind: str, ending: str) -> None:
    column, message = NO_NUMBERS[kind]
    path = written(tmp_path, ending, {"a": A, kind: column})
    with pytest.raises(DataError, match=rf"column '{kind}' {message}.*drop=\['{kind}'\]"):
        table(str(path))
    with pytest.raises(DataError, match=f"column '{kind}' {message}.*: correct the table"):
        list(chunks_for(DataSpec((2,), columns=("a", kind)), str(path)))


def test_all_problems_are_told_at_once_and_the_remedy_mends_them_all(tmp_path: Path) -> None:
    path = written(tmp_path, ".parquet", {"a": A, **{name: column for name, (column, _) in NO_NUMBERS.items()}})
    with pytest.raises(DataError) as caught:
        table(str(path), drop="text")
    heading, *lines, out, classes, _ = str(caught.value).splitlines()
    assert heading.endswith(
        f"{len(NO_NUMBERS) - 1} of {len(NO_NUMBERS)} columns cannot be used (rows are counted from 0):"
    )
    assert [line.split("'")[1] for line in lines] == [name for name in NO_NUMBERS if name != "text"]
    assert out.startswith("fill the gaps, or leave them out: drop=")
    assert table(str(path), drop=ast.literal_eval(out.partition("drop=")[2])).columns == ("a",)
    words, _, call = classes.partition(": ")
    assert words == "or if 'classes' names classes"
    options = {each.arg: ast.literal_eval(each.value) for each in ast.parse(f"f({call})", mode="eval").body.keywords}  # pyright: ignore
    found = table(str(path), **options)
    assert found.columns == ("a",)
    assert found.labels == ("u", "v")


@pytest.mark.parametrize("sign", MISSING_NUMBERS)
def test_signs_for_missing_values_are_no_text(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i}.5,{sign if i % 10 == 7 else i % 3}\n" for i in range(N)))
    for call in (lambda: table(str(path)), lambda: list(chunks_for(DataSpec((2,), columns=("a", "b")), str(path)))):
        with pytest.raises(DataError, match=r"column 'b' has no value in row 7 .*, 4 missing in the 40 rows"):
            call()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("abc", "text"),
        ("A11", "text"),
        ("11th", "text"),
        ("<=50K", "text"),
        ("2020-01-01", "dates"),
        ("2020-01-01 10:00:00", "dates"),
        ("1/2/2020", "dates"),
        ("24.12.2020", "dates"),
        ("10:30", "dates"),
        ("5%", "numbers with units"),
        ("12 kg", "numbers with units"),
        ("$5", "numbers with units"),
        ("-$1,234.50", "numbers with units"),
        ("12 \u20ac", "numbers with units"),
        ("3.5 m/s", "numbers with units"),
        ("-5\u00b0C", "numbers with units"),
        ("1,5", "numbers with a decimal comma"),
        ("1,234,567", "numbers with marks between thousands"),
        ("1.234,5", "numbers with marks between thousands"),
        ("1 234", "numbers with marks between thousands"),
    ],
)
def test_cells_that_are_no_numbers_are_called_by_what_they_are(text: str, kind: str) -> None:
    assert what_is(text) == kind
    _, wrong = numbers(Texts(pa.chunked_array([["1", text]])))
    assert wrong is not None
    assert wrong.to_pylist() == [False, True]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", " 2.5 ", "+3", "\u22124", ".5", "5.", "1e3", "-1E-3"], [1, 2.5, 3, -4, 0.5, 5, 1000, -0.001]),
        (["True", "false", "TRUE", "1"], [1, 0, 1, 1]),
        (["9007199254740993", "123456789012345678901"], [9007199254740992.0, 123456789012345677877.0]),
        (["0.1", "1e-320", "1.7976931348623157e308"], [0.1, 1e-320, 1.7976931348623157e308]),
    ],
)
def test_texts_become_the_numbers_that_python_reads_in_them(texts: list[str], expected: list[float]) -> None:
    found, wrong = numbers(Texts(pa.chunked_array([texts])))
    assert wrong is None
    assert found.to_pylist() == expected


@pytest.mark.parametrize("text", ["0x10", "1_000", "1d3", "1e", "--1", "1.2.3", "e5", "\u0661"])
def test_what_only_some_languages_take_for_a_number_is_text(text: str) -> None:
    _, wrong = numbers(Texts(pa.chunked_array([[text]])))
    assert wrong is not None


def test_decimal_commas_far_down_come_with_their_remedy(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n" + "1;2\n" * 2000 + "1,5;2\n" * 2000)
    with pytest.raises(DataError, match=r"'a' holds numbers with a decimal comma, '1,5' in row 2000.*decimal=','"):
        table(str(path), delimiter=";")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sorted(set(rows_of(path, delimiter=";", decimal=",")[:, 0])) == [1, 1.5]


@pytest.mark.parametrize(
    ("scale", "message"), [(1e-200, r"holds .*e-200 at most.*multiply it"), (1e200, r"too large .*divide it")]
)
def test_values_whose_squares_are_no_numbers_are_refused(tmp_path: Path, scale: float, message: str) -> None:
    path = tmp_path / "t.npy"
    np.save(path, np.stack([A, RNG.normal(size=N) * scale], 1))
    with pytest.raises(ValueError, match=message):
        table(str(path))
    np.save(path, np.stack([A, RNG.normal(size=N) * math.sqrt(scale)], 1))
    assert table(str(path)).columns == ("x0", "x1")
