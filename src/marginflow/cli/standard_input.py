"""A table from the standard input, kept as a file beside its run, from which the run reads it again."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marginflow.cli.output import say
from marginflow.cli.streams import ending_by

STDIN = Path("-")
NAME = "stdin"  # of a run that has no other


@contextmanager
def kept(run_dir: Path) -> Iterator[Path]:
    """The file that holds the standard input while a run is trained on it, and afterwards where the run names it.

    Args:
        run_dir: of the run, beside which the file stands, under the name of the run.

    Yields:
        Its path; what it holds tells its ending.

    Raises:
        ValueError: where the standard input is empty, or a terminal.
        FileExistsError: where a file of that name holds something else.
    """
    content = _content()
    path = run_dir.with_name(run_dir.name + ending_by(content))
    ours = not _is_there(path, content)
    folders = [folder for folder in path.parents if not folder.exists()]
    if ours:
        from marginflow.storage.files import write_whole

        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_whole(path, content)
        except BaseException:
            _remove(folders)
            raise
        say(f"kept the standard input, {len(content):,} bytes, in {path}")
    try:
        yield path
    except BaseException:
        if ours and not _names(run_dir, path):
            path.unlink(missing_ok=True)
            _remove(folders)
        raise


def _content() -> bytes:
    """All of the standard input."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError(
            "- reads a table from the standard input, which is a terminal: cat people.csv | marginflow train -"
        )
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise ValueError("- reads a table from the standard input, which is empty: cat people.csv | marginflow train -")
    return content


def _is_there(path: Path, content: bytes) -> bool:
    """Whether the same was kept before; FileExistsError where something else was."""
    if not path.exists():
        return False
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return True
    raise FileExistsError(
        f"{path} holds other rows than the standard input: move it away, or give another --run-dir, beside which they "
        "are kept"
    )


def _names(run_dir: Path, path: Path) -> bool:
    """Whether a run reads its rows from a file."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        table = tomllib.loads((run_dir / "config.toml").read_text(encoding="utf-8"))
        return Path(table["data"]["path"]) == path.absolute()
    return False


def _remove(folders: list[Path]) -> None:
    """Remove folders that were made, where nothing is in them."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
