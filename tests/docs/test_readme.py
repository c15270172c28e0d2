"""The README's Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

README = Path(__file__).parents[2] / "README.md"
OF_A_FRAME, *BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_a_data_frame_comes_back_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    people = {"sex": rng.choice(["f", "m"], 90), "age": rng.integers(18, 90, 90), "pay": rng.gamma(4, 800, 90).round(2)}
    frame = pd.DataFrame(people)
    frame.to_csv("people.csv", index=False)
    names: dict[str, Any] = {}
    exec(OF_A_FRAME, names)
    assert np.isfinite(names["log_p"]).all()
    assert names["more"].shape == (1000, 3)
    assert (names["more"].dtypes == names["df"].dtypes).all()


@pytest.mark.slow
@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(
    block: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # for the file that it saves
    names: dict[str, object] = {}
    exec(block, names)
    built = names.get("model", names.get("flow"))
    assert names["samples"].shape == (1000, *built.event_shape)
    assert "effective sample size" in capsys.readouterr().out
