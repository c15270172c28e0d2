"""A disk that fills up, a directory that becomes read-only and one that is removed, while a training writes to it.

python -m stress.disk, in tests/, as root: the disk is one of memory, mounted for the while.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file

from marginflow import load

EXPERIMENT = """
[data]
name = "half_moons"
num_train = 20000
num_validation = 1000
num_test = 1000
[model]
name = "maf"
hidden = [64]
blocks = 3
[train]
epochs = 8
ema = 0.99
"""


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A disk of a few megabytes, beside an experiment."""
    with tempfile.TemporaryDirectory() as name:
        disk = Path(name) / "disk"
        disk.mkdir()
        (disk.parent / "long.toml").write_text(EXPERIMENT)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)], check=True)
        try:
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def training(run: Path, *more: str) -> subprocess.Popen[str]:
    not_above_modes = ["setpriv", "--bounding-set", "-dac_override"]  # as a user who is not root
    command = [sys.executable, "-m", "marginflow", "train", str(run.parents[1] / "long.toml"), "--run-dir", str(run)]
    return subprocess.Popen(
        [*not_above_modes, *command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def fill(disk: Path) -> None:
    """Write until nothing more can be written."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def read_only(disk: Path) -> None:
    """Allow nothing to be written any more."""
    (disk / "run").chmod(0o555)


def take_away(disk: Path) -> None:
    shutil.rmtree(disk / "run")


def broken(disk: Path, happens: Callable[[Path], None]) -> str:
    """What a training says in whose second or third epoch something happens to its disk."""
    process = training(disk / "run")
    metrics = disk / "run" / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.02)
    happens(disk)
    _, error = process.communicate()
    said = [line for line in error.splitlines() if line.startswith("marginflow: ")]
    assert process.returncode == 1, process.returncode
    assert len(said) == 1, error
    assert "Traceback" not in error
    return said[0].replace(str(disk), "DISK")


def main() -> None:
    if os.geteuid() != 0:
        print("skipped: only root can mount a disk of memory")
        return
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name)
        (whole / "a").mkdir()
        (whole / "long.toml").write_text(EXPERIMENT)
        assert training(whole / "a" / "run").wait() == 0
        expected = load_file(whole / "a" / "run" / "model.safetensors")
        mends = {
            fill: lambda disk: (disk / "filler").unlink(),
            read_only: lambda disk: (disk / "run").chmod(0o755),
            take_away: lambda disk: None,
        }
        for happens, mend in mends.items():
            with small_disk(4) as disk:
                said = broken(disk, happens)
                if happens is take_away:
                    assert re.search("does not exist", said), said
                else:
                    assert "what was there before is kept" in said, said
                    assert load(disk / "run").sample(3).isfinite().all()  # still usable, before anything is mended
                mend(disk)
                more = [] if happens is take_away else ["--resume"]
                assert training(disk / "run", *more).wait() == 0
                found = load_file(disk / "run" / "model.safetensors")
                assert all(bool((found[name] == expected[name]).all()) for name in expected)
                print(f"{happens.__name__}: {said}; then the weights of one without trouble", flush=True)


if __name__ == "__main__":
    main()
