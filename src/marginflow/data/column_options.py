"""What a user says of a column of a table in place of what its values tell."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from marginflow.base.data_error import DataError
from marginflow.base.names import hint_at
from marginflow.base.overrides import of_column
from marginflow.data.date_formats import wrong_with
from marginflow.data.schema import Kind
from marginflow.data.warp import Shape

Value = float | int | str | datetime | date | time  # a number, or a date as TOML has it or as text


def _as_list(given: Any) -> Any:
    """One value, or text with commas, as a list."""
    if isinstance(given, str):
        return [each.strip() for row in csv.reader(io.StringIO(given)) for each in row]
    return given if isinstance(given, list | tuple) else [given]


def _as_format(given: str) -> str:
    """The format of dates or times; ValueError where it is none."""
    wrong = wrong_with(given)
    if wrong is not None:
        raise ValueError(wrong)
    return given


class ColumnOptions(BaseModel):
    """What a user says of one column; what is None its values tell.

    Attributes:
        kind: such as "integer"; "identifier", "constant" and "text" leave it out.
        blank: whether a value may be missing.
        levels: of a column of levels; their order is that of an ordered one.
        pool: how many rows a level needs; the others are one level together.
        step: between neighbours on the grid, in the numbers of the file; of dates in days, of times in seconds.
        lower, upper: closed bounds, in the numbers of the file, or as dates; "none" where there is none, whatever the
            values show.
        atoms: values that hold a spike; an empty list where none does.
        transform: the curve that brings the rest to about unit scale.
        format: of dates and times in text, in the tokens of strftime, such as "%d/%m/%Y".

    Examples:
        >>> ColumnOptions(kind="integer", upper=99).model_dump(exclude_none=True)
        {'kind': 'integer', 'upper': 99}
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind | None = None
    blank: bool | None = None
    levels: Annotated[list[str | int | float | bool], BeforeValidator(_as_list)] | None = None
    pool: int | None = Field(default=None, ge=2)
    step: float | int | None = Field(default=None, gt=0)
    lower: Value | None = None
    upper: Value | None = None
    atoms: Annotated[list[Value], BeforeValidator(_as_list)] | None = None
    transform: Shape | None = None
    format: Annotated[str, AfterValidator(_as_format)] | None = None


def options_in(table: Mapping[str, Any]) -> dict[str, ColumnOptions]:
    """The options of columns in the tables of [schema].

    Args:
        table: such as {"age": {"kind": "integer"}}.

    Returns:
        The options of each column.

    Raises:
        DataError: for all keys and values that are wrong.

    Examples:
        >>> options_in({"age": {"kind": "intger"}})
        Traceback (most recent call last):
        marginflow.base.data_error.DataError: schema.age.kind = 'intger': did you mean integer?
    """
    found, problems = {}, []
    for name, options in table.items():
        try:
            found[name] = ColumnOptions.model_validate(options)
        except ValidationError as error:
            problems += dict.fromkeys(_told(name, options, each) for each in error.errors())
    if problems:
        raise DataError(problems)
    return found


def _told(name: str, options: Any, error: Any) -> str:
    if not isinstance(options, Mapping):
        return f"schema.{name} = {options!r}: it is a table of options, such as {of_column(name, {'kind': 'integer'})}"
    key = str(error["loc"][0])
    known = {"kind": get_args(Kind), "transform": get_args(Shape)}
    if error["type"] == "extra_forbidden":
        return f"unknown key schema.{name}.{key}; {hint_at(key, ColumnOptions.model_fields)}"
    if key in ("lower", "upper", "atoms"):
        what = "numbers or dates are needed" if key == "atoms" else "a number or a date is needed, or none"
    elif error["type"] == "value_error":
        what = str(error["ctx"]["error"])
    else:
        what = hint_at(str(options[key]), known[key]) if key in known else error["msg"][0].lower() + error["msg"][1:]
    return f"schema.{name}.{key} = {options[key]!r}: {what}"
