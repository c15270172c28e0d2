"""A table that a narrow terminal shows in two parts, so that its names and numbers stay whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Cells:
    """A column of a table.

    Attributes:
        title: in one line or several.
        cells: from the first row to the last.
        right: whether they stand on the right, as numbers do.
        whole: whether none is ever broken.
        later: whether it is in the second part where the table is too wide.
    """

    title: str
    cells: Sequence[str | Text]
    right: bool = False
    whole: bool = False
    later: bool = False


@dataclass(frozen=True)
class Parted:
    """A table, as one where there is room, and else as two that begin with the same column.

    That column, too, is whole where the longest words of the others leave room.

    Attributes:
        columns: from left to right, the first of which names the rows.
        title: above it.
        styles: of the rows, where they have such.
    """

    columns: Sequence[Cells]
    title: str | None = None
    styles: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """The table in the room that there is."""
        name, *others = self.columns
        parts = [[name, *(each for each in others if each.later is later)] for later in (False, True)]
        needed = console.measure(self._table(self.columns), options=options.update(max_width=sys.maxsize)).maximum
        if len(parts[1]) == 1 or needed <= options.max_width:
            parts = [self.columns]
        for (first, *rest), title in zip(parts, (self.title, None), strict=False):
            whole = [replace(first, whole=True), *rest]
            fits = sum(map(_least_width, whole)) + 3 * len(whole) + 1 <= options.max_width  # with lines and blanks
            yield self._table(whole if fits else [first, *rest], title)

    def _table(self, columns: Sequence[Cells], title: str | None = None) -> Table:
        table = Table(title=title, title_justify="left")
        for each in columns:
            justify = "right" if each.right else "left"
            table.add_column(each.title, justify=justify, no_wrap=each.whole, overflow="fold")
        for i, row in enumerate(zip(*(each.cells for each in columns), strict=True)):
            table.add_row(*row, style=self.styles[i] if self.styles else None)
        return table


def _least_width(column: Cells) -> int:
    """The width in which no word is broken, or no line of a column that is whole."""
    texts = [column.title, *map(str, column.cells)]
    return max(
        cell_len(part) for text in texts for part in (text.splitlines() if column.whole else text.split()) or [""]
    )
