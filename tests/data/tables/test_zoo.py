"""Text tables as people have them: each dialect, whole and in chunks, against the values that it was written from."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marginflow import data
from marginflow.base.data_warning import DataWarning
from marginflow.data.tables import read as reading
from marginflow.data.tables import stream
from marginflow.data.tables.dialect import Asked, one_blank
from marginflow.data.tables.formats import FORMATS
from marginflow.data.tables.other_rows import chunks_for
from marginflow.data.tables.read import dialect_of, matrix, read
from marginflow.data.tables.table import table
from marginflow.data.tables.write import write_columns

RNG = np.random.default_rng(0)
N = 60
A, B = RNG.normal(0, 30, N).round(4), RNG.integers(-5, 2000, N)


def lines(delimiter: str, decimal: str = ".", header: str | None = "größe,b", end: str = "\n", **options: Any) -> str:
    """A and B as the csv module writes them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, **options)
    if header is not None:
        writer.writerow(header.split(","))
    writer.writerows([str(a).replace(".", decimal), b] for a, b in zip(A.tolist(), B.tolist(), strict=True))
    return text.getvalue()


@dataclass(frozen=True)
class Animal:
    """A file, and what it holds: A and B under these names, whatever else is said of it."""

    content: str | bytes
    names: tuple[str, ...] = ("größe", "b")
    ending: str = ".csv"
    encoding: str = "utf-8"
    said: tuple[str, ...] = ()
    asked: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        path = folder / f"zoo{self.ending}"
        content = self.content if isinstance(self.content, bytes) else self.content.encode(self.encoding)
        path.write_bytes(gzip.compress(content, mtime=0) if self.ending.endswith(".gz") else content)
        return path


def beside(first: Sequence[object], name: str = "") -> str:
    """A and B with another column before them."""
    head, *rest = lines(",").splitlines()
    return "\n".join([f"{name},{head}", *(f"{each},{row}" for each, row in zip(first, rest, strict=True))]) + "\n"


BLANKS = "".join(f"  {a:>12}   {b:>8}  \n" for a, b in zip(A, B, strict=True))
INDEX = "row numbers or names"
HASH = "# made by a tool\n# on a Monday\n"
X = ("x0", "x1")
ZOO = {
    "plain": Animal(lines(",")),
    "gz": Animal(lines(","), ending=".csv.gz"),
    "tsv": Animal(lines("\t"), ending=".tsv"),
    "tsv.gz": Animal(lines("\t"), ending=".tsv.gz"),
    "txt of tabs": Animal(lines("\t"), ending=".txt"),
    "tsv of commas": Animal(lines(","), ending=".tsv", said=("',' between values",)),
    "upper case": Animal(lines(","), ending=".CSV"),
    "gzip under another name": Animal(gzip.compress(lines(",").encode())),
    "plain under the name of gzip": Animal(lines(","), ending=".csv"),
    "carriage returns": Animal(lines(",", end="\r")),
    "of Windows": Animal(lines(",", end="\r\n")),
    "no end": Animal(lines(",").rstrip()),
    "blank lines": Animal("\n\n" + lines(",").replace("\n", "\n\n")),
    "semicolons": Animal(lines(";"), said=("';' between values",)),
    "bars": Animal(lines("|"), said=("'|' between values",)),
    "tabs in csv": Animal(lines("\t"), said=(r"'\t' between values",)),
    "central Europe": Animal(lines(";", ","), said=("';' between values", "',' as decimal mark")),
    "tabs and commas": Animal(lines("\t", ","), ending=".tsv", said=("',' as decimal mark",)),
    "quoted decimal commas": Animal(lines(",", ","), said=("',' as decimal mark",)),
    "all quoted": Animal(lines(",", quoting=csv.QUOTE_ALL)),
    "utf-8 with a mark": Animal(lines(","), encoding="utf-8-sig"),
    "utf-16": Animal(lines(","), encoding="utf-16"),
    "utf-16-le": Animal("\ufeff" + lines(","), encoding="utf-16-le"),
    "utf-16-be": Animal("\ufeff" + lines(","), encoding="utf-16-be"),
    "utf-16 without a mark": Animal(lines(","), encoding="utf-16-le", said=("the encoding utf-16-le",)),
    "utf-32": Animal(lines(","), encoding="utf-32"),
    "latin-1": Animal(lines(","), encoding="latin-1", said=("the encoding cp1252",)),
    "cp1252": Animal(lines(",", header="€,b"), ("€", "b"), encoding="cp1252", said=("the encoding cp1252",)),
    "Excel, unicode text": Animal(lines("\t", end="\r\n"), ending=".txt", encoding="utf-16"),
    "Excel, sep": Animal("sep=;\r\n" + lines(";", ",", end="\r\n"), said=("',' as decimal mark",)),
    "comments": Animal(HASH + lines(",")),
    "comments between": Animal(HASH + lines(",").replace("\n", "\n# 1,2\n", 20)),
    "names in a comment": Animal("# größe,b\n" + lines(",", header=None)),
    "savetxt": Animal("# größe b\n" + lines(" ", header=None), ending=".txt"),
    "a hash for a name": Animal(lines(",", header="#,b"), ("#", "b")),
    "title": Animal("Report of 2024\n\n" + lines(","), said=("1 line above the header left out ('Report of 2024')",)),
    "titles": Animal("Report\nmade by, whom, when\n" + lines(","), said=("2 lines above the header",)),
    "skip": Animal("x,y\n" + lines(","), asked={"skip": 1}),
    "quoted names": Animal('"a, in ""cm""","b\nof two"\n' + lines(",", header=None), ('a, in "cm"', "b\nof two")),
    "blanks around names": Animal(lines(",").replace("größe,b", " größe , b ")),
    "blanks around values": Animal(lines(",").replace(",", " , ")),
    "blanks": Animal("größe b\n" + BLANKS, ending=".txt"),
    "blanks without header": Animal(BLANKS, X, ending=".dat", said=("no header",)),
    "blanks in csv": Animal("größe b\n" + BLANKS, said=("blanks between values",)),
    "quoted blanks": Animal('"größe" "b c"\n' + BLANKS, ("größe", "b c"), ending=".txt"),
    "no header": Animal(lines(",", header=None), X, said=("no header, its first line is a row",)),
    "no header, asked": Animal(lines(",", header=None), X, asked={"header": False}),
    "no header, central Europe": Animal(lines(";", ",", header=None), X, said=("no header", "',' as decimal mark")),
    "names are numbers": Animal(lines(",", header="2019,2020"), ("2019", "2020"), asked={"header": True}),
    "names of a frame without names": Animal(lines(",", header="0,1"), ("0", "1"), asked={"header": True}),
    "pandas": Animal(beside(range(N)), said=(f"'Unnamed: 0' left out, {INDEX}",)),
    "pandas, twice": Animal(beside(range(N), "Unnamed: 0"), said=(f"'Unnamed: 0' left out, {INDEX}",)),
    "pandas, shuffled": Animal(beside([7 * i % 997 for i in range(N)]), said=("'Unnamed: 0' left out",)),
    "R": Animal(beside([f'"{i + 1}"' for i in range(N)], '""'), said=(f"'Unnamed: 0' left out, {INDEX}",)),
    "R, names of rows": Animal(beside([f'"Mazda {i}"' for i in range(N)], '""'), said=("'Unnamed: 0' left out",)),
    "R, write.table": Animal(
        '"größe" "b"\n' + "".join(f'"{i + 1}" {a} {b}\n' for i, (a, b) in enumerate(zip(A, B, strict=True))),
        ending=".txt",
        said=("'Unnamed: 0' left out",),
    ),
    "readr": Animal(beside(range(1, N + 1), "...1"), said=("'...1' left out",)),
    "an index that was reset": Animal(beside(range(N), "index"), said=("'index' left out, row numbers",)),
    "trailing delimiters": Animal(lines(",").replace("\n", ",\n"), said=("'Unnamed: 2' left out, a column without",)),
    "trailing delimiters but for the header": Animal(
        lines(",").replace("\n", ",\n").replace(",\n", "\n", 1), said=("'Unnamed: 2' left out",)
    ),
    "plus and minus signs": Animal(lines(",").replace("\n", "\n+").removesuffix("+").replace("+-", "\u2212")),
}  # fmt: skip


def loaded(path: Path, **asked: Any) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """All rows of a table in their order, its columns, and what was said of it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = table(str(path), **asked)
    assert all(issubclass(each.category, DataWarning) for each in said)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = matrix(read(path, Asked(**asked)).columns, list(found.columns), path)
    every = torch.cat([part.x[:] for part in (found.train, found.validation, found.test)]).numpy()
    np.testing.assert_array_equal(np.sort(every, 0), np.sort(whole, 0))
    return whole, found.columns, [str(each.message) for each in said]


@pytest.mark.parametrize("kind", ZOO)
@pytest.mark.parametrize("at_once", [2**20, 100])
def test_each_kind_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, at_once: int
) -> None:
    for module, name in ((stream, "BYTES"), (reading, "AT_ONCE")):
        monkeypatch.setattr(module, name, at_once)
    monkeypatch.setattr(stream, "BYTES_OF_COLUMN", 1)
    monkeypatch.setattr(stream, "ROWS", 2**16 if at_once > 100 else 7)
    animal = ZOO[kind]
    path = animal.write(tmp_path)
    x, columns, said = loaded(path, **animal.asked)
    assert columns == animal.names
    np.testing.assert_array_equal(x, np.stack([A, B], 1))
    for words in animal.said:
        assert words in " ".join(said)
    assert bool(said) == bool(animal.said)
    spec = data.DataSpec((2,), columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        streamed = torch.cat([each.x[:] for each in chunks_for(spec, str(path), Asked(**animal.asked))])
    np.testing.assert_array_equal(streamed.numpy(), x)


@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.DataWarning")
@pytest.mark.parametrize(
    ("delimiter", "thousands", "decimal"), [(",", ",", "."), (";", ".", ","), (";", " ", ","), (";", "'", ".")]
)
def test_a_mark_between_thousands_is_read_where_it_is_given(
    tmp_path: Path, delimiter: str, thousands: str, decimal: str
) -> None:
    path, values = tmp_path / "t.csv", RNG.uniform(0, 10**7, N).round(2)
    text, swap = io.StringIO(newline=""), str.maketrans(",.", thousands + decimal)
    rows = [[f"{value:,.2f}".translate(swap), f"1{decimal}5"] for value in values]
    csv.writer(text, delimiter=delimiter).writerows([["a", "b"], *rows])
    path.write_text(text.getvalue())
    with pytest.raises(ValueError, match=f"holds numbers with marks between thousands.*thousands={thousands!r}"):
        table(str(path))
    x, _, _ = loaded(path, thousands=thousands)
    np.testing.assert_array_equal(x[:, 0], values)


@pytest.mark.parametrize("decimal", [".", ","])
def test_one_column_needs_no_delimiter(tmp_path: Path, decimal: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "".join(f"{value}\n".replace(".", decimal) for value in A))
    x, columns, _ = loaded(path)
    assert columns == ("a",)
    np.testing.assert_array_equal(x[:, 0], A)


@pytest.mark.parametrize(
    ("first", "rest", "names"),
    [
        ("M,0.455,15", "{i}F,0.35,7", None),
        ("39, State-gov, 77516", "{i}, State-gov, 83311", None),
        ("A11,6,1169", "A11,4{i},5951", None),
        ("Bob,25,170", "Al{i},30,180", None),
        ("name,2019,2020", "Al{i},30,180", ("name", "2019", "2020")),
        ("a,1,2,3", "Al{i},3,1,5", ("a", "1", "2", "3")),
        ("0,1,2", "{i},1,5", ("0", "1", "2")),
        ("2,3,?", "{i},?,5", None),
        (",0,1", "{i}.5,0.1,0.2", ("Unnamed: 0", "0", "1")),
        ("x,y,z", "a,b,c{i}", ("x", "y", "z")),
        ("Total,,\n,,\nx,y,z", "1,2,{i}", ("x", "y", "z")),
    ],
)
def test_the_first_line_is_a_header_or_a_row(
    tmp_path: Path, first: str, rest: str, names: tuple[str, ...] | None
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{first}\n" + "".join(rest.format(i=i) + "\n" for i in range(20)))
    width = first.splitlines()[-1].count(",") + 1
    assert dialect_of(path, Asked()).names == (names or tuple(f"x{i}" for i in range(width)))
    assert dialect_of(path, Asked(header=False)).names == tuple(f"x{i}" for i in range(width))


def test_a_line_that_is_longer_than_what_tells_the_dialect_and_rows_far_down(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 400_000 + "1,2,3\n4,5\n6\n")
    line = r"line 400002 has 3 values \('1,2,3'\); line 400004 has 1 value \('6'\); 2 values are expected"
    with pytest.raises(ValueError, match=line):
        table(str(path))
    with pytest.raises(ValueError, match=line):
        list(chunks_for(data.DataSpec((2,), columns=("a", "b")), str(path)))
    path.write_text("a" * 2**21)
    with pytest.raises(ValueError, match="its first line is longer than 1,048,576 characters"):
        table(str(path))
    path.write_text('a,b\n"1,2\n' + "3,4\n" * 3_000_000)
    with pytest.raises(ValueError, match="line"):
        table(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"a,b\n1,2\n3,\0\n", "NUL"),
        (b"PK\x03\x04" + b"x" * 50, "zip archive or an Excel workbook: unpack it, or save the sheet as .csv"),
        (b"BZh91AY", "compressed with bzip2: unpack it"),
        (b"PAR1abc", "of the parquet format: let its name end in .parquet"),
        (b"\x1f\x8b" + b"x" * 50, "cannot be read as .csv"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-20], "cannot be read as .csv"),
        (b"a,b\n" + b"1,2\n" * 300_000 + b"1,\xe4\n", "no utf-8 text near byte 1,2.*encoding='cp1252'"),
        (b"a,b,c\n" + b"1.5,2\n" * 20, r"line of names has 3 values \('a, b, c'\), and its rows have 2"),
        (b"t;v\n" + b"01.02.2020;0,5\n" * 20, "'t' holds dates, '01.02.2020' in row 0"),
        (b"a,b\n" + b"0%,2\n" * 20, "'a' holds numbers with units, '0%' in row 0"),
        (b"a,b\n" + b"1,2\n" * 20 + b"\nTotal: 20\n", r"line 23 has 1 value \('Total: 20'\); 2 values are expected"),
        (b"a,b", "has no rows, only the names 'a', 'b'"),
        (b"x", "has no rows, only the names 'x'"),
        (b"1,2\n", "1 rows are too few"),
    ],
)
@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.DataWarning")
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        table(str(path))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"encoding": "klingon"}, "encoding 'klingon' is unknown"),
        ({"decimal": "x"}, "the decimal mark must be '.' or ','; got 'x'"),
        ({"delimiter": ""}, "the delimiter must be one character; got ''"),
        ({"decimal": ",", "thousands": ","}, "thousands and decimal are both ','"),
        ({"thousands": "1"}, "must be one character; got '1'"),
        ({"skip": -1}, "skip must be a number of lines, 0 or more; got -1"),
        ({"skip": 1000}, "has no lines below the first 1000"),
        ({"encoding": "ascii"}, "no ascii text near byte 2"),
        ({"delimiter": ";"}, "its only column is 'größe,b'.*delimiter=','"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(str(ZOO["plain"].write(tmp_path)), **asked)


def test_compressed_text_may_not_become_far_larger_than_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginflow.storage.limits.FREE", 2**21)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2**20, mtime=0))
    message = r"becomes more than .*, more than 30 times as many and than 2,097,152: it is damaged; or .* unpack it"
    with pytest.raises(ValueError, match=message):
        table(str(path))
    with pytest.raises(ValueError, match=message):
        list(chunks_for(data.DataSpec((2,), columns=("a", "b")), str(path)))


def test_another_table_may_be_written_otherwise_than_the_one_that_was_trained_on(tmp_path: Path) -> None:
    spec = data.DataSpec((2,), columns=("größe", "b"))
    asked = Asked(delimiter=";", decimal=",")
    for kind in ("central Europe", "plain", "tsv", "semicolons", "quoted decimal commas", "utf-16", "pandas", "gz"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            found = list(chunks_for(spec, str(ZOO[kind].write(tmp_path)), asked))
        np.testing.assert_array_equal(torch.cat([each.x[:] for each in found]).numpy(), np.stack([A, B], 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a   b\n", "a b\n"),
        ("  a \t b  \r\n c d ", "a b\r\nc d"),
        ('"a  b"   c\n', '"a  b" c\n'),
        ('"a ""x  y"" b"  1\n', '"a ""x  y"" b" 1\n'),
    ],
)
def test_many_blanks_become_one_outside_quotation_marks(text: str, expected: str) -> None:
    assert one_blank(text) == expected


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_written_is_read_as_the_same_columns(tmp_path: Path, ending: str) -> None:
    names = ["größe", 'in "cm"', "a,b", "c;d", "tab\tin", "two  blanks", "2019", "line\nend", "日本", "#1", "last"]
    path, x = tmp_path / f"out{ending}", torch.from_numpy(RNG.normal(size=(N, len(names))))
    write_columns(x.split(7), names, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, columns, _ = loaded(path)
    assert columns == (tuple(names) if ending != ".npy" else tuple(f"x{i}" for i in range(len(names))))
    np.testing.assert_array_equal(found, x.numpy())
