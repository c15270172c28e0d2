"""The wheel: built, installed into an empty folder, and used from another, far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder into which the wheel was installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    call = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(call, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    return folder / "site"


def marginflow(site: Path, here: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "marginflow", *arguments],
        cwd=here, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_the_experiments_and_says_that_it_is_typed(site: Path) -> None:
    installed = {path.name for path in (site / "marginflow" / "experiments").iterdir()}
    assert installed == {path.name for path in (ROOT / "experiments").glob("*.toml")}
    assert (site / "marginflow" / "py.typed").is_file()
    assert not any(site.rglob("results"))


def test_experiments_are_listed_and_trained_by_name_in_an_empty_folder(site: Path, tmp_path: Path) -> None:
    assert "two_to_one_planar" in marginflow(site, tmp_path, "list")
    marginflow(site, tmp_path, "reproduce", "two_to_one", "--epochs", "1", "--report")
    assert {path.name for path in (tmp_path / "experiments" / "results").iterdir()} == {
        "two_to_one.json", "two_to_one.png", "two_to_one.html",
    }  # fmt: skip
    code = "import marginflow; print(marginflow.__file__)"
    there = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(site))
