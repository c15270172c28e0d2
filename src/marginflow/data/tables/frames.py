"""Rows in memory: data frames of any library as a table's columns, and rows as a frame of the same library again."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.base.literal import literal
from marginflow.base.names import listed
from marginflow.data.tables.read import Content

SOURCE = "the rows"  # what messages call them in place of a file


@dataclass(frozen=True)
class FrameType:
    """Of what library a data frame is, and the types of its columns there.

    Args:
        library: "pandas", "polars" or "arrow"; of any other frame the rows come back as an Arrow table.
        names: of its columns as it has them, by the text that they are called here.
        dtypes: of its columns, by name, as the library has them.

    Examples:
        >>> FrameType("arrow").frame(pa.table({"a": [1]})).column_names
        ['a']
    """

    library: str
    names: Mapping[str, Any] = field(default_factory=dict)
    dtypes: Mapping[str, Any] = field(default_factory=dict)

    def frame(self, table: pa.Table) -> Any:
        """Rows as a frame of this library, each column in the type that it had; the columns may be some of them."""
        if self.library == "pandas":
            import pandas as pd

            columns = {name: _series(table[name], self.dtypes.get(name)) for name in table.column_names}
            found = pd.DataFrame(columns)
            found.columns = pd.Index([self.names.get(name, name) for name in columns])
            return found
        if self.library == "polars":
            import polars as pl

            columns = [_polars(table[name], name, self.dtypes.get(name)) for name in table.column_names]
            return pl.DataFrame(columns)
        return table


def is_frame(x: object) -> bool:
    """Whether this is a data frame, or an Arrow table: rows whose columns have names.

    >>> is_frame(np.zeros((2, 2))), is_frame(pa.table({"a": [1]}))
    (False, True)
    """
    hands_out = hasattr(x, "__dataframe__") or hasattr(x, "__arrow_c_stream__")
    has_columns = hasattr(x, "columns") or hasattr(x, "column_names")
    return _is_pandas(x) or isinstance(x, pa.Table | pa.RecordBatch) or (hands_out and has_columns)


def names_of(frame: Any) -> list[str]:
    """The names of a data frame's columns, as text.

    >>> names_of(pa.table({"a": [1]}))
    ['a']
    """
    return [str(each) for each in (frame.column_names if hasattr(frame, "column_names") else frame.columns)]


def is_nameless(x: Any) -> bool:
    """Whether a data frame is an array to scikit-learn: numbers under names none of which is text."""
    return _is_pandas(x) and not any(isinstance(each, str) for each in x.columns) and _holds_numbers(x)


def content_of(frame: Any) -> tuple[Content, FrameType]:
    """The columns of a data frame as those of a table that was read.

    Args:
        frame: of pandas, polars or Arrow, or of what hands out Arrow's or the interchange protocol's columns
            (`__arrow_c_stream__`, `__dataframe__`). The index of pandas is left out, with a warning where it has a
            name.

    Returns:
        The columns by name, and what makes rows a frame of the same library again.

    Raises:
        DataError: for two columns of one name, for columns of objects of several types, such as numbers and text, and
            for a frame without rows.

    Examples:
        >>> content, kind = content_of(pa.table({"size": ["S", "M"], "price": [1.5, 2.25]}))
        >>> list(content.columns), kind.library
        (['size', 'price'], 'arrow')
    """
    if _is_pandas(frame):
        columns, kind = _of_pandas(frame)
    else:
        table = _as_arrow(frame)
        names = [*map(str, table.column_names)]
        _require_distinct(names)
        columns = dict(zip(names, table.columns, strict=True))
        kind = FrameType("polars", {}, dict(frame.schema)) if _is_polars(frame) else FrameType("arrow")
    if not columns or not len(next(iter(columns.values()))):
        raise DataError([f"{SOURCE}: the data frame has {len(frame)} rows and {len(columns)} columns"])
    return Content(columns), kind


def _is_pandas(frame: object) -> bool:
    pandas = sys.modules.get("pandas")  # a frame of a library that is not loaded cannot be
    return pandas is not None and isinstance(frame, pandas.DataFrame)


def _is_polars(frame: object) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(frame, polars.DataFrame)


def _holds_numbers(frame: Any) -> bool:
    return all(isinstance(dtype, np.dtype) and dtype.kind in "fiub" for dtype in frame.dtypes)


def _as_arrow(frame: Any) -> pa.Table:
    if _is_polars(frame):
        return frame.to_arrow()
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        return frame
    if hasattr(frame, "__arrow_c_stream__"):
        return pa.table(frame)
    from pyarrow.interchange import from_dataframe

    return from_dataframe(frame)


def _require_distinct(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError([f"{SOURCE}: {listed(twice)} stands for several columns: give each its own name, once"])


def _of_pandas(frame: Any) -> tuple[dict[str, Any], FrameType]:
    names = [*map(str, frame.columns)]
    _require_distinct(names)
    changed = [name for name, each in zip(names, frame.columns, strict=True) if not isinstance(each, str)]
    if changed:
        _warn(f"{SOURCE}: names of columns are text here: {listed(changed)}")
    index = [str(each) for each in frame.index.names if each is not None]
    if index:
        _warn(f"{SOURCE}: the index, {listed(index)}, is left out: frame.reset_index() makes columns of it")
    columns, problems = {}, []
    for i, name in enumerate(names):
        series = frame.iloc[:, i]
        try:
            columns[name] = _arrow_of_series(series)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            problems.append(f"column {literal(repr(name))} holds {_kinds_in(series)}")
    if problems:
        remedy = "give it one type of values, such as by .astype(str), or leave it out"
        if len(problems) == 1:
            raise DataError([f"{SOURCE}: {problems[0]}, which are no values of one type: {remedy}"])
        heading = f"{SOURCE}: {len(problems)} columns hold no values of one type:"
        raise DataError([heading, *(f"  {each}" for each in problems), remedy])
    dtypes = {name: frame.dtypes.iloc[i] for i, name in enumerate(names)}
    return columns, FrameType("pandas", dict(zip(names, frame.columns, strict=True)), dtypes)


def _arrow_of_series(series: Any) -> Any:
    """A column of pandas as one of arrow, missing where pandas has it so."""
    if hasattr(series, "sparse"):
        series = series.sparse.to_dense()
    found = pa.Array.from_pandas(series)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks() if found.num_chunks != 1 else found.chunk(0)
    if isinstance(found, pa.ExtensionArray):  # periods and intervals, which are no values of a table
        raise TypeError(str(found.type))
    return pa.chunked_array([found])


def _kinds_in(series: Any) -> str:
    """The types of the objects in a column, some of them."""
    if series.dtype != object:
        return str(series.dtype)
    kinds = dict.fromkeys(type(each).__name__ for each in series.dropna())
    return ", ".join(list(kinds)[:5])


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=4)


def _series(column: Any, dtype: Any) -> Any:
    """A column of arrow as one of pandas, of a type where it can be."""
    import pandas as pd

    if dtype is None and column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        of_nullable = pd.BooleanDtype if pa.types.is_boolean(column.type) else pd.Int64Dtype
        return pd.Series(of_nullable().__from_arrow__(column.cast(_widest(column.type))))
    if dtype is None or (pa.types.is_floating(column.type) and getattr(dtype, "kind", "O") in "iu"):
        return column.to_pandas(date_as_object=False)  # whole numbers that were modelled as real stay so
    if getattr(dtype, "kind", "") == "O" and isinstance(dtype, np.dtype):
        return pd.Series(column.to_pylist(), dtype=object)
    if column.null_count and isinstance(dtype, np.dtype) and dtype.kind in "iub":
        return column.to_pandas()
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Series(pd.Categorical(_values(column).to_pandas(), dtype=dtype))
    from_arrow = getattr(dtype, "__from_arrow__", None)
    if from_arrow is not None:
        return pd.Series(from_arrow(column))
    return column.to_pandas().astype(dtype)


def _widest(kind: pa.DataType) -> pa.DataType:
    return kind if pa.types.is_boolean(kind) else pa.int64()


def _values(column: Any) -> Any:
    """The values of a column, where it is one of a dictionary's places."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _polars(column: Any, name: str, dtype: Any) -> Any:
    """A column of arrow as one of polars, of a type where it can be."""
    import polars as pl

    found = pl.Series(name, pl.from_arrow(_values(column)))
    if dtype is None or (found.dtype.is_float() and dtype.is_integer()):
        return found
    return found.cast(dtype, strict=False)
