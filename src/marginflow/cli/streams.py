"""Standard input as a table's file, and standard output as a stream of text that a reader may leave early."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import typer

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import reworded

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("csv", "tsv", "parquet", "feather")
_BY_START = {
    b"PAR1": ".parquet",
    b"ARROW1": ".feather",
    b"FEA1": ".feather",
    b"\x93NUMPY": ".npy",
    b"\x1f\x8b": ".csv.gz",
}
_SHOWN = "standard input"


def ending_by(start: bytes) -> str:
    """The ending of a table's file that its first bytes tell; ".csv" where they tell none.

    >>> ending_by(b"PAR1"), ending_by(b"a,b")
    ('.parquet', '.csv')
    """
    return next((ending for mark, ending in _BY_START.items() if start.startswith(mark)), ".csv")


@contextmanager
def spooled(typed: str, format: str | None = None) -> Iterator[Path]:
    """Standard input as a file in a temporary folder, however long it is.

    Args:
        typed: a command that has a table there, to be named where there is none.
        format: "csv", "tsv", "parquet" or "feather"; None lets its first bytes tell.

    Returns:
        A context manager, inside of which the file is there.

    Raises:
        ValueError: where standard input is a terminal, or nothing comes.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError(f"- is the standard input, here a terminal, and a table is needed: {typed}")
    with tempfile.TemporaryDirectory(prefix="marginflow-") as folder:
        stream = sys.stdin.buffer
        start = stream.read(8)
        if not start:
            raise ValueError(f"standard input is empty, and a table is needed: {typed}")
        path = Path(folder) / f"stdin{ending_by(start) if format is None else f'.{format}'}"
        with path.open("wb") as file:
            file.write(start)
            shutil.copyfileobj(stream, file, 2**20)
        yield path


@contextmanager
def from_stdin(typed: str, format: str | None = None) -> Iterator[Path]:
    """The same; messages call the file by its name, standard input."""
    with spooled(typed, format) as path, _called(path):
        yield path


@contextmanager
def _called(path: Path) -> Iterator[None]:
    """Inside, messages speak of standard input in the place of its file."""

    def renamed(text: object) -> str:
        return str(text).replace(str(path), _SHOWN)

    before = warnings.showwarning

    def show(message: Warning | str, *about: Any, **more: Any) -> None:
        before(reworded(message, renamed), *about, **more)

    warnings.showwarning = cast(Any, show)
    try:
        yield
    except DataError as error:
        raise DataError([renamed(line) for line in error.lines], error.remedies) from error
    except ValueError as error:
        raise ValueError(renamed(error)) from error
    finally:
        warnings.showwarning = before


@contextmanager
def to_stdout() -> Iterator[BinaryIO]:
    """Standard output for bytes; a reader that leaves early, as head does, ends the command quietly."""
    sys.stdout.flush()
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        with suppress(OSError, io.UnsupportedOperation):  # or the interpreter would try to flush it once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None


def require_format(format: str | None, table: Path) -> None:
    """Refuse a format that is none of standard input's: ValueError."""
    if format is not None and format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}; got {format!r}")
    if format is not None and str(table) != "-":
        raise ValueError(f"--format is of standard input, -; the ending of {table} tells its own: leave it out")


def require_other_file(to: Path, table: Path) -> None:
    """Refuse an output that cannot be written, or is the table itself; standard output is neither."""
    from marginflow.data.tables.write import require_output

    if str(to) == "-":
        return
    require_output(to)
    if str(table) != "-" and to.resolve() == table.resolve():
        raise ValueError(f"{to} is the table itself: give another --output")


def write_to(tables: Iterator[pa.Table], names: Sequence[str], to: Path) -> None:
    """Write tables one below the other to a file, whole or not at all, or to standard output."""
    from marginflow.data.tables.write import write_tables

    if str(to) != "-":
        write_tables(tables, names, to)
        return
    with to_stdout() as stream:
        write_tables(tables, names, stream)
