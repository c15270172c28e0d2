"""Files whole or not at all, against kills between any two steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marginflow.storage import files
from marginflow.storage.files import keep, verify


def test_a_kill_between_a_checksum_and_its_file_leaves_both_files_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten kills in a row before the new file takes its place, then one after."""
    path = tmp_path / "state"
    keep(path, b"first")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt  # which, as a kill does, leaves what comes after undone

    replace = Path.replace
    for i in range(10):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda a, b: killed() if b == path else replace(a, b))
            with pytest.raises(KeyboardInterrupt):
                keep(path, b"never %d" % i)
        verify(path)
    assert path.read_bytes() == b"first"
    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", lambda directory: killed() if path.read_bytes() == b"second" else None)
        with pytest.raises(KeyboardInterrupt):
            keep(path, b"second")
    verify(path)
    keep(path, b"third")
    verify(path)
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match="is not what was written"):
        verify(path)
    assert [len(each) for each in json.loads((tmp_path / "checksums.json").read_text()).values()] == [1]
