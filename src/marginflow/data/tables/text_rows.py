"""Rows of a text table, batch after batch, each cell as the text that it is."""

from __future__ import annotations

import csv as python_csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from marginflow.data.tables.dialect import Dialect
from marginflow.data.tables.text import texts

_COMMENTS = re.compile(r"(?:^|(?<=[\r\n]))#[^\r\n]*(?:\r\n|\r|\n|$)")
_LAST_END = re.compile(r"[\r\n](?=[^\r\n]*$)")


class _Bytes(io.RawIOBase):
    """Text as UTF-8, as many bytes as are asked for."""

    def __init__(self, parts: Iterator[str]) -> None:
        self.parts, self.waiting = parts, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        whole, count = [self.waiting], len(self.waiting)
        while count < size and (part := next(self.parts, None)) is not None:
            whole.append(part.encode())
            count += len(whole[-1])
        found = b"".join(whole)
        self.waiting = found[size:]
        buffer[: min(size, count)] = found[:size]
        return min(size, count)


def batches(path: Path, dialect: Dialect, columns: Sequence[str], at_once: int) -> Iterator[pa.RecordBatch]:
    """The text of some columns, batch after batch; ValueError where a line has another number of values.

    at_once: bytes that are read at once.
    """
    place_of = {name: str(i) for i, name in enumerate(dialect.names)}
    places = [place_of[name] for name in columns]
    every = [str(i) for i in range(len(dialect.names))]  # by number, since names may not be what they seem to arrow
    source = pa.PythonFile(_Bytes(_lines(path, dialect)), mode="r")
    try:
        reader = csv.open_csv(
            source,
            read_options=csv.ReadOptions(column_names=every, block_size=at_once, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(every, pa.string()), strings_can_be_null=False, include_columns=places
            ),
        )
        for batch in reader:
            yield pa.RecordBatch.from_arrays(batch.columns, names=list(columns))
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        ragged = _ragged(path, dialect)
        if ragged is None and "straddling" in str(error):
            raise ValueError(f"a line is longer than {at_once:,} bytes: is a quotation mark left open?") from error
        raise ValueError(ragged or str(error)) from error


def _lines(path: Path, dialect: Dialect) -> Iterator[str]:
    """The text from the first row on, whole lines where lines are changed."""
    parts = _from(texts(path, dialect.encoding), dialect.start)
    if not dialect.comments and dialect.delimiter != " ":
        yield from parts
        return
    rest = ""
    for part in chain(parts, [None]):
        rest += part or ""
        end = len(rest)
        if part is not None:
            last = _LAST_END.search(rest[:-1])  # a \r may be the first half of an end
            if last is None:
                continue
            end = last.end()
        whole, rest = rest[:end], rest[end:]
        whole = _COMMENTS.sub("", whole) if dialect.comments else whole
        yield dialect.spaced(whole)


def _from(parts: Iterator[str], start: int) -> Iterator[str]:
    """The text without so many characters at its start."""
    for part in parts:
        yield part[start:]
        start = max(0, start - len(part))


def _ragged(path: Path, dialect: Dialect) -> str | None:
    """Which lines have another number of values, found by reading all of them once more; None where none has."""
    width, found, count = len(dialect.names), [], 0
    skipped = _count_lines(path, dialect)
    lines = io.TextIOWrapper(
        io.BufferedReader(_Bytes(_from(texts(path, dialect.encoding), dialect.start))), "utf-8", newline=""
    )
    kept = ((dialect.spaced(line) if not (dialect.comments and line.startswith("#")) else "\n") for line in lines)
    reader = python_csv.reader(kept, delimiter=dialect.delimiter)
    try:
        before = 0
        for row in reader:
            if row and len(row) != width:
                count += 1
                if len(found) < 3:
                    found.append(f"line {skipped + before + 1} has {_values(len(row))} ({_shown(row, dialect)})")
            before = reader.line_num
    except python_csv.Error as error:
        return f"line {skipped + reader.line_num} cannot be read ({error})"
    if not found:
        return None
    more = f", and {count - len(found)} more lines" if count > len(found) else ""
    return f"{'; '.join(found)}{more}; {_values(width)} are expected: correct or remove such lines"


def _values(count: int) -> str:
    return f"{count} value{'' if count == 1 else 's'}"


def _shown(row: Sequence[str], dialect: Dialect) -> str:
    text = dialect.delimiter.join(row)
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _count_lines(path: Path, dialect: Dialect) -> int:
    """How many lines there are before the first row."""
    above, left = "", dialect.start
    for part in texts(path, dialect.encoding):
        above += part[:left]
        left -= len(part)
        if left <= 0:
            break
    return len(re.findall(r"\r\n|\r|\n", above))
