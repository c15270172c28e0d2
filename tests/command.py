"""The command line as the tests call it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from marginflow.cli.app import app

MOONS = """
[data]
name = "half_moons"
num_train = 500
num_validation = 100
num_test = 200
[model]
name = "planar"
blocks = 2
[train]
epochs = 2
"""
DIGITS = """
[data]
name = "digits"
[preprocess]
logit = 0.05
[model]
name = "maf"
hidden = [16]
blocks = 2
batch_norm = true
[noise]
features = 3
[train]
epochs = 1
"""
Call = Callable[..., Result]


def run(*arguments: object) -> Result:
    """Run a command where we are."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty directory that holds some experiments."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moons.toml").write_text(MOONS)
    (tmp_path / "digits.toml").write_text(DIGITS)
    return run


def width(path: str) -> int:
    with Image.open(path) as image:
        return image.size[0]


def succeeds(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def fails(result: Result, message: str) -> None:
    """Exit status 1 and one line that matches."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.output
    assert re.search(message, lines[0]), lines[0]
