"""Other rows for a model: those of another file, chunk after chunk, in the columns that the model takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.base.labels import place_of, unknown
from marginflow.base.names import hint_at, listed
from marginflow.data.dataset import DataSpec, Split
from marginflow.data.schema import Schema
from marginflow.data.tables.cells import Texts, part_of
from marginflow.data.tables.day_and_month import telling
from marginflow.data.tables.dialect import Asked, Dialect
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.formats import is_text, require_file
from marginflow.data.tables.gaps import Gaps
from marginflow.data.tables.labels import codes_of, one_hot
from marginflow.data.tables.notes import told
from marginflow.data.tables.read import dialect_of, holds_numbers, matrix
from marginflow.data.tables.row_numbers import is_no_data
from marginflow.data.tables.stream import chunks, names_of
from marginflow.data.tables.weights import weights_of


@dataclass(frozen=True)
class Beside:
    """Some rows of a file for a model, and columns of the file beside them.

    Attributes:
        rows: as the model takes them; something that it knows stands for cells that it has no place for.
        kept: columns of the file as they stand there, those of a text as text; None where none are kept.
        gaps: the cells that the model has no place for.
        first: the number of the first row in the file.
    """

    rows: Split
    kept: pa.Table | None
    gaps: Gaps
    first: int


class OtherRows:
    """The rows of a file for a model of rows of this kind, chunk after chunk; it need not fit into memory.

    The columns of the model are found by name, in any order, and its labels and weights where they are. Columns that
    it does not know come with a warning, unless it is said what is kept, and so do weights that are not there.

    Args:
        spec: of the rows that the model takes.
        path: the file.
        asked: how the text that the model was trained on is written as far as its user said. It holds for this one
            where it makes numbers of the model's columns; otherwise the text tells itself.
        labels: the column of labels.
        weights: the column of weights; that of a schema is known.

    Raises:
        ValueError: where the file is none of a table, or a column of the model is missing.
    """

    def __init__(
        self,
        spec: DataSpec,
        path: str,
        asked: Asked | None = None,
        labels: str | None = None,
        weights: str | None = None,
    ) -> None:
        self.spec, self.path, self.labels, self.weights = spec, Path(path), labels, weights
        self.expected = spec.column_names
        if spec.schema is not None:
            self.expected = [column.name for column in spec.schema.columns if column.is_modelled or column.given]
            self.weights = next((column.name for column in spec.schema.columns if column.weighs), None)
        self.dialect = _dialect_for(self.path, asked or Asked(), self.expected, spec.schema is None)

    @cached_property
    def names(self) -> list[str]:
        """Of all columns of the file."""
        return names_of(self.path, self.dialect)

    def splits(self, rows: int | None = None) -> Iterator[Split]:
        """The rows of each chunk, with their labels as context, and their weights, which may all be 0.

        rows: only the first so many. ValueError for values that do not fit, and labels that the model does not know.
        """
        for each in self._labelled(rows, strict=True):
            yield each.rows

    def with_gaps(self, rows: int | None = None) -> Iterator[Beside]:
        """The same; cells that the model has no place for are told, and refused only where a column holds no other."""
        return self._labelled(rows, strict=False)

    def _labelled(self, rows: int | None, *, strict: bool) -> Iterator[Beside]:
        known = self.labels if self.spec.labels else None
        first = 0
        with telling(self.spec.schema, self.path) as order:
            for content in self._chunks([known, self.weights]):
                if rows is not None:
                    content = _head(content, rows - first)
                order.count(content)
                gaps = Gaps()
                x, context = _rows(content, self.spec, self.expected, self.path, first, None if strict else gaps)
                if known is not None and known in content:
                    context = _known_labels(content[known], known, self.spec, self.path, first)
                yield Beside(Split(x, context, self._weight(content, first)), None, gaps, first)
                first += len(x)
                if first == rows:
                    return

    def beside(self, keep: Sequence[str]) -> Iterator[Beside]:
        """The rows of each chunk beside some columns of the file; cells that the model has no place for are told.

        Labels and weights are not read. ValueError for a column to keep that is not there, and for columns none of
        whose cells can be read.
        """
        self._require_known(keep)
        first = 0
        with telling(self.spec.schema, self.path) as order:
            for content in self._chunks(keep, keep):
                order.count(content)
                gaps = Gaps()
                x, context = _rows(content, self.spec, self.expected, self.path, first, gaps)
                kept = pa.table([_as_arrow(content[name]) for name in keep], names=list(keep)) if keep else None
                yield Beside(Split(x, context), kept, gaps, first)
                first += len(x)

    def _chunks(self, more: Sequence[str | None], keep: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """All columns by name; of those that are neither the model's nor among `more`, the names alone."""
        is_first, wanted = True, [name for name in more if name is not None]
        for content in chunks(self.path, self.expected, wanted, self.dialect):
            if is_first:
                found = [name for name in content if name not in (self.labels, self.weights)]
                require_same_columns(self.expected, found, str(self.path), self.spec.schema, keep)
                if keep is None and self.weights is not None and self.weights not in content:
                    lacking = f"{self.path} lacks {self.weights!r}, the weights of the model's training rows"
                    _warn(DataWarning(f"{lacking}: all rows count the same"))
            is_first = False
            yield content

    def _weight(self, content: Mapping[str, Any], first: int) -> Tensor | None:
        name = self.weights
        return None if name is None or name not in content else weights_of(content, name, self.path, first)

    def _require_known(self, keep: Sequence[str]) -> None:
        wrong = [name for name in keep if name not in self.names]
        if wrong:
            hint = hint_at(wrong[0], self.names, " ").strip()
            raise DataError([
                f"{self.path} has no column {listed(wrong)}; it has {listed(self.names)}{f': {hint}' if hint else ''}"
            ])  # fmt: skip
        twice = [name for i, name in enumerate(keep) if name in keep[:i]]
        if twice:
            raise DataError([f"{listed(twice)} is to be kept twice, and columns need names of their own: name it once"])


def chunks_for(
    spec: DataSpec,
    path: str,
    asked: Asked | None = None,
    labels: str | None = None,
    rows: int | None = None,
    weights: str | None = None,
) -> Iterator[Split]:
    """The rows of a table, chunk after chunk, for a model of rows of this kind, as `OtherRows.splits` gives them."""
    return OtherRows(spec, path, asked, labels, weights).splits(rows)


def _rows(
    content: Mapping[str, Any], spec: DataSpec, names: Sequence[str], file: Path, first: int, gaps: Gaps | None
) -> tuple[Tensor, Tensor | None]:
    """Rows and context of a chunk of a file, for a model of rows of this kind."""
    if spec.schema is None:
        read: dict[str, Any] = {} if gaps is None else {"read": gaps.of_number}
        return torch.from_numpy(matrix(content, names, file, first, free=False, **read)), None
    own = {name: content[name] for name in names}
    x, context, _ = encoded(own, spec.schema, file, first, None if gaps is None else gaps.of_kind)
    return x, context


def _head(content: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The first cells of each column that was read."""
    return {name: None if column is None else part_of(column, 0, count) for name, column in content.items()}


def _as_arrow(column: Any) -> Any:
    """A column as it stands in the file, a text's as text."""
    if isinstance(column, Texts):
        return column.cells
    return pa.array(column.astype(column.dtype.newbyteorder("="))) if isinstance(column, np.ndarray) else column


def _dialect_for(file: Path, asked: Asked, names: Sequence[str], are_numbers: bool) -> Dialect | None:
    """How a text table is written that has the columns of a model; None for other files."""
    if not is_text(require_file(file)):
        return None
    if asked != Asked():
        with suppress(ValueError):
            dialect = dialect_of(file, asked)
            if set(names) <= set(dialect.names) and not (are_numbers and not holds_numbers(file, dialect, names)):
                return dialect
    dialect = dialect_of(file, Asked())
    _warn(told(dialect, file, free=False))
    return dialect


def _known_labels(column: Any, name: str, spec: DataSpec, file: Path, first: int) -> Tensor:
    """A column of labels as one-hot vectors of the classes that a model knows; ValueError for others."""
    codes, found = codes_of(column, name, file, first)
    places = [place_of(each, spec.labels) for each in found]
    if None in places:
        others = [each for each, place in zip(found, places, strict=True) if place is None]
        raise ValueError(unknown(others, spec.labels, f"{file}: column {name!r} has the label "))
    return one_hot(np.array(places, np.int64)[codes], len(spec.labels))


def require_same_columns(
    expected: Sequence[str],
    found: Sequence[str],
    source: str,
    schema: Schema | None = None,
    kept: Sequence[str] | None = None,
) -> None:
    """Refuse columns among which some of the model's are missing; warn of others, unless the user says what is kept."""
    missing = [name for name in expected if name not in found]
    known = {*expected, *(() if schema is None else (column.name for column in schema.columns))}
    extra = [name for name in found if name not in known and not is_no_data(name)]
    if missing:
        others = f", and has {listed(extra)} instead" if extra else ""
        it = "it" if len(missing) == 1 else "them"
        add = f"add {it} to the table" + (f", rename {it} there" if extra else "")
        can_do_without = len(missing) < len(expected)
        raise DataError(
            [
                f"{source} has other columns than the model: it lacks {listed(missing)}{others}: the model takes "
                f"{listed(expected)}{'' if can_do_without else f': {add}'}"
            ],
            [(f"{add}, or train a model without {it}", {"train": {"drop": missing}})] if can_do_without else [],
        )
    if extra and kept is None:
        warnings.warn(f"{source}: {listed(extra)} left out, not known to the model", DataWarning, stacklevel=3)


def _warn(message: DataWarning | None) -> None:
    if message is not None:
        warnings.warn(message, stacklevel=2)
