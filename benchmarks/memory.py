"""Peak memory of a training, in a process of its own: `python -m benchmarks.memory LIBRARY SIZE`."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.candidates import CANDIDATES
from benchmarks.sizes import Size, named

STEPS = 3


def peak_above_imports(library: str, name: str) -> float:
    """Megabytes that `STEPS` training steps add at their peak to what the process holds after its imports."""
    size = named(name)
    small = Size("first", 2, (4, 4), 1, blocks=1)
    CANDIDATES[library](small).step(torch.randn(size.rows, 2))  # imports whatever a step imports
    before = peak_of_process()
    candidate, x = CANDIDATES[library](size), torch.randn(size.rows, size.features)
    for _ in range(STEPS):
        candidate.step(x)
    return peak_of_process() - before


def peak_of_process() -> float:
    """Megabytes that this process has held at most. getrusage would count those of the process that started it."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def usual_peak(library: str, name: str) -> float:
    """The median of three processes: what the C library keeps of freed memory differs from one to the next."""
    return statistics.median(in_a_process_of_its_own("benchmarks.memory", library, name) for _ in range(3))


def in_a_process_of_its_own(module: str, *arguments: str) -> Any:
    """What a module prints as JSON when it is run, undisturbed by what this process holds."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(peak_above_imports(*sys.argv[1:])))
