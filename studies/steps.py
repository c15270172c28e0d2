"""What image flows learn in a few hundred steps: `python -m studies.steps train EXPERIMENT...`, then `table`, `figure`.

Experiments of the repository on MNIST and CIFAR-10, as their files say but for the length: 300 steps, one pass over the
first training rows. How the bits/dim of the training batches fall is kept beside the bits/dim of 1,000 test images.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from marginflow.data import Split
from marginflow.evaluation.evaluate import evaluate
from marginflow.evaluation.sample import sample_raw
from marginflow.report.plots import image_grids, save
from marginflow.runs.build import build, load_data
from marginflow.runs.read_toml import read
from marginflow.training import EpochRecord, fit
from studies import RESULTS

EXPERIMENTS = Path("experiments")
RUNS = Path("runs/steps")
KINDS = ("maf_conv", "realnvp_images", "glow", "glow_vflow", "flowpp")
NAMES = tuple(f"{data}_{kind}" for data in ("mnist", "cifar10") for kind in KINDS)
NUM_STEPS = 300
AT_ONCE = 20  # steps that a point of the curve is the mean of
TEST_ROWS = 1000
SHOWN = 20


class Curve:
    """The loss of each step in bits/dim, as means over a few steps, against the seconds since the start."""

    def __init__(self, spec: Any) -> None:
        self.spec, self.started, self.losses = spec, time.perf_counter(), []
        self.points: list[tuple[int, float, float]] = []

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        self.losses.append(self.spec.bits_per_dim(loss))
        if step % AT_ONCE == 0:
            seconds = round(time.perf_counter() - self.started, 1)
            self.points.append((step, seconds, sum(self.losses[-AT_ONCE:]) / AT_ONCE))
            print(*self.points[-1], flush=True)

    def on_epoch(self, record: EpochRecord, model: Any) -> None:
        """There is one epoch only."""


def train(name: str) -> None:
    """A few hundred steps of an experiment, into a JSON file and a grid of samples."""
    settings = read(EXPERIMENTS / f"{name}.toml", ["train.epochs=1", "train.warmup_steps=40", "train.ema=0.98"])
    data = load_data(settings)
    rows = NUM_STEPS * settings.train.batch_size
    short = replace(
        data, train=Split(*data.train.take(slice(rows))), validation=Split(*data.validation.take(slice(TEST_ROWS)))
    )
    model = build(settings, data.spec)
    curve = Curve(data.spec)
    started = time.perf_counter()
    fit(model, short, settings.train, observers=[curve])
    seconds = time.perf_counter() - started
    samples = 20 if settings.noise.features else 1
    result = evaluate(model, Split(*data.test.take(slice(TEST_ROWS))), spec=data.spec, num_samples=samples)
    before = time.perf_counter()
    drawn = sample_raw(model, data.spec, SHOWN, 0)
    RUNS.mkdir(parents=True, exist_ok=True)
    np.save(RUNS / f"{name}.npy", drawn.numpy())
    record = {
        "experiment": settings.model_dump(mode="json"),
        "steps": NUM_STEPS,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "train_seconds": round(seconds, 1),
        "sample_seconds": round(time.perf_counter() - before, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "curve": curve.points,
        "test": result.as_dict(),
    }
    (RESULTS / f"steps_{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def records() -> dict[str, dict[str, Any]]:
    """What has been trained so far."""
    found = {name: RESULTS / f"steps_{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}


def table() -> str:
    """Markdown: a row an experiment."""
    lines = [
        "| experiment | parameters | batch | seconds | training, last 20 steps | test, 1,000 images | computed |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, record in records().items():
        test = record["test"]
        bits, bound = test["bits_per_dim"], test["bits_per_dim_bound"]
        how = "u drawn once"
        if not test["exact"]:
            how = f"IW-{test['num_samples']}, ESS {test['effective_sample_size']:.0f}; bound {bound['value']:.3f}"
        lines.append(
            f"| `{name}` | {record['parameters'] / 1e6:.2f} M | {record['experiment']['train']['batch_size']} | "
            f"{record['train_seconds']:.0f} | {record['curve'][-1][2]:.3f} | "
            f"{bits['value']:.3f} ± {bits['standard_error']:.3f} | {how} |"
        )
    return "\n".join(lines)


def figure() -> None:
    """Curves of CIFAR-10 against time, and samples of all."""
    drawing = Figure(figsize=(7, 4), layout="constrained")
    axes = drawing.subplots()
    for name, record in records().items():
        if name.startswith("cifar10"):
            _, seconds, bits = zip(*record["curve"], strict=True)
            axes.plot(seconds, bits, label=name.removeprefix("cifar10_"))
    axes.axhline(6.5, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="seconds of training", ylabel="bits/dim of the training batches", ylim=(4, 8.5))
    axes.legend()
    save(drawing, RESULTS / "steps_cifar10.png").with_suffix(".svg").unlink()
    for data in ("mnist", "cifar10"):
        grids = {
            name: torch.from_numpy(np.load(RUNS / f"{name}.npy"))
            for name in NAMES
            if name.startswith(data) and (RUNS / f"{name}.npy").exists()
        }
        path = save(image_grids(grids, 256, columns=3, size=3.0), RESULTS / f"steps_{data}_samples.png")
        path.with_suffix(".svg").unlink()


if __name__ == "__main__":
    command, *chosen = sys.argv[1:] or ["table"]
    if command == "train":
        for each in chosen or NAMES:
            train(each)
    elif command == "figure":
        figure()
    else:
        print(table())
