"""Columns of a file that are kept beside what is written: as they stand there, as far as the other format has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from marginflow.base.data_error import DataError
from marginflow.base.names import listed
from marginflow.data.dataset import DataSpec
from marginflow.data.schema import CONTINUOUS
from marginflow.data.tables.cells import Texts, numbers, pc
from marginflow.data.tables.dialect import Dialect
from marginflow.data.tables.formats import is_text

_NUMBERS = (*CONTINUOUS, "integer", "decimal", "weight")


class Keeper:
    """Makes columns of one file those of another of some format.

    The cells of a text stay as they are in a text. In another format those that the model reads as numbers are numbers,
    missing where one is none, and all others text. An array holds numbers alone.

    Args:
        spec: of the rows that the model takes.
        dialect: how the file is written where it is a text; else None.
        ending: of the other file.
    """

    def __init__(self, spec: DataSpec, dialect: Dialect | None, ending: str) -> None:
        self.dialect, self.ending = dialect, ending
        schema = spec.schema
        every = spec.column_names if schema is None else [c.name for c in schema.columns if c.kind in _NUMBERS]
        self.numbers = set(every)

    def require_possible(self, kept: pa.Schema) -> None:
        """Refuse columns that the other format cannot hold: DataError that names them, and those that it can."""
        wrong = [f"{each.name!r} holds {self._held(each)}" for each in kept if not self._fits(each)]
        if not wrong:
            return
        others = [each.name for each in kept if self._fits(each)]
        what = "an array of numbers" if self.ending == ".npy" else "a text"
        raise DataError(
            [f"{len(wrong)} of {len(kept)} columns cannot be kept in {what}:", *(f"  {each}" for each in wrong)],
            [("keep others", {"keep": others})],
        )

    def table(self, kept: pa.Table) -> pa.Table:
        """The columns as the other file holds them."""
        columns = [self._column(name, column) for name, column in zip(kept.column_names, kept.columns, strict=True)]
        return pa.table(columns, names=kept.column_names)

    def _held(self, each: pa.Field) -> str:
        return "text" if self.dialect is not None else str(each.type)

    def _fits(self, each: pa.Field) -> bool:
        kind = _plain(each.type)
        if self.ending == ".npy":
            is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            return is_number or pa.types.is_decimal(kind) or (self.dialect is not None and each.name in self.numbers)
        return not is_text(self.ending) or not (pa.types.is_nested(kind) or _is_binary(kind))

    def _column(self, name: str, column: Any) -> Any:
        if self.dialect is not None:
            if is_text(self.ending):
                return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
            if name in self.numbers:
                return numbers(Texts(column, self.dialect.decimal, self.dialect.thousands))[0]
        if self.ending != ".parquet" and pa.types.is_dictionary(column.type):  # whose levels may change on the way
            column = column.cast(column.type.value_type)
        if is_text(self.ending) and str(column.type) in ("halffloat", "string_view"):
            return column.cast(pa.float32() if str(column.type) == "halffloat" else pa.string())
        return column


def require_other_names(kept: Sequence[str], new: Sequence[str]) -> None:
    """Refuse columns that are called as those that will be written beside them: DataError with those that may stay."""
    same = [name for name in kept if name in new]
    if same:
        others = [name for name in kept if name not in new]
        raise DataError(
            [f"the table has {listed(same)} already, as the scores are called"],
            [("rename in the table, or keep the others", {"keep": others})],
        )


def _plain(kind: pa.DataType) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
