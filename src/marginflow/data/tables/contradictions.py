"""What of a column's values contradicts the kind that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from marginflow.base.literal import literal
from marginflow.data.schema import CONTINUOUS, LEVELLED, Kind
from marginflow.data.tables.numbers import LARGEST
from marginflow.data.tables.steps import EXACT
from marginflow.data.tables.values import TEMPORAL, Values

NUMERIC = (*CONTINUOUS, "integer", "decimal", "weight")
TOO_MANY = 10_000  # levels: a network of so many outputs learns nothing of most of them
_WORDS = {"whole": "numbers", "number": "numbers", "truth": "truth values", "text": "text"}
_FAMILIES = {
    "date": ("date", "timestamp"),
    "timestamp": ("timestamp", "date"),
    "time": ("time",),
    "duration": ("duration",),
}


def contradiction(values: Values, kind: Kind) -> str | None:
    """Why a column cannot be of a kind, as a verb and what follows; None where it can.

    Args:
        values: of the column; of a text table read as the kind asks for.
        kind: that is asked for.

    Returns:
        Such as "holds 1.5 in row 3 (counted from 0), no whole number".

    Examples:
        >>> from marginflow.data.tables.values import of_arrow
        >>> contradiction(of_arrow(np.array([1.0, 1.5])), "integer")
        'holds 1.5 in row 1 (counted from 0), no whole number'
    """
    if values.misfit is not None:
        what = f"{'number' if kind in NUMERIC else kind}{values.misfit.expected}"
        cells = f"; {values.misfit.count:,} such cells" if values.misfit.count > 1 else ""
        row = values.first + values.misfit.row
        return f"holds {_quoted(values.misfit.text)} in row {row} (counted from 0), no {what}{cells}"
    if not len(values.distinct):
        return "has no values"
    if kind in LEVELLED:
        return _of_levels(values, kind)
    if kind in TEMPORAL:
        return None if values.family in _FAMILIES[kind] else f"holds {_held(values)}, no {kind}s"
    if values.family not in ("whole", "number", "truth"):
        return f"holds {_held(values)}, no numbers"
    return _of_numbers(values, kind)


def _of_levels(values: Values, kind: Kind) -> str | None:
    count = len(values.distinct)
    if values.family == "nested":
        return f"holds {values.distinct[0]}, no levels"
    if kind == "boolean" and count > 2:
        return f"has {count:,} different values; of kind boolean there are two"
    return None


def _of_numbers(values: Values, kind: Kind) -> str | None:
    numbers = values.array.astype(np.float64)
    tests: list[tuple[Callable[[Any], Any], str]] = [(lambda x: np.abs(x) < LARGEST, "too large a number")]
    if kind == "positive":
        tests.append((lambda x: x > 0, "no positive number"))
    elif kind == "weight":
        tests.append((lambda x: x >= 0, "no weight of a row, which is 0 or more"))
    elif kind == "integer":
        tests.append((lambda x: x == np.rint(x), "no whole number"))
    for fits, what in tests:
        wrong = ~fits(numbers)
        if wrong.any():
            return f"{held_in(values, wrong)}, {what}"
    if kind == "weight" and values.num_blank:
        row = values.first + int((values.codes < 0).argmax())
        return f"has no value in row {row} (counted from 0); each row needs a weight"
    if kind == "integer" and int(values.array.max()) - int(values.array.min()) >= EXACT:
        return f"has whole numbers {EXACT:,} apart or more, which float64 does not tell apart"
    return None


def held_in(values: Values, wrong: np.ndarray) -> str:
    """Which of the different values that are wrong comes first, and where."""
    row = values.row_of(wrong)
    label = values.labels()[int(values.codes[row])].as_py()
    return f"holds {_quoted(label) if values.family == 'text' else label} in row {values.first + row} (counted from 0)"


def _held(values: Values) -> str:
    """What a column holds, with its first value."""
    if values.family == "nested":
        return str(values.distinct[0])
    row = int(np.flatnonzero(values.codes >= 0)[0])
    label = values.labels()[int(values.codes[row])].as_py()
    what = _WORDS.get(values.family, f"{values.family}s")
    return f"{what}, {_quoted(label)} in row {values.first + row} (counted from 0)"


def _quoted(text: str) -> str:
    return literal(repr(text if len(text) <= 60 else f"{text[:60]}..."))
