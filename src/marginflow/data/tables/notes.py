"""What a text table told of how it is written and is not the custom, and what to say where that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from marginflow.base.data_warning import DataWarning

if TYPE_CHECKING:
    from marginflow.data.tables.dialect import Dialect

PLAIN = "',' between values, '.' as decimal mark, in UTF-8, a first line of names"


class Note(NamedTuple):
    """Something that is not the custom.

    Attributes:
        words: for it.
        option: of reading that overrides it,
        other: and a value that it may be given.
    """

    words: str
    option: str
    other: object


def told(dialect: Dialect, path: Path, *, free: bool = True) -> DataWarning | None:
    """What the file told of itself that is not the custom, in one line; None where there is nothing to say.

    free: whether options can say how it is written; otherwise the file must be written otherwise.
    """
    if not dialect.notes:
        return None
    line = f"{path}: read with {', '.join(note.words for note in dialect.notes)}"
    if not free:
        return DataWarning(f"{line}; if that is wrong, write it as the training's file was, or plainly: {PLAIN}")
    options = {note.option: note.other for note in dialect.notes}
    return DataWarning(line, [("if that is wrong, say how it is written, such as by", options)])
