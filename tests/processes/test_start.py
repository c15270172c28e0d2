"""How quickly a command answers, and that torch is not loaded where no tensor is needed."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def seconds(code: str, rounds: int = 3) -> float:
    """Processor time of a fresh Python that runs some code, the least of several."""
    found = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage"),
        (["--help"], "reproduce"),
        (["train", "--help"], "--resume"),
        (["list"], "two_to_one_planar"),
        (["train", "nosuch"], "nosuch is neither a file nor the name of an experiment"),
        (["train", "nosuch.toml"], "nosuch.toml is neither a file nor the name of an experiment"),
        (["reproduce", "fig9"], "did you mean fig8?"),
        (["trian"], "No such command"),
        (["train", "--sett", "x"], "No such option"),
    ],
    ids=" ".join,
)
def test_what_needs_no_tensor_loads_no_torch(arguments: list[str], said: str) -> None:
    code = f"""
import sys
from marginflow.cli import app
try:
    app({arguments!r})
finally:
    print("torch" in sys.modules, "numpy" in sys.modules)
"""
    done = run(code)
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.alone
@pytest.mark.parametrize("arguments", [["train", "nosuch"], ["list"]], ids=" ".join)
def test_a_mistake_and_a_list_take_less_than_half_a_second(arguments: list[str]) -> None:
    assert seconds(f"from marginflow.cli import app; app({arguments!r})") < 0.5


@pytest.mark.alone
def test_runs_load_in_less_than_four_tenths_of_a_second_beyond_torch() -> None:
    everything = "import marginflow.runs, marginflow.runs.load, marginflow.runs.evaluate, marginflow.runs.compare"
    assert seconds(f"import torch; {everything}") - seconds("import torch") < 0.4


def test_heavy_libraries_wait_until_they_are_used() -> None:
    heavy = {"sklearn", "lightning_fabric", "matplotlib", "numba", "h5py", "tensorboard", "pooch"}
    done = run(f"import marginflow.runs.evaluate, marginflow.training, sys; print({heavy!r} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr
