"""Dates and times in text: how a column writes them, what they are, and the same text from numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.data.tables.cells import pc

DAY = 86_400
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
_PARTS = {  # of a form: what each matches
    "Y": r"[0-9]{4}", "y": r"[0-9]{2}", "m": r"[0-9]{1,2}", "d": r"[0-9]{1,2}", "b": r"[A-Za-z]{3}",
    "B": r"[A-Za-z]{3,9}", "H": r"[0-9]{1,2}", "I": r"[0-9]{1,2}", "M": r"[0-9]{2}", "S": r"[0-9]{2}",
    "f": r"[0-9]{1,6}", "p": r"[AaPp][Mm]",
}  # fmt: skip
_TOKEN = re.compile(r"%(-|[0-9])?([A-Za-z])")
_TIME = r"(?P<H>\d{1,2}):\d{2}(?P<S>:\d{2}(?P<f>\.\d{1,6})?)?(?P<p> ?[AaPp][Mm])?(?P<z>Z|[+-]\d{2}:?\d{2})?"
_FIRST = re.compile(
    rf"(?:(?P<date>\d{{4}}([-/.])\d{{1,2}}\2\d{{1,2}}|\d{{1,2}}([-/.])\d{{1,2}}\3(?:\d{{4}}|\d{{2}})|"
    rf"\d{{1,2}}[- ][A-Za-z]{{3,9}}[- ](?:\d{{4}}|\d{{2}})|[A-Za-z]{{3,9}} \d{{1,2}}, \d{{4}})"
    rf"(?P<t>[T ]|$))?(?:{_TIME})?"
)


@dataclass(frozen=True)
class Form:
    """How dates, times of day, or both are written, in the tokens of strftime.

    A dash in a token, as in %-d, leaves the leading zero out; %3f is a fraction of three digits, %f one of as many as
    it needs.

    Args:
        text: such as "%d/%m/%Y" or "%Y-%m-%dT%H:%M:%S.%3fZ".

    Examples:
        >>> form = Form("%-d.%-m.%y %H:%M")
        >>> seconds = form.read(pa.array(["31.1.24 08:30", "31.2.24 08:30"]))
        >>> seconds.tolist(), form.write(seconds[:1]).to_pylist()
        ([1706689800.0, nan], ['31.1.24 08:30'])
    """

    text: str

    @cached_property
    def tokens(self) -> list[str]:
        """The letters of its parts."""
        return [token[2] for token in _TOKEN.finditer(self.text)]

    @property
    def has_date(self) -> bool:
        """Whether it holds a day."""
        return "d" in self.tokens

    @property
    def is_day_first(self) -> bool:
        """Whether the day is written before the month."""
        tokens = self.tokens
        return "d" in tokens and "m" in tokens and tokens.index("d") < tokens.index("m")

    @property
    def other_order(self) -> Form:
        """The same with day and month exchanged.

        >>> Form("%-d/%m/%Y").other_order.text
        '%m/%-d/%Y'
        """
        found = {token[2]: token[0] for token in _TOKEN.finditer(self.text)}
        change = {found["d"]: found["m"], found["m"]: found["d"]}
        return Form(_TOKEN.sub(lambda token: change.get(token[0], token[0]), self.text))

    @property
    def example(self) -> str:
        """The text of some day and time, whose day is no month."""
        moment = 19_837.0 * DAY * self.has_date + 13.5 * 3600 * self.has_time
        return self.write(np.array([moment]))[0].as_py()

    @property
    def has_time(self) -> bool:
        """Whether it holds a time of day."""
        return "M" in self.tokens

    @cached_property
    def pattern(self) -> str:
        """That its texts match as a whole."""
        found, end = [], 0
        for token in _TOKEN.finditer(self.text):
            found += [re.escape(self.text[end : token.start()]), f"(?P<{token[2]}>{_PARTS[token[2]]})"]
            end = token.end()
        return "^" + "".join([*found, re.escape(self.text[end:])]) + "$"

    def read(self, cells: pa.Array) -> np.ndarray:
        """Seconds since 1970, or since midnight where there is no date, float64; NaN for what is none."""
        parts = self.parts(cells)
        seconds = _seconds_of_day(parts, len(cells))
        if self.has_date:
            year = parts["Y"] if "Y" in parts else np.where(parts["y"] < 69, 2000, 1900) + parts["y"]
            month = next(parts[each] for each in "mbB" if each in parts)
            seconds = seconds + DAY * _days(year, month, parts["d"])
        return seconds

    def parts(self, cells: pa.Array) -> dict[str, np.ndarray]:
        """The numbers of each part, float64; NaN for what does not match."""
        found = pc.extract_regex(cells, self.pattern)
        return {each: _number(each, pc.struct_field(found, each)) for each in self.tokens}

    def padded(self, cells: pa.Array) -> Form:
        """The same with its parts as wide as the cells have them."""
        found, text = pc.extract_regex(cells, self.pattern), self.text
        for each in {"m", "d", "H", "I"} & set(self.tokens):
            if pc.any(pc.equal(pc.utf8_length(pc.struct_field(found, each)), 1)).as_py():
                text = text.replace(f"%{each}", f"%-{each}")
        if "f" in self.tokens:
            widths = pc.unique(pc.utf8_length(pc.struct_field(found, "f")).drop_null())
            text = text.replace("%f", f"%{widths[0]}f") if len(widths) == 1 else text
        return Form(text)

    def write(self, seconds: np.ndarray) -> Any:
        """The text of numbers as `read` gives them, none of them NaN."""
        days = np.floor(seconds / DAY)
        rest = np.rint((seconds - days * DAY) * 1e6).astype(np.int64)
        parts, end = [], 0
        for token in _TOKEN.finditer(self.text):
            parts.append(self.text[end : token.start()])
            parts.append(_written(token[2], token[1] or "", days, rest))
            end = token.end()
        parts.append(self.text[end:])
        every = [pa.repeat(each, len(seconds)) if isinstance(each, str) else each for each in parts]
        return pc.binary_join_element_wise(*every, "")


def form_of(cells: pa.Array) -> Form | None:
    """How all cells write dates or times; None where they do not, or where day and month cannot be told apart.

    Args:
        cells: different texts, none missing.

    Examples:
        >>> form_of(pa.array(["1/31/2024", "2/1/2024"])).text, form_of(pa.array(["1/2/2024", "2/1/2024"]))
        ('%-m/%-d/%Y', None)
    """
    fitting = _fitting(cells)
    if len(fitting) > 1:
        fitting = [form for form in fitting if _is_first_of_month(form, cells)]
    return fitting[0].padded(cells) if len(fitting) == 1 else None


def readings_of(cells: pa.Array) -> tuple[str, ...]:
    """The forms of dates of which day and month cannot be told apart; none where they can, or are no dates.

    >>> readings_of(pa.array(["1/2/2024", "2/1/2024"])), readings_of(pa.array(["1/2/2024", "13/1/2024"]))
    (('%d/%m/%Y', '%m/%d/%Y'), ())
    """
    fitting = _fitting(cells)
    return tuple(form.text for form in fitting) if len(fitting) > 1 and form_of(cells) is None else ()


def _fitting(cells: pa.Array) -> list[Form]:
    """The forms that all cells have."""
    candidates = _candidates(cells[0].as_py()) if len(cells) else ()
    return [form for form in candidates if not np.isnan(form.read(cells)).any()]


def _candidates(cell: str) -> Iterator[Form]:
    """The forms that one cell may have."""
    found = _FIRST.fullmatch(cell)
    if found is None or not (found["date"] or found["H"]) or (found["date"] and bool(found["t"]) != bool(found["H"])):
        return
    dates = list(_of_date(found["date"])) if found["date"] else [""]
    hours = [""]
    if found["H"]:
        fraction = [f".%{len(found['f']) - 1}f", ".%f"] if found["f"] else [""]
        clock, noon = ("%I", f"{' ' if found['p'][0] == ' ' else ''}%p") if found["p"] else ("%H", "")
        second = ":%S" if found["S"] else ""
        hours = [f"{found['t'] or ''}{clock}:%M{second}{each}{noon}{found['z'] or ''}" for each in fraction]
    for date in dates:
        whole = [Form(date + hour) for hour in hours]
        yield from whole[:1] if len(whole) == 1 else whole[1:]


def _of_date(date: str) -> Iterator[str]:
    numbers = re.split(r"[^0-9A-Za-z]+", date)
    between = re.findall(r"[^0-9A-Za-z]+", date)
    orders: list[tuple[str, ...]]
    if len(numbers[0]) == 4 and numbers[0].isdigit():
        orders = [("%Y", "%m", "%d")]
    elif numbers[1].isalpha() or numbers[0].isalpha():
        months = ("%b", "%B")
        year = "%Y" if len(numbers[2]) == 4 else "%y"
        orders = [("%d", each, year) if numbers[1].isalpha() else (each, "%d", year) for each in months]
    else:
        year = "%Y" if len(numbers[2]) == 4 else "%y"
        orders = [("%d", "%m", year)] if between[0] == "." else [("%d", "%m", year), ("%m", "%d", year)]
    for first, second, third in orders:
        yield f"{first}{between[0]}{second}{between[1]}{third}"


def _is_first_of_month(form: Form, cells: pa.Array) -> bool:
    """Whether all days are the first, of several months, as in monthly figures."""
    parts = form.parts(cells)
    months = next(parts[each] for each in "mbB" if each in parts)
    return bool((parts["d"] == 1).all()) and len(np.unique(months)) > 1


def _number(part: str, texts: pa.Array) -> np.ndarray:
    if part in "bB":
        names = pa.array([(each[:3] if part == "b" else each).lower() for each in MONTHS])
        return pc.index_in(pc.utf8_lower(texts), names).cast(pa.float64()).to_numpy(zero_copy_only=False) + 1
    if part == "p":
        return pc.starts_with(pc.utf8_lower(texts), "p").cast(pa.float64()).to_numpy(zero_copy_only=False)
    if part == "f":
        texts = pc.utf8_rpad(texts, 6, "0")
    return texts.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _seconds_of_day(parts: dict[str, np.ndarray], count: int) -> np.ndarray:
    if "M" not in parts:
        return np.zeros(count)
    if "I" in parts:
        hour = np.where((parts["I"] >= 1) & (parts["I"] <= 12), parts["I"] % 12 + 12 * parts["p"], np.nan)
    else:
        hour = np.where(parts["H"] < 24, parts["H"], np.nan)
    second = parts.get("S", np.zeros(count))
    right = (parts["M"] < 60) & (second < 60)
    whole = 3600 * hour + 60 * parts["M"] + second
    return np.where(right, whole + parts["f"] / 1e6 if "f" in parts else whole, np.nan)


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970 of dates; NaN for those that are none."""
    right = (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    months = np.where(right, (year - 1970) * 12 + month - 1, 0).astype(np.int64).astype("datetime64[M]")
    first, after = (each.astype("datetime64[D]").astype(np.int64) for each in (months, months + 1))
    right &= day <= after - first
    return np.where(right, first + day - 1, np.nan)


def _written(part: str, width: str, days: np.ndarray, rest: np.ndarray) -> Any:
    """One part of dates; rest: microseconds since midnight."""
    dates = days.astype(np.int64).astype("datetime64[D]")
    if part == "p":
        return pc.if_else(pa.array(rest >= 43_200_000_000), "PM", "AM")
    if part == "f":
        fraction = pc.utf8_lpad(pa.array(rest % 1_000_000).cast(pa.string()), 6, "0")
        return pc.utf8_slice_codeunits(fraction, 0, int(width)) if width else _trimmed(fraction)
    months = dates.astype("datetime64[M]").astype(np.int64)
    if part in "bB":
        names = pa.array([each[:3] if part == "b" else each for each in MONTHS])
        return names.take(pa.array(months % 12))
    hours = rest // 3_600_000_000
    number = {
        "Y": lambda: months // 12 + 1970,
        "y": lambda: (months // 12 + 1970) % 100,
        "m": lambda: months % 12 + 1,
        "d": lambda: (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1,
        "H": lambda: hours,
        "I": lambda: (hours + 11) % 12 + 1,
        "M": lambda: rest // 60_000_000 % 60,
        "S": lambda: rest // 1_000_000 % 60,
    }[part]()
    text = pa.array(number).cast(pa.string())
    return text if width == "-" else pc.utf8_lpad(text, 4 if part == "Y" else 2, "0")


def _trimmed(fraction: Any) -> Any:
    """A fraction without the zeros at its end, but for one digit."""
    return pc.replace_substring_regex(fraction, r"^([0-9]+?)0*$", r"\1")
