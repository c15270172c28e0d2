"""Numbers with a unit or a sign of a currency around them in a column of text, which are left out as they stand."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from marginflow.data.tables.cells import UNIT
from marginflow.data.tables.values import Values

SAMPLE = 1000  # different texts that are looked at first
MOST = 0.9  # of the cells have the same
_NUMBER = re.compile(r"[0-9][0-9.,]*|\.[0-9]+")
_MARK = re.compile(r"[.,]")


@dataclass(frozen=True)
class Unit:
    """What stands around the numbers of a column.

    Attributes:
        text: of the unit.
        count: how many cells have it,
        given: of how many that hold anything.
        decimal: the mark between whole and fraction.
        grouped: whether the other mark stands between thousands.
    """

    text: str
    count: int
    given: int
    decimal: str
    grouped: bool

    def stripped_in_pandas(self, name: str) -> str:
        """The line that makes numbers of a column of text in a data frame of pandas."""
        found = f"table[{name!r}].str.replace({self.text!r}, '')"
        if self.grouped:
            found += f".str.replace({'.' if self.decimal == ',' else ','!r}, '')"
        if self.decimal == ",":
            found += ".str.replace(',', '.')"
        number = f"{found}.astype(float)" if self.count == self.given else f"pd.to_numeric({found}, errors='coerce')"
        return f"table[{name!r}] = {number}"


def unit_in(values: Values) -> Unit | None:
    """The unit that nearly all cells of text have around a number; None where there is none.

    Args:
        values: of a column of text.

    Examples:
        >>> import pyarrow as pa
        >>> from marginflow.data.tables.values import of_arrow
        >>> unit_in(of_arrow(pa.array(["1.277,00 €", "3,50 €", None])))
        Unit(text='€', count=2, given=2, decimal=',', grouped=True)
    """
    texts = values.distinct[:SAMPLE].to_pylist()
    common = Counter(each for each in map(_around, texts) if each).most_common(1)
    if not common or common[0][1] < MOST * len(texts):
        return None
    unit = common[0][0]
    has_it = [_around(each) == unit for each in values.distinct.to_pylist()]
    count, given = int(values.counts[has_it].sum()), len(values) - values.num_blank
    amounts = [_amount(text) for text, fits in zip(values.distinct.to_pylist(), has_it, strict=True) if fits]
    if count < MOST * given or any(re.match("0[0-9]", each) for each in amounts):  # codes are no amounts
        return None
    decimal = _decimal(amounts)
    return Unit(unit, count, given, decimal, any(("." if decimal == "," else ",") in each for each in amounts))


def _around(text: str) -> str:
    """What stands around the only number of a text; "" where it is no number with a unit."""
    found = _NUMBER.search(text)
    if found is None or not UNIT.fullmatch(text):
        return ""
    return (text[: found.start()].strip(" +-\u00a0\u202f") + text[found.end() :]).strip()


def _amount(text: str) -> str:
    found = _NUMBER.search(text)
    return "" if found is None else found[0]


def _decimal(amounts: list[str]) -> str:
    """The mark between whole and fraction: the last one of a number, unless three digits follow it everywhere."""
    ends = Counter[str]()
    for each in amounts:
        marks = _MARK.findall(each)
        digits = len(_MARK.split(each)[-1])
        if marks and (digits != 3 or len(set(marks)) == 2):
            ends[marks[-1]] += 1
    return ends.most_common(1)[0][0] if ends else "."
