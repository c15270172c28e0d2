"""Flows fitted to four energies without data: `python -m studies.energies` trains, draws the figure and the table.

The normalisers that they are compared with are sums over a fine grid.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import marginflow as mf
from marginflow import models
from marginflow.base.distribution import Distribution
from marginflow.data import ENERGIES
from marginflow.report import plots
from marginflow.transforms import Inverse
from studies import RESULTS

REACH, CELLS = 7.0, 1401
CONFIG = mf.VariationalConfig(steps=1000, lr=1e-2)


def inverted(flow: mf.Flow) -> mf.Flow:
    """The flow run backwards, so that drawing from it is its quick direction."""
    return mf.Flow(Inverse(flow.transform), flow.base)


def marginal() -> mf.Marginalising:
    noise = models.diagonal_normal(1, context_features=2, hidden=[32, 32])
    return mf.Marginalising(models.realnvp(3, hidden=[32, 32], blocks=6), noise)


FLOWS: dict[str, Callable[[], Distribution]] = {
    "planar x 32": lambda: inverted(models.planar(2, blocks=32)),
    "realnvp": lambda: models.realnvp(2, hidden=[32, 32], blocks=8),
    "iaf": lambda: models.iaf(2, hidden=[32, 32], blocks=6),
    "nsf, coupling": lambda: models.nsf(2, structure="coupling", hidden=[32, 32], blocks=4),
    "realnvp, 1 learned noise": marginal,
}


def on_grid(log_density: Callable[[Tensor], Tensor]) -> float:
    """The logarithm of the integral over [-7, 7]^2."""
    line = torch.linspace(-REACH, REACH, CELLS, dtype=torch.float64)
    cell = 2 * math.log(float(line[1] - line[0]))
    return float(log_density(torch.cartesian_prod(line, line)).logsumexp(0)) + cell


def draw(targets: dict[str, Callable[[Tensor], Tensor]], samples: dict[tuple[str, str], Tensor]) -> Figure:
    """A row an energy: the target, then samples of each flow."""
    figure = Figure(figsize=(1.6 * (1 + len(FLOWS)), 1.75 * len(targets)), layout="constrained")
    panels = figure.subplots(len(targets), 1 + len(FLOWS))
    line = torch.linspace(-5, 5, 250)
    grid = torch.cartesian_prod(line, line)
    for row, (name, target) in zip(panels, targets.items(), strict=True):
        density = target(grid).exp().view(250, 250).T
        row[0].imshow(density, origin="lower", extent=(-5, 5, -5, 5), cmap=plots.DENSITY_COLOURS)
        row[0].set_title(name, fontsize=7)
        for axes, flow in zip(row[1:], FLOWS, strict=True):
            axes.scatter(*samples[name, flow].T, s=0.5, linewidth=0, color="black", rasterized=True)
            axes.set_title(flow, fontsize=7)
        for axes in row:
            axes.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal", xticks=[], yticks=[])
    return figure


def main() -> None:
    rows, samples = [], {}
    for name, target in ENERGIES.items():
        normaliser = on_grid(target)
        for flow, build in FLOWS.items():
            torch.manual_seed(0)
            model, started = build(), time.perf_counter()
            fitted = asdict(mf.fit_to_density(model, target, CONFIG))
            row: dict[str, Any] = {"energy": name, "flow": flow, "log_normaliser_on_grid": normaliser}
            row |= {"seconds": round(time.perf_counter() - started, 1)} | fitted
            row["free_energy"] = fitted["free_energy"][:: CONFIG.steps // 100]
            rows.append(row | {"divergence": normaliser - fitted["bound"]})
            samples[name, flow] = model.sample(4000)
            cells = [f"{rows[-1]['divergence']:.3f}", f"{normaliser:.3f}"]
            cells.append(f"{fitted['log_normaliser']:.3f} ± {fitted['standard_error']:.3f}")
            cells += [f"{fitted['effective_sample_size']:.2f}", f"{row['seconds']:.0f}"]
            print(f"| {name} | {flow} | {' | '.join(cells)} |", flush=True)
    record = {"config": CONFIG.model_dump(), "device": "cpu", "threads": torch.get_num_threads(), "rows": rows}
    (RESULTS / "energies.json").write_text(json.dumps(record, indent=1) + "\n")
    plots.save(draw(ENERGIES, samples), RESULTS / "energies.png")


if __name__ == "__main__":
    main()
