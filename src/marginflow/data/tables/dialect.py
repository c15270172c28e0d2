"""How a text table is written: encoding, delimiter, decimal mark, header, told by its first rows and by the user."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from marginflow.base.data_error import DataError
from marginflow.data.tables.cells import MISSING_NUMBERS, number
from marginflow.data.tables.formats import ending_of
from marginflow.data.tables.header import Header, header_of
from marginflow.data.tables.notes import Note
from marginflow.data.tables.text import encoding_of, opened, texts

SAMPLE = 2**20  # characters that tell how a file is written,
RECORDS = 1000  # and rows at most
DELIMITERS = (",", ";", "\t", "|", " ")  # a blank stands for any number of blanks and tabs
_EITHER = re.compile(
    rf"{number('.')}|{number(',')}|[+-]?[0-9]{{1,3}}(?:([., '])[0-9]{{3}})(?:\1[0-9]{{3}})*(?:[.,][0-9]+)?"
)
_FRACTION = {mark: re.compile(rf"[+-]?[0-9]*{re.escape(mark)}[0-9]+(?:[eE][+-]?[0-9]+)?") for mark in ".,"}
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_BLANKS = re.compile(r'("(?:[^"]|"")*")|[ \t]+')
_EDGES = re.compile(r" ?(\r\n|\r|\n) ?")


@dataclass(frozen=True)
class Asked:
    """How a text table is written as far as its user says; None where the file is to tell.

    Args:
        delimiter: between values; a blank stands for any number of blanks and tabs.
        decimal: "." or ",", between whole and fraction.
        thousands: between groups of three digits, which are refused unless it is given.
        encoding: such as "utf-8", "cp1252", "utf-16".
        header: whether a line names the columns; without one they are x0, x1, ...
        skip: lines above the header, or the first row.
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool | None = None
    skip: int | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(f"the delimiter must be one character; got {self.delimiter!r}")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"the decimal mark must be '.' or ','; got {self.decimal!r}")
        if self.thousands and (len(self.thousands) != 1 or self.thousands.isdigit()):
            raise ValueError(f"the mark between thousands must be one character; got {self.thousands!r}")
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}: they must differ")
        if self.skip is not None and self.skip < 0:
            raise ValueError(f"skip must be a number of lines, 0 or more; got {self.skip}")


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes:
        names: of the columns.
        encoding: of the text.
        delimiter: between values; a blank stands for any number of blanks and tabs.
        decimal: between whole and fraction.
        thousands: between groups of three digits, "" for none.
        comments: whether lines that begin with # are none of the table.
        start: characters before the first row.
        notes: what the file told that is not the custom.
    """

    names: tuple[str, ...]
    encoding: str
    delimiter: str
    decimal: str
    thousands: str
    comments: bool
    start: int
    notes: tuple[Note, ...]

    def spaced(self, text: str) -> str:
        """Whole lines of text, with one blank for many where blanks stand between values."""
        return one_blank(text) if self.delimiter == " " else text


@dataclass
class Layout:
    """The first rows, cut at one delimiter.

    Attributes:
        delimiter: that they are cut at.
        records: their values.
        stops: the character behind each.
        width: how many values most of them have.
    """

    delimiter: str
    records: list[list[str]] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    width: int = 0

    @property
    def consistency(self) -> float:
        """The share of rows that have the same number of values."""
        return sum(len(each) == self.width for each in self.records) / max(1, len(self.records))

    def cells(self) -> list[str]:
        """The values of the rows of that number, but for the first."""
        rows = [each for each in self.records if len(each) == self.width]
        return [cell.strip() for row in (rows[1:] or rows) for cell in row]

    def numeric(self) -> float:
        """The share of numbers among the values."""
        cells = self.cells()
        return sum(bool(_EITHER.fullmatch(cell)) or cell in MISSING_NUMBERS for cell in cells) / max(1, len(cells))


def sniffed(path: Path, asked: Asked) -> Dialect:
    """How a text table is written; ValueError where it holds no table."""
    encoding, text, whole = _sample(path, asked)
    start, delimiter = _above(text, asked, path)
    comments, last_comment, start = _comments(text, start)
    layout = _best(text, start, delimiter, comments, path, whole)
    if not layout.records:
        raise DataError([f"{path} is empty"])
    header = header_of(layout.records, layout.width, last_comment, asked.header, layout.delimiter)
    decimal = asked.decimal or ("," if asked.thousands == "." else "." if asked.thousands == "," else _decimal(layout))
    return Dialect(
        header.names,
        encoding,
        layout.delimiter,
        decimal,
        asked.thousands or "",
        comments,
        start if header.before == 0 else layout.stops[header.before - 1],
        tuple(_notes(path, asked, encoding, layout, decimal, header)),
    )


def _sample(path: Path, asked: Asked) -> tuple[str, str, bool]:
    """Encoding, the first characters, and whether there are no more."""
    with opened(path) as file:
        first = file.read(SAMPLE)
    encoding = encoding_of(first, asked.encoding, len(first) < SAMPLE)
    text, parts = "", texts(path, encoding)
    while len(text) < SAMPLE:
        part = next(parts, None)
        if part is None:
            if not text.strip():
                raise DataError([f"{path} is empty"])
            return encoding, text, True
        text += part
    end = max(text.rfind("\n"), text.rfind("\r"))
    if end <= 0:
        raise ValueError(f"its first line is longer than {SAMPLE:,} characters")
    return encoding, text[: end + 1], False


def _above(text: str, asked: Asked, path: Path) -> tuple[int, str | None]:
    """Where the lines that are to be skipped end, and the delimiter, which a first line of Excel may say."""
    start = 0
    for _ in range(asked.skip or 0):
        line = next(iter(_lines(text, start)), "")
        start += len(line)
    if start >= len(text):
        raise DataError([f"{path} has no lines below the first {asked.skip}"])
    first = next(iter(_lines(text, start)))
    said = re.fullmatch(r'"?sep=(.)"?\s*', first)
    if said is None:
        return start, asked.delimiter
    return start + len(first), asked.delimiter or said[1]


def _lines(text: str, start: int) -> Iterator[str]:
    """The lines of a text from a character on, with their ends."""
    return iter(io.StringIO(text[start:], newline=""))


def _comments(text: str, start: int) -> tuple[bool, str | None, int]:
    """Whether there are lines of comments, the last of those above all others, and where these begin."""
    last, stop = None, start
    for line in _lines(text, start):
        if line.strip() and not line.startswith("#"):
            return last is not None, last, stop
        last = line if line.startswith("#") else last
        stop += len(line)
    return False, None, start


def _best(text: str, start: int, delimiter: str | None, comments: bool, path: Path, whole: bool) -> Layout:
    """The first rows, cut at the delimiter that makes most sense of them."""
    if delimiter is not None:
        return _layout(text, start, delimiter, comments, whole)
    every = [_layout(text, start, each, comments, whole) for each in DELIMITERS]
    own = "\t" if ending_of(path).startswith(".tsv") else ","
    several = [each for each in every if each.width > 1 and each.consistency >= 0.5]
    chosen = max(several, key=lambda each: _sense(each, own), default=None)
    whole_lines = next(each for each in every if each.delimiter == ";")
    if chosen is None or (chosen.delimiter == "," and _is_one_column(chosen, whole_lines)):
        alone = whole_lines if whole_lines.width == 1 and _decimal(whole_lines) == "," else None
        return alone or next(each for each in every if each.delimiter == own)
    return chosen


def _sense(layout: Layout, own: str) -> float:
    """How much sense a delimiter makes: rows as long as the first, of numbers; blanks stand in text as well."""
    usual = 0.1 if layout.delimiter == own else 0.0 if layout.delimiter != " " else -0.5
    return layout.consistency + layout.numeric() + usual - 0.3 * (len(layout.records[0]) != layout.width)


def _is_one_column(layout: Layout, whole_lines: Layout) -> bool:
    """Whether what commas cut in two is one column of numbers with decimal commas."""
    one = whole_lines.width == 1 and whole_lines.numeric() == 1 and _decimal(whole_lines) == ","
    return one and layout.width == 2 and len(layout.records[0]) == 1


def _layout(text: str, start: int, delimiter: str, comments: bool, whole: bool) -> Layout:
    layout, stop = Layout(delimiter), start

    def lines() -> Iterator[str]:
        nonlocal stop
        for line in _lines(text, start):
            stop += len(line)
            if not (comments and line.startswith("#")):
                yield one_blank(line) if delimiter == " " else line

    reader = csv.reader(lines(), delimiter=delimiter)
    try:
        for record in reader:
            if record and not (len(record) == 1 and not record[0].strip() and delimiter != " "):
                layout.records.append(record)
                layout.stops.append(stop)
            if len(layout.records) == RECORDS:
                break
        else:
            if not whole and len(layout.records) > 1:  # the last may be cut off within quotation marks
                layout.records.pop()
    except csv.Error:
        pass
    widths = Counter(map(len, layout.records))
    layout.width = max(widths, key=lambda each: (widths[each], each), default=0)
    return layout


def one_blank(text: str) -> str:
    """Whole lines with one blank for many outside quotation marks, and none at their ends."""
    spaced = _BLANKS.sub(lambda found: found[1] or " ", text)
    return _EDGES.sub(r"\1", spaced).strip(" ")


def _decimal(layout: Layout) -> str:
    """The mark between whole and fraction that more cells have; commas that may stand between thousands are none."""
    cells = layout.cells()
    points = sum(bool(_FRACTION["."].fullmatch(cell)) for cell in cells)
    commas = [cell for cell in cells if _FRACTION[","].fullmatch(cell)]
    grouped = sum("," in cell and bool(_THOUSANDS.fullmatch(cell)) for cell in cells)
    if layout.delimiter == "," and commas and all(_THOUSANDS.fullmatch(cell) for cell in commas):
        return "."
    return "," if len(commas) > points and grouped <= len(commas) else "."


def _notes(path: Path, asked: Asked, encoding: str, layout: Layout, decimal: str, header: Header) -> Iterator[Note]:
    usual = {",": (".csv",), "\t": (".tsv", ".txt", ".dat"), " ": (".txt", ".dat")}
    if (
        asked.delimiter is None
        and layout.width > 1
        and not ending_of(path).startswith(usual.get(layout.delimiter, ("?",)))
    ):
        words = f"{'blanks' if layout.delimiter == ' ' else repr(layout.delimiter)} between values"
        yield Note(words, "delimiter", ";" if layout.delimiter == "," else ",")
    if asked.decimal is None and decimal == ",":
        yield Note("',' as decimal mark", "decimal", ".")
    if asked.encoding is None and encoding in ("cp1252", "latin-1", "utf-16-le", "utf-16-be"):
        yield Note(f"the encoding {encoding}", "encoding", "utf-8" if encoding.startswith("utf-16") else "cp1250")
    yield from header.notes
