"""What taking a batch costs beside a training step, for every kind of data set: `python -m benchmarks.loading`."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from marginflow.data.require import bring_to
from marginflow.runs.build import build, load_data
from marginflow.runs.read_toml import parse
from marginflow.training.objective import Objective
from marginflow.transforms.calibrate import calibrate

OUTPUT = Path("benchmarks/results/loading.json")
LIMIT = 0.05  # of a step
REPEATS = 40
IMAGES = {"preprocess": {"logit": 0.05}}
WIDE = {"name": "maf", "hidden": [1024, 1024, 1024], "batch_norm": True}


def cases(folder: Path) -> dict[str, dict[str, Any]]:
    """Experiments, each with the smallest model that its data set is trained with here."""
    large = folder / "large.parquet"
    rng = np.random.default_rng(0)
    parquet.write_table(pa.table({f"c{i}": rng.standard_normal(1_000_000) for i in range(10)}), large)
    table = {"data": {"name": "table", "path": str(large)}, "preprocess": {"standardise": True}}
    digits = {**IMAGES, "model": {"name": "maf", "hidden": [256], "batch_norm": True}, "train": {"batch_size": 50}}
    mnist = {**IMAGES, "model": {"name": "maf", "hidden": [1024, 1024], "batch_norm": True}}
    cifar = {**IMAGES, "model": WIDE}
    return {
        "half_moons, planar x 8": {"data": {"name": "half_moons"}, "model": {"name": "planar", "blocks": 8}},
        "1,000,000 x 10 table": {**table, "model": {"name": "maf", "hidden": [128, 128]}},
        "digits": {"data": {"name": "digits"}, **digits},
        "digits, noise once": {"data": {"name": "digits", "noise": "once"}, **digits},
        "mnist": {"data": {"name": "mnist"}, **mnist},
        "mnist, noise once": {"data": {"name": "mnist", "noise": "once"}, **mnist},
        "cifar10, flips stored": {"data": {"name": "cifar10"}, **cifar},
        "cifar10, flips drawn": {"data": {"name": "cifar10", "flips": "drawn"}, **cifar},
        "cifar10, flips stored, noise once, labels": {
            "data": {"name": "cifar10", "noise": "once", "labels": True}, **cifar,
        },
    }  # fmt: skip


def measure(table: dict[str, Any]) -> dict[str, float]:
    """Seconds of loading the data set, and medians of taking a batch and of the step that is made of it."""
    experiment = parse(table, "benchmark")
    started = time.perf_counter()
    data = load_data(experiment)
    load = time.perf_counter() - started
    model = build(experiment, data.spec)
    calibrate(model, [bring_to(model, data.train.take(slice(1000)))])
    objective = Objective(model).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    batches = torch.randperm(len(data.train.x)).split(experiment.train.batch_size)
    taking, stepping = [], []
    for rows in batches[: REPEATS + 2]:
        started = time.perf_counter()
        batch = bring_to(model, data.train.take(rows))
        taken = time.perf_counter()
        loss = -objective(batch.x, batch.context).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
        taking.append(taken - started)
        stepping.append(time.perf_counter() - taken)
    batch_seconds, step = (statistics.median(each[2:]) for each in (taking, stepping))
    return {"load": load, "batch": batch_seconds, "step": step, "share": batch_seconds / (batch_seconds + step)}


def main(output: Path, show: Callable[[str], object] = print) -> None:
    """Measure all, print a table, write the JSON."""
    results: dict[str, dict[str, float]] = {}
    show("| data set | loads in | a batch | a step | share |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, table in cases(Path(folder)).items():
            try:
                found = results[name] = measure(table)
            except OSError as error:
                show(f"| {name} | not measured: {error} | | | |")
                continue
            verdict = "" if found["share"] <= LIMIT else f" (<= {LIMIT:.0%}, not met)"
            show(
                f"| {name} | {found['load']:.2f} s | {1e3 * found['batch']:.3f} ms | {1e3 * found['step']:.1f} ms "
                f"| {found['share']:.1%}{verdict} |"
            )
    output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
