"""A record in JSON that grows as its parts are done, by one process or several."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marginflow.storage.files import write_whole


def read(path: Path) -> dict[str, Any]:
    """The record, empty where there is none yet."""
    return json.loads(path.read_text()) if path.is_file() else {}


def look(record: dict[str, Any], *keys: str) -> Any:
    """What is kept below keys, one inside the other; None where nothing is."""
    for key in keys:
        record = record.get(key, {})
    return record or None


def keep(path: Path, value: Any, *keys: str) -> None:
    """Put a value below keys, one inside the other, beside what others keep meanwhile; the file is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        record = read(path)
        inner = record
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
        write_whole(path, (json.dumps(record, indent=1) + "\n").encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process that asks for the folder has it meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
