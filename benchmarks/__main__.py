"""Run everything, print the table, write the JSON: `python -m benchmarks [OUTPUT.json]`."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numba
import torch

from benchmarks import memory, rates, report, same_products, timing
from benchmarks.candidates import CANDIDATES
from benchmarks.sizes import ROWS, SIZES
from benchmarks.ways import compiler
from marginflow.nets import products
from marginflow.nets.product_choice import measured

OUTPUT = Path("benchmarks/results/cpu.json")
TRAINING_STEPS = 300


def trained_mnist() -> dict[str, Any]:
    """Seconds of 100 samples from the MNIST model after some training on the real images, and how far they return."""
    import marginflow as mf
    from marginflow.transforms import Flatten, Logit

    try:
        images = mf.data.load("mnist", noise="once").train.x
    except (OSError, ValueError) as error:
        return {"skipped": str(error)}
    flow = mf.models.maf(784, hidden=[1024, 1024], blocks=5)
    model = mf.Flow([Logit(1e-6), Flatten((1, 28, 28))], base=flow)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    for step in range(TRAINING_STEPS):
        loss = -model(images[step * ROWS : (step + 1) * ROWS]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        seconds = timing.interleaved({"sample": lambda: flow.sample(ROWS)}, 15)["sample"]
        z = torch.randn(ROWS, 784)
        x, _ = flow.transform.inverse(z)
        error = float((flow.transform(x)[0] - z).abs().max())
    return {"steps": TRAINING_STEPS, "nll": loss.item(), "sample": seconds, "largest_error_of_z": error}  # pyright: ignore[reportPossiblyUnboundVariable]


def back_ends() -> str:
    """Which products and which compiler this run has, in a line."""
    how = "torch's own for everything" if same_products.are_torchs_own() else str(products.chosen())
    found = compiler()
    return f"Products: {how}. " + (f"Compiled with {Path(found).name}." if found else "No C++ compiler: all eager.")


def main(output: Path) -> None:
    """Everything, in some twenty minutes."""
    started = time.perf_counter()
    measured(torch.get_num_threads())  # as a training does before it starts
    record: dict[str, Any] = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numba": numba.__version__},
        "products": back_ends(),
        "rates": rates.measured(),
        "models": {},
    }
    for size in SIZES:
        print(f"{size.name} ...", file=sys.stderr, flush=True)
        results = timing.time_size(size)
        for library in CANDIDATES:
            results[library]["megabytes"] = memory.usual_peak(library, size.name)
        record["models"][size.name] = results
    print("sweep over D ...", file=sys.stderr, flush=True)
    record["sweep"] = timing.sweep([64, 128, 256, 512, 1024, 2048, 4096])
    print("trained MNIST model ...", file=sys.stderr, flush=True)
    record["trained_mnist"] = trained_mnist()
    record["rates"] = rates.better(record["rates"], rates.measured())
    best = max(record["rates"][torch.get_num_threads()].values())
    record["share_of_best_rate"] = {
        size.name: report.share_of_rate(size, record["models"][size.name]["marginflow"]["step"], best)
        for size in SIZES
        if size.is_image
    }
    record["seconds"] = round(time.perf_counter() - started)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n")
    print(report.table(record))
    print(f"\nfrom the trained MNIST model: {record['trained_mnist']}")
    print(f"wrote {output} after {record['seconds']} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
