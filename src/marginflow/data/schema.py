"""The schema of a table: what each column is, how its values are kept in a row, and what is known of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from marginflow.data.grid import Grid
from marginflow.data.warp import Warp

Kind = Literal[
    "real", "positive", "integer", "decimal", "category", "ordered", "boolean", "date", "timestamp", "time", "duration",
    "weight", "identifier", "constant", "text",
]  # fmt: skip
CONTINUOUS = ("real", "positive")
GRIDDED = ("integer", "decimal", "date", "timestamp", "time", "duration")
LEVELLED = ("category", "ordered", "boolean")
KINDS = (*CONTINUOUS, *GRIDDED, *LEVELLED, "weight", "identifier", "constant", "text")
NUM_QUANTILES = 33  # of the rest of a column, from its least value to its largest


@dataclass(frozen=True)
class Column:
    """A column of a table.

    In a row it is one number: of levels the place among them, of a grid the number of steps from its origin, else the
    value itself; NaN where it is blank. All numbers below but those of the grid are in this unit.

    Args:
        name: of the column.
        kind: "real", "positive"; on a grid: "integer", "decimal", "date", "timestamp", "time", "duration"; of levels:
            "category", "ordered", "boolean"; "weight" is the weight of the row. What is left out: "identifier",
            "constant", "text".
        type: of the column in the file, as arrow writes it.
        reason: why it is left out; empty for the others.
        given: whether it is a context, given which the others are modelled.
        blank: whether a value may be missing.
        levels: the values of a column of levels, as text.
        pooled: whether the last level stands for all values that are no other level.
        grid: of a column on a grid.
        lower: a closed bound; None where there is none.
        upper: a closed bound; None where there is none.
        atoms: values that hold a spike, in rising order.
        warp: a smooth monotone map of the rest, the values that are not atoms, to about unit scale; None before it is
            fitted to training rows, or one whose shape is to stay.
        blank_share: of the training rows, of blanks.
        shares: of the training rows, of each level or atom.
        quantiles: of the rest, evenly spaced in probability, from its least to its largest; where hardly any value is
            left, of all values, each counted once.
        settled: which of "lower", "upper" and "atoms" a user has said, also that there are none; training rows tell
            the others.
        digits: decimals with which the file writes real numbers, and samples are written; None where they have more
            than six, or a user has said that they are real.

    Raises:
        ValueError: where its parts contradict each other.

    Examples:
        >>> column = Column("size", "category", levels=("S", "M"), shares=(0.5, 0.5))
        >>> column.is_modelled, column.num_points
        (True, 2)
    """

    name: str
    kind: Kind
    type: str = "double"
    reason: str = ""
    given: bool = False
    blank: bool = False
    levels: tuple[str, ...] = ()
    pooled: bool = False
    grid: Grid | None = None
    lower: float | None = None
    upper: float | None = None
    atoms: tuple[float, ...] = ()
    warp: Warp | None = None
    blank_share: float = 0.0
    shares: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    settled: tuple[str, ...] = ()
    digits: int | None = None

    def __post_init__(self) -> None:
        for what in self._contradictions():
            raise ValueError(f"column {self.name!r}: {what}")

    def _contradictions(self) -> list[str]:
        found = []
        if self.kind not in KINDS:
            found.append(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            found.append(f"lower bound {self.lower:g} is above the upper bound {self.upper:g}")
        lower, upper = -math.inf if self.lower is None else self.lower, math.inf if self.upper is None else self.upper
        outside = [atom for atom in self.atoms if not lower <= atom <= upper]
        if outside:
            found.append(f"atom {outside[0]:g} is outside of the bounds {self.lower} and {self.upper}")
        if not self.is_modelled and not self.given:
            return found
        if (self.kind in LEVELLED) != bool(self.levels):
            found.append(f"kind {self.kind!r} {'needs levels' if self.kind in LEVELLED else 'takes no levels'}")
        if (self.kind in GRIDDED) != (self.grid is not None):
            found.append(f"kind {self.kind!r} {'needs a grid' if self.kind in GRIDDED else 'takes no grid'}")
        if self.quantiles and self.warp is None:
            found.append(f"kind {self.kind!r} needs a warp")
        if list(self.atoms) != sorted(set(self.atoms)):
            found.append(f"atoms must be different and rise; got {self.atoms[:8]}")
        if self.quantiles and self.warp is not None and self.grid is None:
            inside = [each for each in (self.lower, self.upper) if each is not None and self.warp.is_finite_at(each)]
            found += [f"its warp goes on beyond the bound {each:g}, where no probability may be" for each in inside]
        return found

    @property
    def is_modelled(self) -> bool:
        """Whether the density has a factor for it."""
        return not self.reason and not self.given and self.kind not in ("weight", "identifier", "constant", "text")

    @property
    def weighs(self) -> bool:
        """Whether it holds the weight of each row."""
        return self.kind == "weight" and not self.reason

    @property
    def num_points(self) -> int:
        """How many values have a probability of their own: blank, and levels or atoms."""
        return self.blank + len(self.levels or self.atoms)


@dataclass(frozen=True)
class Schema:
    """What the columns of a table are.

    Args:
        columns: all columns of the file, in its order.

    Raises:
        ValueError: where a name stands for several columns, or no column is left to be modelled.

    Examples:
        >>> schema = Schema((Column("a", "boolean", levels=("false", "true")), Column("id", "identifier", reason="x")))
        >>> [column.name for column in schema.modelled], Schema.from_json(schema.to_json()) == schema
        (['a'], True)
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"a name stands for several columns: {sorted({n for n in names if names.count(n) > 1})}")
        if not self.modelled:
            raise ValueError("no column is left to be modelled")

    @property
    def modelled(self) -> tuple[Column, ...]:
        """The columns that a row holds, in the order of the file."""
        return tuple(column for column in self.columns if column.is_modelled)

    @property
    def given(self) -> tuple[Column, ...]:
        """The columns of the context."""
        return tuple(column for column in self.columns if column.given)

    @property
    def names(self) -> list[str]:
        """Of the columns that a row holds."""
        return [column.name for column in self.modelled]

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def to_json(self) -> str:
        """As text, from which `from_json` makes it anew."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """The schema in a text of `to_json`; ValueError where it is none."""
        try:
            return cls(tuple(_column(each) for each in json.loads(text)["columns"]))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"this is no schema: {error}") from error


def _column(given: dict[str, Any]) -> Column:
    tuples = {name: tuple(given[name]) for name in ("levels", "atoms", "shares", "quantiles")}
    tuples["settled"] = tuple(given.get("settled", ()))  # which early schemas lack
    grid = None if given["grid"] is None else Grid(**given["grid"])
    warp = None if given["warp"] is None else _warp(given["warp"])
    return Column(**{**given, **tuples, "grid": grid, "warp": warp})


def _warp(given: dict[str, Any]) -> Warp:
    return Warp(**{**given, **{name: tuple(given[name]) for name in ("knots", "heights", "slopes")}})
