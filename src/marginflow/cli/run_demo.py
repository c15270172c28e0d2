"""The demo: half moons through planar flows, without and with noise dimensions, and what the numbers mean."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from marginflow.base.devices import device_on
from marginflow.base.literal import literal
from marginflow.data import DataSet
from marginflow.distributions import Flow
from marginflow.evaluation.evaluate import Accounting
from marginflow.evaluation.sample import sample_raw
from marginflow.report import figures, plots
from marginflow.report.snapshots import Snapshots, epochs_shown
from marginflow.report.tables import accounting_table
from marginflow.runs.build import build, load_data
from marginflow.runs.directory import created, require_free
from marginflow.runs.evaluate import Evaluation, evaluate
from marginflow.runs.read_toml import parse
from marginflow.runs.run import Run
from marginflow.runs.schema import Experiment
from marginflow.storage.files import write_whole
from marginflow.training import fit
from marginflow.training.progress import TrainingProgress

NUM_NOISE = 2
NUM_POINTS = 1000  # shown on their way through the flows, as in the thesis
NUM_IMPORTANCE_SAMPLES = 500
BOUNDS = (-1.6, 2.6, -1.1, 1.6)  # of the half moons, with a margin


def experiment(num_noise: int, epochs: int = 100) -> Experiment:
    """The thesis's half-moon experiment: planar x 8, Adam at 5e-4, batch 100, value clip 5e-6, 100 epochs."""
    table: dict[str, Any] = {
        "data": {"name": "half_moons"},
        "model": {"name": "planar", "blocks": 8},
        "noise": {"features": num_noise},
        "train": {"epochs": epochs, "lr": 5e-4, "batch_size": 100, "clip_value": 5e-6, "returns": 0},
        "evaluate": {"num_samples": NUM_IMPORTANCE_SAMPLES},
    }
    return parse(table, "demo")


def _train(settings: Experiment, run_dir: Path, data: DataSet) -> tuple[Flow, Snapshots]:
    """Train one of the two flows into a run directory of its own."""
    epochs = settings.train.epochs
    model = build(settings, data.spec)
    snapshots = Snapshots(data.test.take(slice(NUM_POINTS)).x, epochs_shown(epochs))
    snapshots.start(model)
    progress = TrainingProgress(settings.train, data.spec, run_dir.name.replace("_", " "))
    with created(run_dir, settings, data.spec, overwrite=True), progress:
        fit(model, data, settings.train, run_dir, observers=[progress, snapshots])
    return model, snapshots


def _overview(models: dict[str, Flow], data: DataSet) -> Figure:
    """Density and samples of each flow beside the data."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panels = figure.subplots(len(models), 3)
    for row, (name, model) in zip(panels, models.items(), strict=True):
        plots.points(row[0], data.test.x[:NUM_POINTS], f"{NUM_POINTS:,} test rows", box=BOUNDS)
        plots.density(row[1], figures.log_prob_of(model), BOUNDS, f"p(x), {name}")
        drawn = sample_raw(model, data.spec, NUM_POINTS, seed=0)
        plots.points(row[2], drawn, f"{NUM_POINTS:,} samples, {name}", box=BOUNDS)
        for axes in row:
            axes.set_aspect("equal", adjustable="box")
    return figure


def run_demo(output: Path, epochs: int) -> dict[str, Accounting]:
    """Train both flows, take the accounting, draw the figures, and say what was written where."""
    console = Console()
    started = time.perf_counter()
    for each in ("without_noise", "with_noise"):
        require_free(output / each, overwrite=True)
    data = load_data(experiment(0))
    shown = data.test.take(slice(NUM_POINTS)).x
    models: dict[str, Flow] = {}
    results: dict[str, Evaluation] = {}
    written: list[Path] = []
    for figure, name, label, num_noise in (
        (1, "without_noise", "no noise dimensions", 0),
        (2, "with_noise", f"{NUM_NOISE} noise dimensions", NUM_NOISE),
    ):
        settings, run_dir = experiment(num_noise, epochs), output / name
        models[label], snapshots = _train(settings, run_dir, data)
        results[label] = evaluate(Run.open(run_dir, device_on("auto")), settings.evaluate)
        results[label].keep(run_dir)
        title = f"half moons through planar x 8, {label}"
        drawing = plots.by_epoch(snapshots.by_epoch, shown[:, 0], title)
        written += [run_dir, plots.save(drawing, output / f"figure{figure}.png")]
    written += [plots.save(_overview(models, data), output / "half_moons.png"), output / "half_moons.json"]
    record = {label: result.record for label, result in results.items()}
    write_whole(written[-1], (json.dumps(record, indent=2) + "\n").encode())
    accountings = {label: result.accounting for label, result in results.items()}
    console.print(accounting_table(accountings, data.entropy))
    console.print(f"\nin {time.perf_counter() - started:.0f} s, wrote:")
    for path in written:
        console.print(Text(f"  {literal(path)}"), soft_wrap=True)
    return accountings
