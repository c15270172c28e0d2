"""Tables of any kind: `python -m benchmarks.mixed [--seeds N] [--output OUTPUT.json]`.

On real tables `mixed` in its default settings beside `mixture`, the mixture of independent columns of the same schema,
whose number of components the validation rows choose: held-out nats a row, the difference row by row, and how long the
training takes, and of the first table rows a second of log p and of samples. Each seed splits the table anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

import marginflow
from marginflow.base.moments import Estimate
from marginflow.data import DataSet
from marginflow.distributions import Distribution
from marginflow.runs.build import build, load_data
from marginflow.runs.read_toml import overridden, parse
from marginflow.training import fit

OUTPUT = Path("benchmarks/results/mixed.json")
TABLES = Path("../shared/data/tables")
ASKED = {"adult-train": 0.65, "california_housing": 2.4, "diamonds": 3.5}  # nats a row above the mixture
COMPONENTS = (64, 256, 512)
SAMPLES, CALLS = 100_000, 5
SETTINGS = {
    "mixed": {
        "epochs": 20, "batch_size": 256, "lr": 2e-3, "schedule": "cosine", "warmup_steps": 200, "ema": 0.998,
        "clip_norm": 20.0, "patience": 5,
    },
    "mixture": {"epochs": 60, "patience": 5},
}  # fmt: skip


def trained(path: Path, seed: int, *settings: str) -> tuple[Distribution, DataSet, float, float]:
    """A model of a table, trained by SETTINGS: with its data, best validation NLL and seconds."""
    name = settings[0].removeprefix("model.name=")
    table = {"data": {"name": "table", "path": str(path)}, "train": SETTINGS[name]}
    experiment = parse(overridden(table, [f"data.seed={seed}", f"train.seed={seed}", *settings]), str(path))
    data = load_data(experiment)
    model = build(experiment, data.spec)
    started = time.perf_counter()
    history = fit(model, data, experiment.train)
    seconds = time.perf_counter() - started
    best = min(record.validation_nll for record in history if record.validation_nll is not None)
    return model.eval(), data, best, seconds


@torch.no_grad()
def beside_the_mixture(path: Path, seed: int) -> tuple[dict[str, Any], Distribution, DataSet]:
    """Both densities on the same held-out rows."""
    mixtures = [trained(path, seed, "model.name=mixture", f"model.components={each}") for each in COMPONENTS]
    chosen = min(range(len(COMPONENTS)), key=lambda i: mixtures[i][2])
    model, data, _, seconds = trained(path, seed, "model.name=mixed")
    rows, context, _ = data.test.take()
    own, other = (each.log_prob(rows, context).double() for each in (model, mixtures[chosen][0]))
    gain = Estimate.of(own - other)
    found = {
        "seed": seed, "mixed": -float(own.mean()), "mixture": -float(other.mean()), "components": COMPONENTS[chosen],
        "gain": gain.value, "standard_error": gain.standard_error, "rows": len(rows), "seconds": seconds,
    }  # fmt: skip
    print(f"{path.name}, {found}", file=sys.stderr, flush=True)
    return found, model, data


@torch.no_grad()
def rates(model: Distribution, data: DataSet) -> dict[str, float]:
    """Rows a second of log p, of all training rows at once, and seconds of 100,000 samples: medians of calls."""
    rows, context, _ = data.train.take()
    model.log_prob(rows, context)
    of_rows, of_samples = [], []
    for _ in range(CALLS):
        started = time.perf_counter()
        model.log_prob(rows, context)
        of_rows.append(len(rows) / (time.perf_counter() - started))
        started = time.perf_counter()
        model.sample(SAMPLES)
        of_samples.append(time.perf_counter() - started)
    return {"log_prob_rows_a_second": statistics.median(of_rows), "sample_seconds": statistics.median(of_samples)}


def table(record: dict[str, Any]) -> str:
    """Markdown: a row a table and seed."""
    lines = [
        "| table | seed | mixed, NLL | mixture, NLL | of | gain, paired | asked | training, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in record["tables"].items():
        lines += [
            f"| {name} | {each['seed']} | {each['mixed']:.3f} | {each['mixture']:.3f} | {each['components']} | "
            f"{each['gain']:.3f} ± {each['standard_error']:.3f} | {ASKED[name]} | {each['seconds']:.0f} |"
            for each in found
        ]
    skipped = [f"{name} skipped: {why}" for name, why in record["skipped"].items()]
    speed = [
        f"{name}: log p of {each['log_prob_rows_a_second']:,.0f} rows a second, {SAMPLES:,} samples in "
        f"{each['sample_seconds']:.1f} s"
        for name, each in record["rates"].items()
    ]
    return "\n".join([*lines, "", *speed, *skipped])


def main(output: Path, seeds: int, threads: int | None) -> None:
    """All tables; print the figures, write the JSON."""
    warnings.simplefilter("ignore")  # what is said of each table is not the matter here
    if threads is not None:
        torch.set_num_threads(threads)
    record: dict[str, Any] = {
        "torch": torch.__version__, "marginflow": marginflow.__version__, "threads": torch.get_num_threads(),
        "tables": {}, "rates": {}, "skipped": {},
    }  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in ASKED:
        path = TABLES / f"{name}.csv.gz"
        if not path.is_file():
            record["skipped"][name] = f"{path} is not there"
            continue
        found = [beside_the_mixture(path, seed) for seed in range(seeds)]
        record["tables"][name] = [each for each, *_ in found]
        record["rates"][name] = rates(*found[0][1:])
        output.write_text(json.dumps(record, indent=2) + "\n")  # a table takes minutes
    print(table(record))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description="Tables of any kind.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="of torch; all by default")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    main(given.output, given.seeds, given.threads)
