"""The names of a text table's columns: which of its first rows names them, or that none does."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from marginflow.data.tables.cells import MISSING_NUMBERS, number
from marginflow.data.tables.notes import Note

_NUMBER = re.compile(f"{number('.')}|{number(',')}")
_WHOLE = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Header:
    """The names of the columns.

    Attributes:
        names: of the columns.
        before: how many of the first records are no rows.
        notes: what is to be said of them.
    """

    names: tuple[str, ...]
    before: int
    notes: tuple[Note, ...]


def header_of(
    records: Sequence[Sequence[str]], width: int, comment: str | None, asked: bool | None, delimiter: str
) -> Header:
    """The names of columns by the first records.

    Args:
        records: the values of the first lines.
        width: how many most of them have.
        comment: the last line of comments above them, which may hold the names.
        asked: whether a line names the columns, where the user says.
        delimiter: between values.

    Returns:
        A `Header`.

    Raises:
        ValueError: where a line that names columns has another number of values than the rows.
    """
    at = next(i for i, record in enumerate(records) if len(record) == width)
    if asked is not False:
        at = _below_padded_titles(records, at, width)
    first, below = records[at], records[at + 1 :]
    below = [record for record in below if len(record) == width]
    own = _in_comment(comment, width, delimiter)
    if own is not None and asked is not False and at == 0 and (asked or not _names(first, below)):
        return Header(_named(own), at, ())
    if at and asked is not False and _lacks_last(records[at - 1], records[at:], width):
        return Header(_named([*records[at - 1], ""]), at, tuple(_about_titles(records[: at - 1])))
    if at and asked is not False and _lacks_first(records[at - 1], first, records[at:], width):
        return Header(_named(["", *records[at - 1]]), at, tuple(_about_titles(records[: at - 1])))
    if asked if asked is not None else _names(first, below):
        unusual = _about_titles(records[:at]) if asked is None else iter(())
        return Header(_named(first), at + 1, (*unusual, *(_about_numbers(first) if asked is None else ())))
    if at and asked is None and len(records[at - 1]) > 1 and not any(map(_NUMBER.fullmatch, records[at - 1])):
        raise ValueError(
            f"its line of names has {len(records[at - 1])} values ({_shown(records[at - 1])}), and its rows have "
            f"{width}: correct it, or set header to false"
        )
    names = tuple(f"x{i}" for i in range(width))
    nothing = f"no header, its first line is a row ({_shown(first)}), and columns named x0, x1, ..."
    told = (Note(nothing, "header", True),) if asked is None else ()
    return Header(names, at, (*_about_titles(records[:at]), *told))


def _below_padded_titles(records: Sequence[Sequence[str]], at: int, width: int) -> int:
    """Past lines above the header that hold one value, or none, and delimiters to the width of the table."""
    found = at
    while width > 2 and found + 1 < len(records) and sum(bool(each.strip()) for each in records[found]) < 2:
        found += 1
    return found if len(records[found]) == width and found - at < 20 else at


def _in_comment(comment: str | None, width: int, delimiter: str) -> list[str] | None:
    """The names in a line of comments that has as many values as the rows."""
    if comment is None:
        return None
    text = comment.lstrip("#").strip("\r\n")
    names = text.split() if delimiter == " " else next(iter(_parsed(text, delimiter)), [])
    if len(names) == width and not any(_NUMBER.fullmatch(name.strip()) for name in names):
        bare = [name.strip() for name in names]
        return ["#", *bare[1:]] if not bare[0] else bare
    return None


def _parsed(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader([text], delimiter=delimiter)


def _lacks_last(above: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a line names all columns, and each row ends in a delimiter more."""
    ended = len(above) == width - 1 and all(len(row) == width and not row[-1].strip() for row in rows)
    return ended and _names(above, [row[:-1] for row in rows])


def _lacks_first(above: Sequence[str], first: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a line names all columns but the first, as R writes names of rows."""
    if len(above) != width - 1 or not all(name.strip() for name in above) or len(set(above)) < len(above):
        return False
    if any(_NUMBER.fullmatch(name.strip()) for name in above) or _names(first, rows[1:]):
        return False
    return all(len(row) == width for row in rows) and len({row[0] for row in rows}) == len(rows)


def _names(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a record names columns, rather than being the first row."""
    values = [value.strip() for value in first]
    numbers = [value for value in values if _NUMBER.fullmatch(value)]
    texts = [(i, value) for i, value in enumerate(values) if value not in MISSING_NUMBERS and value not in numbers]
    if not numbers:
        return bool(texts)
    if not all(_WHOLE.fullmatch(value) for value in numbers) or len(set(numbers)) < len(numbers):
        return False
    if not texts:
        without_first = not values[0] and bool(below) and all(row[0].strip() for row in below)
        return without_first or (_counts(values) and (len(values) > 2 or _fractions(below)))
    recurs = any(row[i].strip() == value for i, value in texts for row in below)
    return not recurs and _in_steps([int(value) for value in numbers])


def _counts(values: Sequence[str]) -> bool:
    """Whether they are 0, 1, 2, ... or 1, 2, 3, ..."""
    return any(list(values) == [str(i + start) for i in range(len(values))] for start in (0, 1))


def _fractions(rows: Sequence[Sequence[str]]) -> bool:
    """Whether more than half of the values are no whole numbers."""
    cells = [cell.strip() for row in rows for cell in row]
    return 2 * sum(not re.fullmatch(r"[+-]?[0-9]+", cell) for cell in cells) > len(cells)


def _in_steps(numbers: Sequence[int]) -> bool:
    """Whether whole numbers are years, or go up in small steps, as names do and values rarely."""
    steps = {b - a for a, b in pairwise(numbers)}
    up = all(step > 0 for step in steps)
    return up and (all(1800 <= each <= 2100 for each in numbers) or (len(steps) == 1 and max(steps) <= 10))


def _named(first: Sequence[str]) -> tuple[str, ...]:
    """Names without blanks around them; a column without a name has one by its place, as pandas gives it."""
    return tuple(name.strip() or f"Unnamed: {i}" for i, name in enumerate(first))


def _about_titles(above: Sequence[Sequence[str]]) -> Iterator[Note]:
    if above:
        lines = f"{len(above)} line{'s' if len(above) > 1 else ''}"
        words = f"{lines} above the header left out ({_shown(above[0])}{', ...' if len(above) > 1 else ''})"
        yield Note(words, "skip", len(above) + 1)


def _about_numbers(first: Sequence[str]) -> Iterator[Note]:
    numbers = [value.strip() for value in first if _NUMBER.fullmatch(value.strip())]
    if numbers:
        yield Note(f"names that are numbers in its first line ({_shown(numbers)})", "header", False)


def _shown(record: Sequence[str]) -> str:
    text = ", ".join(value.strip() for value in record if value.strip())
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
