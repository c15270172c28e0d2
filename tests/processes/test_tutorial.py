"""The tutorial's blocks run, in their order, as they stand there."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    names: dict[str, object] = {}
    output: dict[str, str] = {}
    blocks = re.findall(r"```(python|bash)( fails)?\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert len(blocks) == 15
    for language, fails, block in blocks:
        if language == "python":
            exec(block, names)
            continue
        command = ["bash", "-eu", "-c", block]
        result = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
        assert (result.returncode != 0) == bool(fails), result.stdout + result.stderr
        output[block] = result.stdout + result.stderr
    told = "".join(output.values())
    expected = " ".join(re.findall(r"^    (.*)$", TUTORIAL.read_text(), re.MULTILINE)[:2])
    assert expected.replace("/where/you/are", str(tmp_path)) in " ".join(told.split())
    assert len(re.findall(r"log p is that of a density|NLL of the rows as given", told)) >= 3
    ordinary, thin, old = csv.DictReader(Path("scored.csv").read_text().splitlines())
    assert float(ordinary["log_prob"]) > max(float(thin["log_prob"]), float(old["log_prob"])) + 10
    assert [each["outlier"] for each in (ordinary, thin, old)] == ["false", "true", "true"]
    assert len(Path("group_b.csv").read_text().splitlines()) == 501
    assert "['height', 'weight', 'age', 'group'] 1000" in capsys.readouterr().out
    assert Path("two_columns.safetensors").exists()
    for figure in ("training", "marginals", "latents"):
        assert Path(f"runs/numbers/figures/{figure}.svg").exists()
