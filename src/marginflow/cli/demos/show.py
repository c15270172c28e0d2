"""What the demo prints: headlines, the commands that a person would type, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import join

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from marginflow.base.literal import literal
from marginflow.cli.output import say as say  # the plain line, for all of the demo


def headline(text: str) -> None:
    """A line in bold, set off from what is above it."""
    Console().print(Text(f"\n{literal(text)}", style="bold"), soft_wrap=True)


def command(*words: object) -> None:
    """A command as it would be typed."""
    Console().print(Text(f"\n$ {literal(join(['marginflow', *map(str, words)]))}", style="cyan"), soft_wrap=True)


def rows(table: pa.Table, title: str, more: Mapping[str, Sequence[str]] | None = None) -> None:
    """Rows of a table, a line each, with some further columns behind its own; what is missing is left empty."""
    shown = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    columns = {name: [_cell(each) for each in table[name].to_pylist()] for name in table.column_names}
    for name, cells in {**columns, **(more or {})}.items():
        right = all(not each or each.lstrip("-").replace(".", "", 1).isdigit() for each in cells)
        shown.add_column(literal(name), justify="right" if right else "left", no_wrap=True)
    for line in zip(*columns.values(), *(more or {}).values(), strict=True):
        shown.add_row(*map(literal, line))
    Console(width=120).print(shown, highlight=False)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
