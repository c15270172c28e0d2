"""Values as the text that a file writes for them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.data.tables.cells import pc
from marginflow.data.tables.dates import DAY, Form
from marginflow.data.tables.types import TextType, type_of

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def spelt(values: Any, written: TextType) -> pa.Array:
    """Values as text.

    Args:
        values: of an arrow array; none stays none.
        written: how the file writes them.

    Returns:
        The text, of the type that the file has it in.

    Examples:
        >>> spelt(pa.array([1234.5, None]), TextType("double", "%.2f", ",", ".")).to_pylist()
        ['1.234,50', None]
    """
    kind = values.type
    if pa.types.is_boolean(kind):
        false, true = written.form.split("|") if written.form else ("false", "true")
        text = pc.if_else(values, true, false)
    elif pa.types.is_temporal(kind):
        text = _times(values, written.form)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        text = _numbers(values, written)
    else:
        text = values
    return text.cast(pa.string() if written.cells == "text" else type_of(written.cells))


def _times(values: Any, form: str) -> Any:
    missing = values.is_null().to_numpy(zero_copy_only=False)
    kind = values.type
    if pa.types.is_date32(kind):
        seconds = values.cast(pa.int32()).fill_null(0).to_numpy() * float(DAY)
    else:
        narrow = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        seconds = values.cast(narrow).fill_null(0).to_numpy() / _UNITS[kind.unit]
    return pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), Form(form).write(seconds))


def _numbers(values: Any, written: TextType) -> Any:
    width = re.fullmatch(r"%0(\d+)d", written.form)
    digits = re.fullmatch(r"%\.(\d+)f", written.form)
    if width and pa.types.is_integer(values.type):
        return pc.utf8_lpad(values.cast(pa.string()), int(width[1]), "0")
    text = _with_digits(values, int(digits[1])) if digits else values.cast(pa.string())
    if written.form == "%r":
        text = pc.replace_substring_regex(text, "^([+-]?[0-9]+)$", r"\1.0")
    if written.decimal != ".":
        text = pc.replace_substring(text, ".", written.decimal)
    return _grouped(text, written) if written.thousands else text


def _with_digits(values: Any, digits: int) -> Any:
    """Numbers with so many digits behind the point."""
    numbers = values.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    units = np.rint(numbers * 10.0**digits)
    if np.abs(units).max(initial=0) >= 2**53:
        return values.cast(pa.string())
    plain = pa.array(np.abs(units).astype(np.int64)).cast(pa.string())
    plain = pc.utf8_lpad(plain, digits + 1, "0")
    text = pc.replace_substring_regex(plain, rf"^([0-9]+)([0-9]{{{digits}}})$", r"\1.\2") if digits else plain
    text = pc.binary_join_element_wise(pc.if_else(pa.array(units < 0), "-", ""), text, "")
    return pc.if_else(values.is_null(), pa.scalar(None, pa.string()), text)


def _grouped(text: Any, written: TextType) -> Any:
    """Marks between groups of three digits, from the right."""
    mark, point = re.escape(written.thousands), re.escape(written.decimal)
    pattern = rf"^([+-]?[0-9]+)([0-9]{{3}})((?:{mark}[0-9]{{3}})*(?:{point}.*)?)$"
    for _ in range(6):
        text = pc.replace_substring_regex(text, pattern, rf"\1{written.thousands}\2\3")
    return text
