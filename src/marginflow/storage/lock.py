"""One training at a time in a directory: a lock that the system takes back when its owner ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover, where there are no such locks
    fcntl = None

LOCK = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Inside, whoever else asks for the lock of this directory is refused, another thread of this process included.

    The file .lock is there for as long as it lasts, with the number of the process; after a kill it stays, and locks
    nothing. OSError where it cannot be written, BlockingIOError where another holds the lock.
    """
    if fcntl is None:
        yield
        return
    path = directory / LOCK
    file = _open(path)
    try:
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):  # where nothing can be written any more it stays, and locks nothing
            path.unlink(missing_ok=True)  # while it is locked: see _open
        os.close(file)


def _open(path: Path) -> int:
    """The lock file, open and locked, and still the one that stands there: another may have removed it meanwhile."""
    assert fcntl is not None
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OSError(f"{path.parent} cannot be written in ({error.strerror}): give another directory") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BlockingIOError:
            owner = os.read(file, 20).decode(errors="replace").strip()
            os.close(file)
            raise BlockingIOError(
                f"{path.parent} is being trained in by process {owner or 'unknown'}: wait for it, or give another "
                "directory"
            ) from None
        os.close(file)
