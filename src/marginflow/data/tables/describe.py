"""A file's schema, and what its rows say of each column, as marginflow data describe prints them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.names import hint_at, listed
from marginflow.data.column_options import ColumnOptions
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.notes import told
from marginflow.data.tables.read import read


@dataclass(frozen=True)
class Summary:
    """What the rows of a file say of one column, as the file writes it.

    Args:
        num_rows: of the file.
        num_blank: rows without a value.
        least, most: the first and the last of its values; "" where it has none.
        mode: the most frequent value; "" where none stands there twice.
        num_mode: how many rows have it.
    """

    num_rows: int
    num_blank: int
    least: str
    most: str
    mode: str
    num_mode: int


def described(
    path: Path,
    options: Mapping[str, ColumnOptions] | None = None,
    *,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    given: Sequence[str] = (),
    weights: str | None = None,
    asked: Asked = Asked(),  # noqa: B008 - it is frozen
) -> tuple[Schema, dict[str, Summary]]:
    """The schema of a file with what all of its rows say, and a summary of each column that a row holds.

    Args:
        path: of the file.
        options: of columns, by name.
        columns: which to use, all by default.
        drop: which to leave out.
        given: columns of the context.
        weights: the column of weights of the rows.
        asked: how its text is written, as far as the user says.

    Returns:
        The schema, and summaries by name.

    Raises:
        DataError: where the file or what is asked of it does not fit, with all problems.
        FileNotFoundError: where there is no such file.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "nights.csv"
        >>> _ = path.write_text("nights,paid\\n1,10.50\\n3,20.00\\n1,10.50\\n")
        >>> schema, found = described(path)
        >>> schema["paid"].kind, found["paid"].most, found["nights"].mode
        ('decimal', '20.00', '1')
    """
    content = read(path, asked)
    if content.dialect is not None and (warning := told(content.dialect, path)) is not None:
        warnings.warn(warning, stacklevel=2)
    chosen = _chosen(content.columns, columns, [*given, *([] if weights is None else [weights])], path)
    about: dict[str, Any] = {"path": path, "given": given, "weights": weights, "drop": drop, "index": content.index}
    schema = drafted(chosen, options, meant=columns or (), **about)
    x, context, weighing = encoded(chosen, schema, path)
    return _with_statistics(schema, x, context, weighing), summaries(schema, x, context)


def _chosen(found: Mapping[str, Any], names: Sequence[str] | None, more: Sequence[str], path: Path) -> dict[str, Any]:
    """The columns that are asked for."""
    if names is None:
        return dict(found)
    wrong = [name for name in names if name not in found]
    if wrong:
        hint = hint_at(wrong[0], found, " ").strip()
        raise DataError(
            [f"{path} has no column {listed(wrong)}; it has {listed(list(found))}{f': {hint}' if hint else ''}"]
        )
    return {name: column for name, column in found.items() if name in (*names, *more)}


def _with_statistics(schema: Schema, x: Tensor, context: Tensor | None, weights: Tensor | None) -> Schema:
    """The schema with atoms, bounds, warps and shares."""
    with suppress(ImportError):
        from marginflow.data.tables.statistics import fitted  # pyright: ignore

        return fitted(schema, x, context, weights)
    return schema


def summaries(schema: Schema, x: Tensor, context: Tensor | None = None) -> dict[str, Summary]:
    """What rows say of each column, by name.

    Args:
        schema: of the rows.
        x: (N, modelled columns).
        context: (N, given columns), where there are such.

    Returns:
        A summary for each column.

    Examples:
        >>> schema = Schema((Column("size", "category", levels=("S", "M")),))
        >>> summaries(schema, torch.tensor([[0.0], [1.0], [1.0], [torch.nan]]))["size"]
        Summary(num_rows=4, num_blank=1, least='S', most='M', mode='M', num_mode=2)
    """
    pairs = list(zip(schema.modelled, x.T, strict=True))
    pairs += [] if context is None else list(zip(schema.given, context.T, strict=True))
    return {column.name: _summary(column, row.double().numpy()) for column, row in pairs}


def _summary(column: Column, row: np.ndarray) -> Summary:
    values, counts = np.unique(row[~np.isnan(row)], return_counts=True)
    num_blank = len(row) - int(counts.sum())
    if not len(values):
        return Summary(len(row), num_blank, "", "", "", 0)
    place = int(counts.argmax())
    alone = Schema((replace(column, given=False),))
    shown = decoded(torch.from_numpy(values[[0, -1, place]])[:, None], alone, as_written=True).column(0)
    least, most, mode = ("" if each is None else str(each) for each in shown.to_pylist())
    return Summary(len(row), num_blank, least, most, mode if counts[place] > 1 else "", int(counts[place]))
