"""How quickly a command answers, and that torch is not loaded where no tensor is needed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Call, succeeds

import marginflow

# A package that is installed comes compiled; a checkout is compiled once, unless the environment forbids to keep it.
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=COMPILED)


def seconds(code: str, said: str) -> float:
    """Processor time of a fresh Python that runs some code, which says something, the least of three."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(code)
        assert said in done.stdout + done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


NO_TENSOR = {
    "": "Usage",
    "--help": "reproduce",
    "train --help": "--resume",
    "list": "two_to_one_planar",
    "train nosuch": "nosuch is neither a file nor the name of an experiment",
    "evaluate nosuch": "nosuch is not a run directory",
    "sample nosuch -o a.csv": "nosuch is not a run directory",
    "check nosuch": "nosuch is not a run directory",
    "compare nosuch nosuch2": "nosuch is not a run directory",
    "report nosuch": "nosuch is not a run directory",
    "train nosuch.toml": "nosuch.toml is neither a file nor the name of an experiment",
    "reproduce fig9": "did you mean fig8?",
    "trian": "No such command",
    "train --sett x": "No such option",
}


@pytest.mark.parametrize(("typed", "said"), NO_TENSOR.items(), ids=NO_TENSOR)
def test_what_needs_no_tensor_loads_no_torch(typed: str, said: str) -> None:
    code = f"""
import sys
from marginflow.cli import app
try:
    app({typed.split()!r})
finally:
    print("torch" in sys.modules, "numpy" in sys.modules)
"""
    done = run(code)
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.alone
@pytest.mark.parametrize("typed", ["train nosuch", "list", "--help", "evaluate nosuch"])
def test_a_mistake_a_list_and_help_take_less_than_half_a_second(typed: str) -> None:
    assert seconds(f"from marginflow.cli import app; app({typed.split()!r})", NO_TENSOR[typed]) < 0.5


@pytest.mark.alone
def test_runs_load_in_a_third_of_the_time_of_torch() -> None:
    """0.4 s where torch takes 1.2: the machine may be slow just now, and is so for both."""
    code = """
import time
started = time.process_time()
import torch
between = time.process_time()
import marginflow.runs, marginflow.runs.load, marginflow.runs.evaluate, marginflow.runs.compare
print((time.process_time() - between) / (between - started))
"""
    assert min(float(run(code).stdout) for _ in range(4)) < 0.4 / 1.2


def test_heavy_libraries_wait_until_they_are_used() -> None:
    heavy = {"sklearn", "lightning_fabric", "matplotlib", "numba", "h5py", "tensorboard", "pooch"}
    done = run(f"import marginflow.runs.evaluate, marginflow.training, sys; print({heavy!r} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_version_and_completion(call: Call) -> None:
    assert succeeds(call("--version")).strip() == f"marginflow {marginflow.__version__}"
    assert "--install-completion" in succeeds(call("--help"))
    typed = {"_MARGINFLOW_COMPLETE": "complete_bash", "COMP_WORDS": "marginflow e", "COMP_CWORD": "1"}
    command = str(Path(sys.executable).with_name("marginflow"))
    completed = subprocess.run([command], env={**os.environ, **typed}, capture_output=True, text=True, check=False)
    assert completed.stdout.split() == ["evaluate"]
