"""A table from the standard input, kept as a file beside its run, from which the run reads it again."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from filecmp import cmp
from pathlib import Path

from marginflow.cli.output import say
from marginflow.cli.streams import spooled

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
    with spooled("marginflow train - < people.csv") as spool:
        path = run_dir.with_name(run_dir.name + "".join(spool.suffixes))
        ours = not _is_there(path, spool)
        folders = [folder for folder in path.parents if not folder.exists()]
        if ours:
            _keep(spool, path, folders)
    try:
        yield path
    except BaseException:
        if ours and not _names(run_dir, path):
            path.unlink(missing_ok=True)
            _remove(folders)
        raise


def _keep(spool: Path, path: Path, folders: list[Path]) -> None:
    """Copy a file whole, or leave nothing, none of the folders that were made for it either."""
    from marginflow.storage.files import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with spool.open("rb") as source:
            write_whole(path, lambda file: shutil.copyfileobj(source, file, 2**20))
    except BaseException:
        _remove(folders)
        raise
    say(f"kept the standard input, {path.stat().st_size:,} bytes, in {path}")


def _is_there(path: Path, spool: Path) -> bool:
    """Whether the same was kept before; FileExistsError where something else was."""
    if not path.exists():
        return False
    if path.is_file() and cmp(path, spool, shallow=False):
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
