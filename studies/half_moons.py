"""Every model on half moons: `python -m studies.half_moons RUNS` reads the runs of experiments/half_moons_*.toml.

Each was trained by `marginflow train` for about a minute and evaluated by `marginflow evaluate`; this adds the energy
distance of 10,000 samples to the test rows, prints the table and draws the figure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import marginflow as mf
from marginflow.base.seeds import seeded
from marginflow.evaluation.sample_quality import energy_distance
from marginflow.report import plots
from marginflow.runs.run import Run
from studies import RESULTS

PREFIX = "half_moons_"


def judged(directory: Path) -> tuple[dict[str, Any], torch.Tensor]:
    """What there is to say of a run, and 10,000 samples of its model."""
    model = mf.load(directory)
    evaluation = json.loads((directory / "evaluation.json").read_text())
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    test = Run.open(directory).data.test.take().x
    with seeded(0):
        samples = model.sample(len(test))
    row = {
        "name": directory.name.removeprefix(PREFIX),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": len(metrics),
        "seconds": round(sum(record["seconds"] for record in metrics), 1),
        "energy_distance": energy_distance(samples, test),
        "evaluation": evaluation,
    }
    return row, samples


def figure_of(samples: dict[str, torch.Tensor], columns: int = 5) -> Figure:
    """3,000 samples of each."""
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(2.2 * columns, 1.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, (name, x) in zip(panels, samples.items(), strict=False):
        axes.scatter(*x[:3000].T, s=0.6, linewidth=0, color="black", rasterized=True)
        axes.set_title(name, fontsize=8)
        axes.set(xlim=(-1.5, 2.5), ylim=(-1, 1.5), aspect="equal")
    return figure


def table(rows: list[dict[str, Any]], real: float) -> str:
    """Markdown, the best density first."""
    lines = [
        "| model | parameters | epochs | seconds | NLL, nats | computed | energy distance |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for row in rows:
        test = row["evaluation"]["test"]
        nll, k = test["importance_weighted"], test["num_samples"]
        how = "exactly" if test["exact"] else f"IW-{k}, ESS {test['effective_sample_size']:.0f}"
        lines.append(
            f"| {row['name']} | {row['parameters']} | {row['epochs']} | {row['seconds']:.0f} | "
            f"{nll['value']:.3f} ± {nll['standard_error']:.3f} | {how} | {row['energy_distance']:.5f} |"
        )
    return "\n".join([*lines, f"| a fresh draw of the data | | | | 0.287 ± 0.010 | entropy | {real:.5f} |"])


def main(directories: list[Path]) -> None:
    rows, samples = [], {}
    for directory in directories:
        row, drawn = judged(directory)
        rows.append(row)
        samples[row["name"]] = drawn
    rows.sort(key=lambda row: row["evaluation"]["test"]["importance_weighted"]["value"])
    test = Run.open(directories[0]).data.test.take().x
    fresh = mf.data.load("half_moons", seed=1).test.take().x
    real = energy_distance(fresh, test)
    ordered = {"data": test, **{row["name"]: samples[row["name"]] for row in rows}}
    plots.save(figure_of(ordered), RESULTS / "half_moons_models.png")
    record = {"rows": rows, "energy_distance_of_two_draws": real, "samples": len(test)}
    (RESULTS / "half_moons_models.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows, real))


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
