"""A column of a text table as its different values: what its cells tell of themselves, or what a schema says."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from marginflow.data.tables.cells import MISSING, MISSING_NUMBERS, TRUTH, Texts, numbers, pc
from marginflow.data.tables.dates import Form, form_of, readings_of
from marginflow.data.tables.types import TextType, type_of, value_type
from marginflow.data.tables.values import NANOSECONDS, Family, Misfit, Values, different, merged, of_arrow

WORDS = tuple(each for each in MISSING_NUMBERS if each not in ("None", "none"))  # those two may be levels
FEW = 1000  # different texts, by which codes with leading zeros are levels
_MISSPELT = 0.1  # of the rows may be no numbers for a column to be told of as one of numbers


class _Told(NamedTuple):
    """What cells are, their type, and a value for each, none where it does not fit."""

    family: Family
    type: TextType
    values: Any
    unit: int = 0


def values_of(column: Any, like: str | None = None, *, strict: bool = False) -> Values:
    """The values of a column.

    Args:
        column: of arrow, an array, or `Texts`.
        like: the type that a schema gives it, by which its text is read.
        strict: whether dates must be written so; otherwise another file may write them in another form, of which there
            is no doubt.

    Returns:
        The `Values`.

    Examples:
        >>> found = values_of(Texts(pa.chunked_array([["1.50", "?", "12.00", "1.50"]])))
        >>> found.family, found.type, found.array, found.codes, found.blanks
        ('number', 'text double %.2f', array([ 1.5, 12. ]), array([ 0, -1,  1,  0], dtype=int32), ('?',))
    """
    marks = (column.decimal, column.thousands) if isinstance(column, Texts) else ()
    asked = None if like is None else TextType.of(like) or TextType(str(value_type(like)), "", *marks)
    if not isinstance(column, Texts):
        return _of_arrow(of_arrow(column), asked, strict)
    distinct, codes = different(pc.utf8_trim_whitespace(column.cells))
    given = _without(distinct, MISSING)
    return _told(given, codes, column) if asked is None else _as_told(given, codes, column, asked, strict)


def _of_arrow(found: Values, asked: TextType | None, strict: bool) -> Values:
    """Of a file of typed columns: text that stands for dates, or for more numbers than there may be levels."""
    if found.family != "text" or found.type.startswith("dictionary") or not len(found.distinct):
        return found
    column = Texts(found.distinct)
    if asked is not None:
        asked = replace(asked, cells=found.type)
        return found if asked.value == "string" else _as_told(found.distinct, found.codes, column, asked, strict)
    told = _dates(found.distinct, len(found), column)
    if told is None and len(found.distinct) > min(FEW, len(found) // 2):
        told = _whole(found.distinct, len(found), column) or _numbers(found.distinct, len(found), column)
    if told is None or told.family == "text":
        return replace(found, readings=readings_of(found.distinct))
    written = replace(told.type, cells=found.type)
    return Values(told.family, str(written), *merged(told.values, found.codes), told.unit)


def _without(texts: Any, words: tuple[str, ...]) -> Any:
    return pc.if_else(pc.is_in(texts, pa.array(words)), pa.scalar(None, pa.string()), texts)


def _told(given: Any, codes: np.ndarray, column: Texts) -> Values:
    """What text tells of itself."""
    plain = _without(given, WORDS)
    blanks = tuple(given.filter(pc.and_(given.is_valid(), pc.is_null(plain))).to_pylist())
    cells = plain.drop_null()
    for tell in (_whole, _truth, _numbers, _dates):
        told = tell(cells, len(codes), column) if len(cells) else None
        if told is not None:
            values = told.values.take(pc.index_in(plain, cells))
            return Values(told.family, str(told.type), *merged(values, codes), told.unit, blanks)
    misfit = _misspelt(plain, codes, column) if len(cells) else None
    return Values("text", "text string", *merged(plain, codes), 0, blanks, misfit, readings_of(cells))


def _whole(cells: Any, num_rows: int, column: Texts) -> _Told | None:
    if not pc.all(pc.match_substring_regex(cells, r"^[+-]?[0-9]+$")).as_py():
        return None
    form, widths = "", pc.unique(pc.utf8_length(cells))
    if pc.any(pc.match_substring_regex(cells, r"^[+-]?0[0-9]")).as_py():  # codes, such as those of places
        signed = pc.any(pc.match_substring_regex(cells, "^[+-]")).as_py()
        if len(widths) > 1 or signed or len(cells) <= min(FEW, num_rows // 2):
            return _Told("text", TextType("string"), cells)
        form = f"%0{widths[0]}d"
    try:
        return _Told("whole", TextType("int64", form), pc.replace_substring(cells, "+", "").cast(pa.int64()))
    except pa.ArrowInvalid:  # of more digits than a number has
        return _Told("text", TextType("string"), cells)


def _truth(cells: Any, num_rows: int, column: Texts) -> _Told | None:
    small = pc.utf8_lower(cells)
    if len(cells) > 2 or not pc.all(pc.is_in(small, pa.array(list(TRUTH)))).as_py():
        return None
    for change in (str.lower, str.upper, str.title):
        words = [change(each) for each in TRUTH]
        if pc.all(pc.is_in(cells, pa.array(words))).as_py():
            return _Told("truth", TextType("bool", "|".join(reversed(words))), pc.equal(small, "true"))
    return None


def _numbers(cells: Any, num_rows: int, column: Texts) -> _Told | None:
    found, wrong = numbers(Texts(cells, column.decimal, column.thousands))
    if wrong is not None or found.null_count:
        return None
    found = pa.array(found.to_numpy(zero_copy_only=False) + 0.0)
    return _Told("number", TextType("double", _digits(cells, column), column.decimal, column.thousands), found)


def _digits(cells: Any, column: Texts) -> str:
    """The form of numbers that all have as many digits behind the point, or all have some."""
    mark = re.escape(column.decimal)
    digits = pc.struct_field(pc.extract_regex(cells, rf"{mark}(?P<digits>[0-9]+)$"), "digits")
    widths = pc.unique(pc.utf8_length(digits))
    if len(widths) == 1:
        return f"%.{widths[0]}f" if widths[0].is_valid else ""
    return "%r" if pc.all(pc.match_substring_regex(cells, rf"{mark}|[eE]")).as_py() else ""


def _dates(cells: Any, num_rows: int, column: Texts) -> _Told | None:
    form = form_of(cells)
    return None if form is None else _in_units(form, form.read(cells))


def _in_units(form: Form, seconds: np.ndarray) -> _Told:
    missing, fine = np.isnan(seconds), "f" in form.tokens
    if not form.has_date:
        family, value = "time", "time64[us]" if fine else "time32[s]"
    elif form.has_time:
        family, value = "timestamp", "timestamp[us]" if fine else "timestamp[s]"
    else:
        family, value = "date", "date32[day]"
    unit = NANOSECONDS["day" if family == "date" else "us" if fine else "s"]
    units = np.rint(np.where(missing, 0.0, seconds) * (NANOSECONDS["s"] / unit)).astype(np.int64)
    return _Told(family, TextType(value, form.text), pa.array(units, mask=missing), unit)


def _misspelt(plain: Any, codes: np.ndarray, column: Texts) -> Misfit | None:
    """The cells of text in a column that otherwise holds numbers."""
    wrong = numbers(Texts(plain, column.decimal, column.thousands))[1]
    assert wrong is not None
    misfit = _misfit(plain, wrong, codes)
    return misfit if misfit.count <= _MISSPELT * (codes >= 0).sum() else None


def _misfit(texts: Any, wrong: Any, codes: np.ndarray) -> Misfit:
    """The first and the number of the rows whose text is wrong."""
    rows = np.flatnonzero(np.append(wrong.to_numpy(zero_copy_only=False), False)[codes])
    return Misfit(int(rows[0]), texts[int(codes[rows[0]])].as_py(), rows)


def _as_told(given: Any, codes: np.ndarray, column: Texts, like: TextType, strict: bool) -> Values:
    """Text as a schema says what it is."""
    plain, kind = _without(given, WORDS), type_of(like.value)
    told = _read(plain, column, like, kind, strict)
    told = told._replace(type=replace(told.type, cells=like.cells))
    wrong = pc.and_(pc.is_valid(plain), pc.is_null(told.values))
    misfit = _misfit(plain, wrong, codes) if pc.any(wrong).as_py() else None
    if misfit is not None and pa.types.is_temporal(kind):
        misfit = replace(misfit, expected=_expected(told.family, like.form))
    return Values(told.family, str(told.type), *merged(told.values, codes), told.unit, (), misfit)


def _expected(family: Family, form: str) -> str:
    """How a date or time is written that fits: as the schema has it, or all in the usual form."""
    usual = {"date": "%Y-%m-%d", "timestamp": "%Y-%m-%d %H:%M:%S", "time": "%H:%M:%S"}.get(family)
    if usual is None:
        return ""
    own = Form(form or usual)
    if own.tokens[:1] == ["Y"] or not own.has_date:
        return f" as {own.example}"
    return f" as {own.example} or, in all cells, {Form(usual).example}"


def _read(plain: Any, column: Texts, like: TextType, kind: pa.DataType, strict: bool) -> _Told:
    if pa.types.is_boolean(kind):
        small = pc.utf8_lower(plain)
        return _Told("truth", like, pc.if_else(pc.is_in(small, pa.array(list(TRUTH))), pc.equal(small, "true"), None))
    if pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
        form = Form(like.form) if like.form else form_of(plain.drop_null()) or Form("%Y-%m-%d")
        told = _in_units(form, form.read(plain))
        if strict:
            return (
                told if told.values.null_count > plain.null_count else _in_units(form.padded(plain), form.read(plain))
            )
        return told if told.values.null_count == plain.null_count or not like.form else _other_form(plain, told, form)
    if pa.types.is_integer(kind) or pa.types.is_duration(kind):
        family: Family = "duration" if pa.types.is_duration(kind) else "whole"
        if pc.all(pc.match_substring_regex(plain, r"^-?[0-9]+$")).as_py():
            with suppress(pa.ArrowInvalid):  # of more digits than there are in a whole number
                return _Told(
                    family, like, plain.cast(pa.int64()), NANOSECONDS[kind.unit] if family == "duration" else 0
                )
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found, wrong = numbers(Texts(plain, column.decimal, column.thousands))
        return _Told("number", like, found if wrong is None else pc.if_else(wrong, None, found))
    return _Told("text", TextType("string"), plain)


def _other_form(plain: Any, told: _Told, known: Form) -> _Told:
    """Dates of another file, which may write them otherwise, but not with day and month exchanged."""
    form = form_of(plain.drop_null())
    is_other = form is None or (form.is_day_first != known.is_day_first and "Y" not in form.tokens[:1])
    return told if form is None or is_other else _in_units(form, form.read(plain))
