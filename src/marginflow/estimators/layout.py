"""Rows as an estimator gets them, arrays or data frames, as tensors; and samples as rows of the same type."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.base.names import listed
from marginflow.data import DataSet, DataSpec
from marginflow.data.column_options import ColumnOptions, options_in
from marginflow.data.columns import warn_of_repeating_values
from marginflow.data.schema import CONTINUOUS, Schema
from marginflow.data.tables.day_and_month import telling
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.frames import SOURCE, FrameType, content_of, is_frame
from marginflow.data.tables.gaps import Gaps
from marginflow.data.tables.in_memory import of_any_kind, of_numbers
from marginflow.data.tables.read import Content, matrix, of_array
from marginflow.models import FLOWS, TABLE_MODELS

REAL = ColumnOptions(kind="real", blank=False)


@dataclass(frozen=True)
class Layout:
    """How rows are given.

    Attributes:
        frame: the type of the data frame; None of arrays.
        names: of the columns, x0, x1, ... of an array; those left out are among them.
        given: of the columns of the context, c0, c1, ... of an array.
        schema: of columns of any kind; None where all are real numbers.
        is_of_run: whether it is a file's, from whose columns a data frame is taken by name.
    """

    frame: FrameType | None
    names: tuple[str, ...]
    given: tuple[str, ...] = ()
    schema: Schema | None = None
    is_of_run: bool = False

    @classmethod
    def of_run(cls, spec: DataSpec) -> Layout:
        """That of a run's rows: data frames of pandas where it is installed, else of Arrow; arrays if without names."""
        names = spec.column_names
        if spec.schema is not None:
            names = [each.name for each in spec.schema.columns if not each.given and not each.weighs]
        given = () if spec.schema is None else tuple(each.name for each in spec.schema.given)
        is_array = names == [f"x{i}" for i in range(len(names))]
        return cls(None if is_array else FrameType(_library()), tuple(names), given, spec.schema, is_of_run=True)

    @property
    def kept(self) -> list[str]:
        """The columns that are modelled."""
        return list(self.names) if self.schema is None else self.schema.names

    def read(self, X: Any, context: Any = None) -> tuple[Tensor, Tensor | None, Gaps]:
        """Rows and their context as the model takes them.

        Args:
            X: an array of float64, or a data frame with all columns that are modelled.
            context: an array or data frame of the context, where there is one.

        Returns:
            (N, D) and (N, C), None without a context; and the cells that the model has no place for, in whose place
            something stands that it knows.

        Raises:
            DataError: for columns that are missing, and for those none of whose cells can be read.
            ValueError: for a context where none was fitted, or the other way round.
        """
        return self._read(_columns(X, self.names), len(X), context)

    def read_without(self, X: Any, column: str, context: Any = None) -> tuple[Tensor, Tensor | None, Gaps]:
        """The same, but for one column, which may be missing and whatever whose values are, is blank."""
        columns, number = _columns(X, self.names), len(X)
        blank = np.full(number, np.nan) if self.schema is None else pa.nulls(number, pa.string())
        return self._read({**columns, column: blank}, number, context)

    def _read(self, columns: Mapping[str, Any], number: int, context: Any) -> tuple[Tensor, Tensor | None, Gaps]:
        gaps = Gaps()
        if self.schema is None:
            _require_no_context(context)
            x = matrix(columns, self.names, Path(SOURCE), free=False, read=gaps.of_number)
            return torch.from_numpy(x).double(), None, gaps
        known = {name: columns[name] for name in columns if name in self.kept}
        known |= self._context(context, number) if self.given else {}
        if not self.given:
            _require_no_context(context)
        with telling(self.schema, Path(SOURCE)) as order:
            order.count(known)
            x, given, _ = encoded(known, self.schema, Path(SOURCE), read=gaps.of_kind)
        return x, given, gaps

    def read_context(self, context: Any) -> Tensor | None:
        """The context alone, as the model takes it (N, C)."""
        if not self.given or self.schema is None:
            _require_no_context(context)
            return None
        known = self._context(context, None)
        alone = Schema(tuple(replace(each, given=False) for each in self.schema.given))
        return encoded(known, alone, Path("the context"))[0]

    def _context(self, context: Any, num_rows: int | None) -> dict[str, Any]:
        if context is None:
            raise ValueError(f"the rows are modelled given {listed(list(self.given))}: give them, context=")
        columns = _context_columns(context, num_rows)[0]
        return {name: columns[name] for name in columns if name in self.given}

    def write(self, x: Tensor) -> Any:
        """Rows of the model as those that were fitted: an array of float64, or a data frame with its types."""
        x = x.detach().cpu().double()
        if self.schema is None and self.frame is None:
            return x.numpy()
        if self.schema is None:
            table = pa.table(list(np.ascontiguousarray(x.numpy().T)), names=list(self.names))
        else:
            table = decoded(x, self.schema)
        if self.frame is None:
            return np.stack([column.to_numpy() for column in table.columns], 1)
        return self.frame.frame(table)


def data_of(
    X: Any,
    context: Any,
    weight: np.ndarray | None,
    *,
    model: str | None,
    schema: Mapping[str, Any] | None,
    seed: int,
) -> tuple[DataSet, Layout]:
    """Rows to be fitted as a data set, and how they were given.

    Args:
        X: an array of float64, or a data frame.
        context: an array or data frame, given which the columns of X are modelled; None without one.
        weight: of each row (N,); None where all count the same.
        model: its name; a flow takes real numbers only. None where columns are to tell.
        schema: what the user says of columns, by name; None where they are to tell.
        seed: by which validation rows are drawn.

    Returns:
        The data set and the `Layout`.

    Raises:
        DataError: for all that does not fit.
    """
    content, frame = content_of(X) if is_frame(X) else (Content(of_array(X)), None)
    names = tuple(content.columns)
    any_kind = schema is not None or context is not None or model in TABLE_MODELS
    if not any_kind and (frame is None or _are_real(content)):
        x = torch.from_numpy(matrix(content.columns, names, Path(SOURCE))).double()
        data = of_numbers(x, names, None if weight is None else torch.from_numpy(weight), seed)
        return data, Layout(frame, names)
    given, is_named = ({}, False) if context is None else _context_columns(context, len(X))
    overlap = [name for name in given if name in names]
    if overlap:
        raise DataError([f"{listed(overlap)} are columns of X and of the context: leave them out of one"])
    options: dict[str, ColumnOptions] | None = None
    if schema is not None or model not in FLOWS:
        told = options_in(schema or {})
        options = {name: _category(column) for name, column in content.columns.items() if _is_category(column)}
        options |= {} if frame is not None else dict.fromkeys(names, REAL)
        options |= {} if is_named else dict.fromkeys(given, REAL)
        options |= told
    elif given and not is_named:
        options = {**dict.fromkeys(names, REAL), **dict.fromkeys(given, REAL)}
    weights, more = None, dict[str, Any]()
    if weight is not None:
        weights = "sample_weight"
        while weights in names or weights in given:
            weights += "_"
        more = {weights: weight}
    content = Content({**content.columns, **given, **more})
    try:
        data = of_any_kind(content, options, seed, context=tuple(given), weights=weights)
    except DataError as error:
        raise DataError(error.lines, [(words, _as_schema(each)) for words, each in error.remedies]) from None
    if options is None:  # as a flow is told of columns that are real by their types
        warn_of_repeating_values(data.train.take().x, data.columns)
    return data, Layout(frame, names, tuple(given), data.schema)


def _columns(X: Any, names: Sequence[str]) -> dict[str, Any]:
    """The columns of rows by name; those of an array get the names of what was fitted."""
    if is_frame(X):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # said when it was fitted
            return content_of(X)[0].columns
    array = np.asarray(X)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise ValueError(f"X must have {len(names)} columns, as the rows that were fitted; got shape {array.shape}")
    return dict(zip(names, array.T, strict=True))


def _context_columns(context: Any, num_rows: int | None) -> tuple[dict[str, Any], bool]:
    """The columns of a context, and whether they have names."""
    if hasattr(context, "to_frame") and not is_frame(context):  # one column, as pandas and polars have it
        context = context.to_frame()
    if is_frame(context):
        columns, is_named = content_of(context)[0].columns, True
        count = len(next(iter(columns.values())))
    else:
        from sklearn.utils.validation import check_array

        array = check_array(context, dtype="float64", ensure_2d=False, input_name="context")
        array = array.reshape(len(array), -1)
        columns, is_named, count = {f"c{i}": column for i, column in enumerate(array.T)}, False, len(array)
    if num_rows is not None and count != num_rows:
        raise ValueError(f"context must have a row for each of the {num_rows} rows of X; got {count}")
    return columns, is_named


def _require_no_context(context: Any) -> None:
    if context is not None:
        raise ValueError("context= is for an estimator that was fitted with one: leave it out")


def _are_real(content: Content) -> bool:
    """Whether all columns of a frame are real numbers, by their types and values."""
    if not all(pa.types.is_floating(column.type) and not column.null_count for column in content.columns.values()):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            found = drafted(content.columns, path=Path(SOURCE))
    except DataError:
        return False
    return all(column.kind in CONTINUOUS and not column.blank for column in found.columns)


def _is_category(column: Any) -> bool:
    """Whether a column is a category by its type, though its values are numbers."""
    kind = getattr(column, "type", None)
    return kind is not None and pa.types.is_dictionary(kind) and pa.types.is_integer(kind.value_type)


def _category(column: Any) -> ColumnOptions:
    return ColumnOptions(kind="ordered" if column.type.ordered else "category")


def _as_schema(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a file as those of an estimator, in which a column is left out by its kind."""
    if "drop" not in options:
        return options
    return {"schema": {name: {"kind": "identifier"} for name in options["drop"]}}


def _library() -> str:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return "arrow"
    return "pandas"
