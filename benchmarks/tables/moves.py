"""The page of the studies: each setting of `mixed` beside the one that it comes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.tables.standing import beside, mean_of, measured, told_apart
from benchmarks.tables.studies import AS_IT_COMES, TABLES

HOW = f"""\
`mixed` with one setting changed, on the tables that settings are chosen on, three splits by seed, each training ended
by validation rows or after 60 passes. "{AS_IT_COMES.capitalize()}" is, below 10,000 rows to train on, eight orders of
the columns, that of the file and seven random ones, each by three layers of 128 units with three logistics a number
and dropout 0.2; else the order of the file by five layers of 256 units, ten logistics, no dropout. Held-out nats a
row; the gain is over "{AS_IT_COMES}", row by row, ± one standard error, of the rows or of the means of seeds where that
is larger. With noise dimensions log p is an importance-weighted estimate by 100 draws, too low on average. AUC is that
of boosted trees that tell samples from test rows.
"""


def is_of_studies(record: Mapping[str, Any]) -> bool:
    """Whether a record is one of the studies."""
    return any(measured(table, AS_IT_COMES) for table in record.get("tables", {}).values())


def moves(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    sections = ["# What moves it", HOW]
    for name, table in record["tables"].items():
        found = {model for part in table["parts"].values() for model in part.get("models", {})}
        known = TABLES.get(name, {})
        ordered = [each for each in known if each in found] + sorted(found - set(known))
        lines = [_line(table, each) for each in ordered if measured(table, each)]
        head = ["| setting | log p | gain | AUC | seconds |", "| --- | ---: | ---: | ---: | ---: |"]
        sections += [f"## {name.capitalize()}", "\n".join([*head, *lines])]
    return "\n\n".join(each.strip() for each in sections) + "\n"


def _line(table: Mapping[str, Any], setting: str) -> str:
    gain, apart = beside(table, setting, AS_IT_COMES), told_apart(table, setting)
    cells = [
        setting,
        f"{mean_of(table, setting, 'log_p'):.3f}",
        "" if gain is None else f"{gain['gain']:+.3f} ± {gain['standard_error']:.3f}",
        "" if apart is None else f"{apart['auc']:.3f}",
        f"{mean_of(table, setting, 'seconds'):.0f}",
    ]
    return f"| {' | '.join(cells)} |"
