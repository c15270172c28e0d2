"""Several files as one table: the rows of one behind those of the other, with errors that name the file of a row."""

from __future__ import annotations

import re
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.base.data_error import DataError, Options
from marginflow.base.data_warning import reworded
from marginflow.base.names import listed
from marginflow.data.tables.cells import Texts, numbers, pc
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.notes import Note, told
from marginflow.data.tables.paths import all_of
from marginflow.data.tables.read import Content, read
from marginflow.data.tables.row_numbers import row_numbers

SHOWN = 20  # files or columns that do not fit, each in a line
_ROW = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\brow (\d+)""")  # outside of what is quoted
Wanted = Callable[[list[str]], tuple[Set[str] | None, Set[str]]]


class Several:
    """Files that were read as one table.

    Args:
        files: of the table.
        sizes: how many rows each has.

    Examples:
        >>> Several([Path("a.csv"), Path("b.csv")], [100, 50]).placed("'row 3' in row 120 (counted from 0)")
        "'row 3' in row 20 of b.csv (counted from 0)"
    """

    def __init__(self, files: Sequence[Path], sizes: Sequence[int]) -> None:
        self.files, self.starts = files, [0, *accumulate(sizes)][:-1]

    def placed(self, text: str) -> str:
        """A message whose rows are numbers in their files, which it names."""
        return _ROW.sub(lambda found: found[0] if found[1] is None else self._row(int(found[1])), text)

    def _row(self, row: int) -> str:
        place = bisect_right(self.starts, row) - 1
        return f"row {row - self.starts[place]} of {self.files[place]}"

    @contextmanager
    def naming_rows(self) -> Iterator[None]:
        """Let errors and warnings say in which file a row is."""
        caught = list[warnings.WarningMessage]()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
        except DataError as error:
            raise DataError([self.placed(line) for line in error.lines], error.remedies) from error
        except ValueError as error:
            raise ValueError(self.placed(str(error))) from error
        finally:
            for each in caught:
                warnings.warn(reworded(each.message, self.placed), each.category, stacklevel=4)


def together(files: Sequence[Path], asked: Asked, wanted: Wanted) -> tuple[Content, Several]:
    """The rows of several files, in their order.

    Args:
        files: two or more.
        asked: how their text is written, as far as the user says.
        wanted: given the names of all columns, those that each file must have, None for all, and those that are left
            out anyway.

    Returns:
        What they hold together, and where each file's rows are.

    Raises:
        DataError: where files cannot be read, or have other columns, or columns of other types than the first; of all
            files at once.
    """
    contents = _read(files, asked)
    every = list(dict.fromkeys(name for content in contents for name in content.columns))
    only, without = wanted(every)
    needed = [name for name in every if name not in without and (only is None or name in only)]
    _require_same(files, contents, needed, without)
    sizes = [len(next(iter(content.columns.values()))) for content in contents]
    columns, wrong = dict[str, Any](), list[str]()
    options: Options = {}
    for name in every:
        if name in needed:
            found = _joined([content.columns[name] for content in contents])
            if isinstance(found, _Apart):
                wrong.append(f"column {name!r} is {found.first} in {files[0]} and {found.other} in {files[found.file]}")
                options = {**options, **found.mends}
            else:
                columns[name] = found
        elif name in without:
            columns[name] = pa.chunked_array([pa.nulls(sum(sizes))])  # of a name that may be typed, and is not read
    if wrong:
        raise _refused(f"{all_of(files)}: {len(wrong)} columns differ in type", wrong, options)
    _say_how_they_are_written(files, contents)
    return Content(columns, None, _numbering(contents)), Several(files, sizes)


class _Apart:
    """What one column is in the first file and in another where both do not go together."""

    def __init__(self, first: str, other: str, file: int, mends: Options = {}) -> None:  # noqa: B006 - it is not changed
        self.first, self.other, self.file, self.mends = first, other, file, mends


def _read(files: Sequence[Path], asked: Asked) -> list[Content]:
    """What each file holds, or all that is wrong with them."""
    contents, errors = list[Content](), list[Exception]()
    for file in files:
        try:
            contents.append(read(file, asked))
        except (ValueError, OSError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = [line for error in errors for line in (error.lines if isinstance(error, DataError) else [str(error)])]
        remedies = [each for error in errors if isinstance(error, DataError) for each in error.remedies]
        different = [each for i, each in enumerate(remedies) if each not in remedies[:i]]
        raise DataError([f"{len(errors)} of {len(files)} files cannot be read:", *_some(lines)], different)
    return contents


def _require_same(files: Sequence[Path], contents: Sequence[Content], needed: Sequence[str], without: Set[str]) -> None:
    """Refuse files of which one lacks a column that another has, with all of these columns."""
    lines = []
    for file, content in zip(files, contents, strict=True):
        missing = [name for name in needed if name not in content.columns]
        if missing:
            lines.append(f"{file} lacks {listed(missing)}, which {_holder(files, contents, missing[0])} has")
    if lines:
        common = [name for name in needed if all(name in content.columns for content in contents)]
        others = [name for name in needed if name not in common]
        leave_out: tuple[str, Options] = ("leave out what some lack", {"drop": [*sorted(without), *others]})
        remedies = [leave_out] if common else []
        if len(lines) == 1:
            raise DataError([f"the files have different columns: {lines[0]}"], remedies)
        heading = f"{len(lines)} of {len(files)} files lack columns that others have:"
        raise DataError([heading, *_some(lines)], remedies)


def _holder(files: Sequence[Path], contents: Sequence[Content], name: str) -> Path:
    return next(file for file, content in zip(files, contents, strict=True) if name in content.columns)


def _joined(columns: Sequence[Any]) -> Any:
    """The values of one column in all files, behind each other; `_Apart` where they are of different types."""
    if all(isinstance(each, np.ndarray) for each in columns):
        return np.concatenate(columns)
    if all(isinstance(each, Texts) for each in columns):
        return _of_texts(columns)
    of_text = all(isinstance(each, Texts) or _holds_text(_plain(each).type) for each in columns)
    every = [_typed(each, of_text) if isinstance(each, Texts) else _plain(each) for each in columns]
    if len({each.type for each in every}) > 1:
        every = [each.cast(each.type.value_type) if pa.types.is_dictionary(each.type) else each for each in every]
    for i, each in enumerate(every):
        if not _go_together(every[0].type, each.type):
            return _Apart(str(every[0].type), str(each.type), i)
    tables = [pa.table({"0": each}) for each in every]
    try:
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().column(0)
    except pa.ArrowInvalid:  # whole numbers that others' type cannot hold
        other = next(i for i, each in enumerate(every) if each.type != every[0].type)
        return _Apart(str(every[0].type), str(every[other].type), other)


def _of_texts(columns: Sequence[Texts]) -> Texts | _Apart:
    """Cells of text, whose numbers are written alike."""
    first = columns[0]
    for i, each in enumerate(columns):
        if (each.decimal, each.thousands) != (first.decimal, first.thousands):
            words = [f"text with {mark!r} as decimal mark" for mark in (first.decimal, each.decimal)]
            return _Apart(words[0], words[1], i, {"decimal": ","})
    chunks = [chunk for each in columns for chunk in each.cells.chunks]
    return Texts(pa.chunked_array(chunks, pa.string()), first.decimal, first.thousands)


def _plain(column: Any) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(column)]) if isinstance(column, np.ndarray) else column


def _typed(column: Texts, of_text: bool) -> pa.ChunkedArray:
    """Cells beside columns that have types: as numbers where they are such, or as text, an empty one as missing."""
    if of_text:
        empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column.cells)), 0)
        return pc.if_else(empty, pa.scalar(None, pa.string()), column.cells)
    found, wrong = numbers(column)
    return found if wrong is None else column.cells


def _holds_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _go_together(one: pa.DataType, other: pa.DataType) -> bool:
    families = (
        lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
        lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        lambda kind: pa.types.is_timestamp(kind) and kind.tz == getattr(one, "tz", None),
        pa.types.is_decimal,
    )
    alike = one == other or pa.types.is_null(one) or pa.types.is_null(other)
    return alike or any(family(one) and family(other) for family in families)


def _numbering(contents: Sequence[Content]) -> tuple[str, ...]:
    """The columns that number the rows of each file."""
    found = [{name for name, _ in row_numbers(content.columns, content.index)} for content in contents]
    return tuple(name for name in contents[0].columns if all(name in names for names in found))


def _say_how_they_are_written(files: Sequence[Path], contents: Sequence[Content]) -> None:
    """Warn once of what is not the custom in how files are written."""
    said = set[tuple[Note, ...]]()
    for file, content in zip(files, contents, strict=True):
        if content.dialect is not None and content.dialect.notes not in said:
            said.add(content.dialect.notes)
            warning = told(content.dialect, file)
            if warning is not None:
                warnings.warn(warning, stacklevel=3)


def _refused(heading: str, lines: Sequence[str], options: Options) -> DataError:
    remedies = [("read all files so", options)] if options else []
    if len(lines) == 1:
        return DataError([f"{lines[0]}{'' if options else ': write both files alike'}"], remedies)
    return DataError([f"{heading}:", *_some(lines), *([] if options else ["write all files alike"])], remedies)


def _some(lines: Sequence[str]) -> list[str]:
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"  {line}" for line in lines[:SHOWN]] + more
