"""Seconds an epoch of the thesis's four CIFAR-10 models: `python -m benchmarks.epochs [OUTPUT.json]`.

Some tens of steps of `marginflow.fit` itself are timed, with the experiment's own data, batches, clipping and averages,
and their median is scaled to the steps of an epoch. What follows an epoch, the statistics of the batch norms over all
training rows and the validation, is timed on some thousand rows and scaled likewise. Each model and number of threads
has a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.memory import in_a_process_of_its_own

OUTPUT = Path("benchmarks/results/epochs.json")
EXPERIMENTS = (
    "cifar10_maf_1024x3_thesis",
    "cifar10_maf_1024x3_thesis_marginal",
    "cifar10_maf_3072_thesis",
    "cifar10_maf_3584_thesis_marginal",
)
FIRST, STEPS = 5, 40  # steps that do not count, and that do
CHUNK, CHUNKS = 1000, 3  # rows of what follows an epoch, as fit takes them at once


class _Enough(Exception):
    """Raised after the last step that is timed."""


class _Stopwatch:
    """An observer that notes when each step ended, and ends the training after the last that is timed."""

    def __init__(self, steps: int) -> None:
        self.last, self.ends, self.num_steps = FIRST + steps, [], 0

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        self.num_steps = num_steps
        self.ends.append(time.perf_counter())
        if step > self.last:
            raise _Enough

    def on_epoch(self, record: Any, model: nn.Module) -> None:
        """Nothing: there is none."""

    @property
    def seconds(self) -> list[float]:
        """Of each step that counts, batch and all."""
        pairs = zip(self.ends[FIRST:], self.ends[FIRST + 1 :], strict=False)
        return [end - start for start, end in pairs]


def measure(name: str, threads: int, steps: int = STEPS, chunks: int = CHUNKS) -> dict[str, Any]:
    """Seconds of a step, of an epoch's steps and of what follows them, of an experiment."""
    from marginflow.runs.build import build, load_data
    from marginflow.runs.experiments import read
    from marginflow.training import fit

    torch.set_num_threads(threads)
    experiment = read(Path(name), [])
    data = load_data(experiment)
    model, watch = build(experiment, data.spec), _Stopwatch(steps)
    try:
        fit(model, data, experiment.train, observers=[watch])
    except _Enough:
        pass
    step = statistics.median(watch.seconds)
    after = seconds_after(model, data, chunks)
    return {
        "step": step,
        "steps_an_epoch": watch.num_steps,
        "steps": step * watch.num_steps,
        **after,
        "epoch": step * watch.num_steps + sum(after.values()),
    }


def seconds_after(model: Any, data: Any, chunks: int) -> dict[str, float]:
    """Seconds of what follows the steps of an epoch, scaled from two chunks or more.

    They are the batch norms' statistics, a pass of the training rows each, and the validation.
    """
    from marginflow.data.require import bring_to
    from marginflow.training.objective import Objective, mean_nll
    from marginflow.transforms import BatchNorm
    from marginflow.transforms.calibrate import calibrate

    def first(split: Any) -> list[Any]:
        starts = range(0, chunks * CHUNK, CHUNK)
        return [bring_to(model, split.take(slice(start, start + CHUNK))) for start in starts]

    few, layers = first(data.train), [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    model.eval()
    started = time.perf_counter()
    calibrate(model, few, layers=layers)
    calibrated = time.perf_counter()
    mean_nll(Objective(model), first(data.validation))
    validated = time.perf_counter()
    return {
        "statistics": (calibrated - started) * len(data.train.x) / (chunks * CHUNK),
        "validation": (validated - calibrated) * len(data.validation.x) / (chunks * CHUNK),
    }


def row(name: str, threads: int, found: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| {name} | {threads} | {found['step'] * 1e3:.0f} ms | {found['steps_an_epoch']} | {found['steps']:.0f} s | "
        f"{found['statistics']:.0f} s | {found['validation']:.0f} s | {found['epoch']:.0f} s |"
    )


def main(output: Path) -> None:
    """All four with every core and with one; print the table, write the JSON."""
    cores = os.cpu_count() or 1
    record: dict[str, Any] = {"torch": torch.__version__, "steps_timed": STEPS, "experiments": {}}
    print("| experiment | threads | a step | steps | steps of an epoch | batch norm | validation | an epoch |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in EXPERIMENTS:
        found = record["experiments"][name] = {}
        for threads in sorted({cores, 1}, reverse=True):
            found[threads] = in_a_process_of_its_own("benchmarks.epochs", "--one", name, str(threads))
            print(row(name, threads, found[threads]), flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
