"""The demo: half moons through planar flows, without and with noise dimensions, and what the numbers mean."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from marginflow import config, plotting, runs, samples
from marginflow.console import TrainingProgress, accounting_table
from marginflow.data import DataSet, Split
from marginflow.distributions import Distribution
from marginflow.evaluation import Accounting, bring_to, evaluate, levels_of
from marginflow.flow import Flow
from marginflow.marginal import Marginalising, log_likelihood
from marginflow.randomness import seeded
from marginflow.training import EpochRecord, fit

NUM_NOISE = 2
NUM_POINTS = 1000  # shown on their way through the flows, as in the thesis
NUM_IMPORTANCE_SAMPLES = 500
BOUNDS = (-1.6, 2.6, -1.1, 1.6)  # of the half moons, with a margin


def experiment(num_noise: int, epochs: int = 100) -> config.Experiment:
    """The thesis's half-moon experiment: planar x 8, Adam at 5e-4, batch 100, value clip 5e-6, 100 epochs."""
    table: dict[str, Any] = {
        "data": {"name": "half_moons"},
        "model": {"name": "planar", "blocks": 8},
        "noise": {"features": num_noise},
        "train": {"epochs": epochs, "lr": 5e-4, "batch_size": 100, "clip_value": 5e-6},
        "evaluate": {"num_samples": NUM_IMPORTANCE_SAMPLES},
    }
    return config.parse(table, "demo")


class Snapshots:
    """Keeps how points come out of the flow, before training and after some epochs: epoch -> z."""

    def __init__(self, model: Distribution, x: Tensor, epochs: set[int]) -> None:
        self.x, self.epochs = x, epochs
        self.by_epoch = {0: pushed_through(model, x)}

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Nothing to see between epochs."""

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """Push the points through the model as it is now."""
        if record.epoch in self.epochs:
            self.by_epoch[record.epoch] = pushed_through(model, self.x)


@torch.no_grad()
def pushed_through(model: Distribution, x: Tensor) -> Tensor:
    """What the flow makes of data: z (N, D); with noise dimensions, the joint (x, eps) at one draw of eps."""
    _, density = levels_of(model)
    x = bring_to(model, Split(x)).x
    with seeded(0):
        if isinstance(density, Marginalising):
            x, _ = density.augment(x)
            density = density.flow
        assert isinstance(density, Flow)
        z, _ = density.transform(x)
    return z.cpu()


def log_prob_of(model: Flow) -> Callable[[Tensor], Tensor]:
    """log p(x) for a map: exact, or estimated with 64 draws a point."""

    def estimate(x: Tensor) -> Tensor:
        with seeded(0):
            return log_likelihood(levels_of(model)[1], x, num_samples=64, chunk=100_000).log_prob

    return estimate


def _train(name: str, num_noise: int, epochs: int, data: DataSet, output: Path) -> tuple[Flow, Snapshots]:
    """Train one of the two flows into a run directory of its own."""
    settings = experiment(num_noise, epochs)
    run_dir = output / name.replace(" ", "_")
    model = config.build(settings, data.spec)
    shown = {1, max(1, epochs // 20), max(1, epochs // 5), epochs}
    snapshots = Snapshots(model, data.test.x[:NUM_POINTS], shown)
    progress = TrainingProgress(epochs, name)
    with runs.created(run_dir, settings, data.spec, overwrite=True), progress:
        fit(model, data, settings.train, run_dir, observers=[progress, snapshots])
    return model, snapshots


def _overview(models: dict[str, Flow], data: DataSet) -> Figure:
    """Density and samples of each flow beside the data."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panels = figure.subplots(len(models), 3)
    for row, (name, model) in zip(panels, models.items(), strict=True):
        plotting.points(row[0], data.test.x[:NUM_POINTS], f"{NUM_POINTS} test rows")
        plotting.density(row[1], log_prob_of(model), BOUNDS, f"p(x), {name}")
        drawn = samples.draw(model, data.spec, NUM_POINTS, seed=0)
        plotting.points(row[2], drawn, f"{NUM_POINTS} samples, {name}")
        for axes in row:
            axes.set(xlim=BOUNDS[:2], ylim=BOUNDS[2:])
            axes.set_aspect("equal", adjustable="box")
    return figure


def run_demo(output: Path, epochs: int) -> dict[str, Accounting]:
    """Train both flows, take the accounting, draw the figures, and say what was written where."""
    console = Console()
    started = time.perf_counter()
    for each in ("without_noise", "with_noise"):
        runs.check_free(output / each, overwrite=True)
    data = config.load_data(experiment(0))
    colour = data.test.x[:NUM_POINTS, 0]
    models: dict[str, Flow] = {}
    written: list[Path] = []
    for figure, name, label, num_noise in (
        (1, "without noise", "no noise dimensions", 0),
        (2, "with noise", f"{NUM_NOISE} noise dimensions", NUM_NOISE),
    ):
        model, snapshots = _train(name, num_noise, epochs, data, output)
        models[label] = model
        title = f"half moons through planar x 8, {label}"
        drawing = plotting.by_epoch(snapshots.by_epoch, colour, title)
        written += [output / name.replace(" ", "_"), plotting.save(drawing, output / f"figure{figure}.png")]
    results = {
        label: evaluate(model, data.test, spec=data.spec, num_samples=NUM_IMPORTANCE_SAMPLES)
        for label, model in models.items()
    }
    written.append(plotting.save(_overview(models, data), output / "half_moons.png"))
    record = {label: result.as_dict() for label, result in results.items()}
    seconds = round(time.perf_counter() - started, 1)
    (output / "accounting.json").write_text(
        json.dumps({"epochs": epochs, "seconds": seconds, "entropy_of_the_data": data.entropy, **record}, indent=2)
        + "\n"
    )
    written.append(output / "accounting.json")
    console.print(accounting_table(results, data.entropy))
    console.print(f"\nin {seconds:.0f} s, wrote:")
    for path in written:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    return results
