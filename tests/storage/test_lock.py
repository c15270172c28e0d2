"""The lock of a directory."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from marginflow.storage.lock import locked


def test_a_lock_that_cannot_be_removed_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(FloatingPointError, match="the loss"), locked(tmp_path):
        raise FloatingPointError("the loss became nan")
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):  # though it has stayed
        pass
