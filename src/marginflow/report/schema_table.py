"""The schema of a table as the command line shows it: a row a column, with what will be done."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from marginflow.base.literal import literal
from marginflow.base.overrides import of_column
from marginflow.data.schema import CONTINUOUS, LEVELLED, Column, Schema
from marginflow.data.tables.decode import as_written
from marginflow.data.tables.describe import Summary
from marginflow.data.tables.encode import step_in_words
from marginflow.report.estimates import NONE
from marginflow.report.parted import Cells, Parted

MOST = 40  # characters of a cell's text
NAMED = 4  # levels or atoms, of several


def schema_table(schema: Schema, found: Mapping[str, Summary]) -> Parted:
    """A schema as a table.

    Args:
        schema: of a file.
        found: what its rows say of each column.
    """
    summaries = [found.get(each.name) for each in schema.columns]
    of_rows = [
        (NONE, NONE, NONE) if summary is None else (_range(column, summary), _missing(summary), _mode(summary))
        for column, summary in zip(schema.columns, summaries, strict=True)
    ]
    ranges, missing, modes = ([Text(literal(row[i])) for row in of_rows] for i in range(3))
    columns = [
        Cells("column", [Text(literal(each.name)) for each in schema.columns]),
        Cells("kind", [each.kind for each in schema.columns], whole=True),
        Cells("range", ranges),
        Cells("missing", missing, right=True, whole=True),
        Cells("most frequent", modes),
        Cells("what will be done", [Text(literal(what_is_done(each))) for each in schema.columns], later=True),
    ]
    return Parted(columns, styles=["dim" if each.reason else "" for each in schema.columns])


def how_to_take_back(schema: Schema) -> str | None:
    """How what values told of a column is taken back, by an example; None where nothing was told.

    >>> how_to_take_back(Schema((Column("hotel nights", "real", lower=0.0, atoms=(0.0,)),)))
    "to take back what values told: --set 'schema.hotel nights.lower=none', --set 'schema.hotel nights.atoms=[]'"
    """
    found = dict[str, str]()
    for column in schema.columns:
        told = {"lower": ("none", column.lower), "upper": ("none", column.upper), "atoms": ([], column.atoms or None)}
        for name, (nothing, value) in told.items():
            if value is not None and name not in column.settled:
                found.setdefault(name, of_column(column.name, {name: nothing}))
    return f"to take back what values told: {', '.join(found.values())}" if found else None


def _range(column: Column, summary: Summary) -> str:
    if column.kind in LEVELLED:
        return _named(column.levels)
    return f"{_short(summary.least)} to {_short(summary.most)}" if summary.least else NONE


def _missing(summary: Summary) -> str:
    return _share(summary.num_blank, summary.num_rows) if summary.num_blank else NONE


def _mode(summary: Summary) -> str:
    return f"{_short(summary.mode)} ({_share(summary.num_mode, summary.num_rows)})" if summary.mode else NONE


def _share(count: int, num_rows: int) -> str:
    """A share in percent, which is never 0 or 100 where it is not."""
    share = 100 * count / num_rows
    if 0 < share < 0.1:
        return "<0.1 %"
    return f"{min(share, 99.9) if count < num_rows else share:.{1 if share < 10 or 99 < share < 100 else 0}f} %"


def what_is_done(column: Column) -> str:
    """What a density makes of a column, in words.

    >>> what_is_done(Column("size", "category", levels=("S", "M"), blank=True))
    'a probability for each of 2 levels, and for missing'
    """
    if column.reason:
        return f"left out: {column.reason.removeprefix('left out ')}"
    if column.kind == "weight":
        return "the weight of each row"
    done = "given: " if column.given else ""
    if column.kind in LEVELLED:
        levels = f"{len(column.levels)} level{'s' if len(column.levels) > 1 else ''}"
        order = " in their order" if column.kind == "ordered" else ""
        pooled = ", the rare ones pooled" if column.pooled else ""
        return f"{done}a probability for each of {levels}{order}{pooled}{', and for missing' if column.blank else ''}"
    if column.kind in CONTINUOUS:
        shape = "" if column.warp is None else f" of {_shape(column)}"
        parts = [f"a density{shape}"]
    else:
        parts = [f"a probability for each step of {step_in_words(column)}"]
    parts += _bounds(column) + _atoms(column) + (["missing apart"] if column.blank else [])
    return f"{done}{', '.join(parts)}"


def _shape(column: Column) -> str:
    assert column.warp is not None
    spline = " and a spline" if column.warp.knots else ""
    return {"standardise": "the value", "log": "its log"}.get(column.warp.shape, f"its {column.warp.shape}") + spline


def _bounds(column: Column) -> list[str]:
    names = {"from": column.lower, "up to": column.upper}
    return [f"{name} {_written(column, value)}" for name, value in names.items() if value is not None]


def _atoms(column: Column) -> list[str]:
    if not column.atoms:
        return []
    by_share = sorted(range(len(column.atoms)), key=lambda i: -column.shares[i] if column.shares else 0.0)
    named = ", ".join(_written(column, column.atoms[i]) for i in by_share[: NAMED - 1])
    more = f" and {len(column.atoms) - NAMED + 1} more" if len(column.atoms) >= NAMED else ""
    return [f"spike{'s' if len(column.atoms) > 1 else ''} at {named}{more}"]


def _written(column: Column, value: float) -> str:
    """A number of a row as the file writes it."""
    return _short(as_written(value, column))


def _named(levels: tuple[str, ...]) -> str:
    shown = ", ".join(_short(each) for each in levels[:NAMED])
    return shown if len(levels) <= NAMED else f"{shown} and {len(levels) - NAMED} more"


def _short(text: str) -> str:
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."
