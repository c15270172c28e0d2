"""Ten million rows drawn and evaluated, in the memory that a million take, and interrupted without a trace.

python -m stress.large [ROWS], in tests/. Takes 5 GB of disk at 10,000,000 rows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pyarrow import csv, parquet

FEATURES = 6
FEW = 1_000_000
MORE_MB = 150  # that many rows may take beyond a few

# glibc keeps freed memory for later, up to 300 MB more or less by chance; told to return it, what is held is what shows
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def command(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "marginflow", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **RETURNED},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where this runs in the background
    )


def peak(folder: Path, *arguments: object) -> tuple[float, float]:
    """Seconds and megabytes at most that a command takes."""
    started = time.perf_counter()
    process = command(folder, *arguments)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def in_turn(folder: Path, rows: int) -> None:
    """Each command on a few rows and on many."""
    for ending in ("npy", "csv", "parquet", "feather"):
        few, many = (peak(folder, "sample", "run", "-n", n, "-o", f"{n}.{ending}") for n in (FEW, rows))
        tell(f"sample to .{ending}", rows, few, many)
    for ending in ("npy", "csv", "parquet", "feather"):
        few, many = (
            peak(folder, "evaluate", "run", "--data", f"{n}.{ending}", "-o", f"log_p_{n}.npy") for n in (FEW, rows)
        )
        tell(f"evaluate a .{ending}", rows, few, many)
        log_p = np.load(folder / f"log_p_{rows}.npy", mmap_mode="r")
        assert log_p.shape == (rows, 1)
        assert bool(np.isfinite(log_p).all())
        if ending != "npy":
            (folder / f"{rows}.{ending}").unlink()


def tell(what: str, rows: int, few: tuple[float, float], many: tuple[float, float]) -> None:
    print(
        f"{what}: {rows:,} rows in {many[0]:.0f} s, {many[1]:.0f} MB at most; {FEW:,} rows {few[1]:.0f} MB", flush=True
    )
    if many[1] > few[1] + MORE_MB:
        raise SystemExit(f"{what}: many rows take {many[1] - few[1]:.0f} MB more than a few, limit {MORE_MB}")


def interrupted(folder: Path, rows: int) -> None:
    """What a signal leaves of the output: what was there before."""
    (folder / "out.csv").write_text("before\n")
    for number, most in ((signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, 1)):
        for arguments in (["sample", "run", "-n", rows], ["evaluate", "run", "--data", f"{rows}.npy"]):
            process = command(folder, *arguments, "-o", "out.csv")
            part = folder / ".out.csv.marginflow.part"
            while not (part.exists() and part.stat().st_size > 10**5):
                time.sleep(0.05)
                if process.poll() is not None:
                    raise SystemExit(f"{arguments} ended before it was interrupted")
            process.send_signal(number)
            process.wait()
            assert process.returncode == (130 if number != signal.SIGKILL else -number), process.returncode
            assert (folder / "out.csv").read_text() == "before\n"
            assert part.exists() <= most
    peak(folder, "sample", "run", "-n", FEW, "-o", "out.csv")  # what the kill left is written over
    assert csv.read_csv(folder / "out.csv").num_rows == FEW
    assert not list(folder.glob(".*"))
    print("interrupted by SIGINT, SIGTERM, SIGKILL: the file of before is whole, no half one takes its place")


def main(rows: int = 10_000_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((20_000, FEATURES)).astype(np.float32)
        x[:, 1] += x[:, 0] ** 2
        np.save(folder / "train.npy", x)
        options = ("--set", "train.epochs=2", "--set", "model.hidden=[64, 64]")
        peak(folder, "train", "train.npy", "--run-dir", "run", *options)
        in_turn(folder, rows)
        interrupted(folder, rows)
        peak(folder, "sample", "run", "-n", 1000, "-o", "few.parquet")
        assert parquet.read_table(folder / "few.parquet").num_rows == 1000


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
