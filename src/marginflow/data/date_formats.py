"""Formats of dates and times in text, as a user gives them in the tokens of strftime."""

from __future__ import annotations

import re
from typing import Literal

TOKEN = re.compile(r"%(-|[0-9])?([A-Za-z%])")
KNOWN = "%Y or %y, %m, %b or %B and %d for dates, %H or %I with %p, %M, %S and %f for times"
_DATE, _TIME = {"Y": "year", "y": "year", "m": "month", "b": "month", "B": "month", "d": "day"}, "HIMSfp"


def wrong_with(text: str) -> str | None:
    """What is wrong with a format, and what may stand there; None where nothing is.

    >>> wrong_with("%d/%m/%Y"), wrong_with("%d/%d/%Y")
    (None, 'its day stands there twice')
    """
    tokens = [token[2] for token in TOKEN.finditer(text)]
    unknown = [each for each in tokens if each not in _DATE and each not in _TIME]
    if unknown:
        return f"%{unknown[0]} is unknown here; a format holds {KNOWN}"
    parts = [_DATE.get(each, {"I": "hour", "H": "hour"}.get(each, each)) for each in tokens]
    if len(set(parts)) < len(parts):
        return f"its {max(parts, key=parts.count)} stands there twice"
    of_date = {"year", "month", "day"} & set(parts)
    if 0 < len(of_date) < 3:
        lacking = sorted({"year", "month", "day"} - of_date)
        return f"it lacks the {' and the '.join(lacking)}; a format holds {KNOWN}"
    if ("hour" in parts) != ("M" in parts) or not parts or ({"S", "f", "p"} & set(parts) and "M" not in parts):
        return f"it holds neither a date nor a time of day with %H and %M; a format holds {KNOWN}"
    if ("I" in tokens) != ("p" in tokens):
        return "%I and %p go together: hours from 1 to 12, and AM or PM"
    return None


def kind_in(text: str) -> Literal["date", "timestamp", "time"]:
    """The kind of a column of such texts.

    >>> kind_in("%d/%m/%Y"), kind_in("%H:%M")
    ('date', 'time')
    """
    tokens = {token[2] for token in TOKEN.finditer(text)}
    if "d" not in tokens:
        return "time"
    return "timestamp" if "M" in tokens else "date"
