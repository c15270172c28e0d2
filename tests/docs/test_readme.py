"""The README's Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
def test_python_blocks_run(
    block: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # for the file that it saves
    names: dict[str, object] = {}
    exec(block, names)
    built = names.get("model", names.get("flow"))
    assert names["samples"].shape == (1000, *built.event_shape)
    assert "effective sample size" in capsys.readouterr().out
