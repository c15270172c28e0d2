"""log p(x) from both sides: `python -m benchmarks.annealed [--run RUN --rows 200 --chains 8 --temperatures T]`.

Without a run a normal density is annealed whose posterior lies 0.3 standard deviations off in each of 512 noise
dimensions, beside importance samples and the truth. With a run, a marginalising flow on images or a table, what
`marginflow evaluate RUN --method annealed` finds, and IW-50 and IW-1000 on the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch.distributions import Independent, Normal

import marginflow as mf
from marginflow.evaluation.annealed import evaluate_annealed
from marginflow.interop import from_torch
from marginflow.runs.run import Run

OUTPUT = Path("benchmarks/results/annealed.json")
NOISE, SHIFT, ROWS, CHAINS = 512, 0.3, 64, 8


def shifted() -> dict[str, Any]:
    """The normal density: how far importance samples and annealing lie below the truth, in nats a row."""
    mean = torch.cat([torch.zeros(2), torch.full((NOISE,), SHIFT)])
    model = mf.Marginalising(from_torch(Independent(Normal(mean, 1.0), 1)), mf.distributions.StandardNormal(NOISE))
    torch.manual_seed(0)
    x = torch.randn(ROWS, 2)
    truth = mf.distributions.StandardNormal(2).log_prob(x)
    found: dict[str, Any] = {"noise": NOISE, "shift": SHIFT, "rows": ROWS, "chains": CHAINS}
    for name, options in {
        "IW-1000": {"num_samples": 1000},
        **{f"annealed, {t}": {"num_samples": CHAINS, "method": "annealed", "num_temperatures": t} for t in (40, 160)},
        "annealed": {"num_samples": CHAINS, "method": "annealed"},
    }.items():
        started = time.perf_counter()
        result = mf.log_likelihood(model, x, **options)
        off = (result.log_prob - truth).double()
        found[name] = {
            "below_the_truth": -float(off.mean()), "standard_error": float(off.std()) / ROWS**0.5,
            "temperatures": result.num_temperatures, "seconds": time.perf_counter() - started,
        }  # fmt: skip
    return found


def of_run(path: Path, rows: int, chains: int, temperatures: int | None) -> dict[str, Any]:
    """A run: importance samples and annealing on the same test rows, and the gap on rows that it draws."""
    run = Run.open(path)
    trained = run.trained()
    found: dict[str, Any] = {key: trained[key] for key in ("epochs", "best_epoch")} | {"rows": rows}
    split = run.test(rows)
    for number in (50, 1000):
        started = time.perf_counter()
        accounting = mf.evaluate(run.model, split, spec=run.spec, num_samples=number)
        found[f"IW-{number}"] = {
            "log_prob": -accounting.importance_weighted.value,
            "effective_sample_size": accounting.effective_sample_size,
            "seconds": time.perf_counter() - started,
        }
        found["bound"] = -accounting.bound.value
    annealed = evaluate_annealed(run.model, split, spec=run.spec, num_samples=chains, num_temperatures=temperatures)
    return {**found, "annealed": annealed.as_dict()}


def main(run: Path | None, rows: int, chains: int, temperatures: int | None, name: str | None) -> None:
    """Measure, print, enter into the record."""
    record = json.loads(OUTPUT.read_text()) if OUTPUT.is_file() else {}
    name = name or ("512 dimensions" if run is None else run.resolve().name)
    found = shifted() if run is None else of_run(run, rows, chains, temperatures)
    threads = torch.get_num_threads()
    machine = {"device": "cpu", "processor": platform.machine(), "cores": os.cpu_count(), "threads": threads}
    record[name] = {**found, "machine": machine}
    OUTPUT.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record[name], indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annealed", description="log p(x) from both sides.")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--chains", type=int, default=CHAINS)
    parser.add_argument("--temperatures", type=int)
    parser.add_argument("--name", help="of the record; by default that of the run directory")
    given = parser.parse_args()
    main(given.run, given.rows, given.chains, given.temperatures, given.name)
