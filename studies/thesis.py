"""What the thesis leaves open: python -m studies.thesis moons | masks | artifacts | generation [RUNS].

moons: planar x 8 on half moons, without and with noise, clipped and not, for 100 and 500 epochs; densities and samples.
masks: width, depth and kind of hidden degrees of a MAF on digits. artifacts: samples of a MAF on MNIST that leave
the range of the data, with the clipping, the bound on scales and the statistics of batch norm taken away by turns.
generation: samples of the image models in a folder of runs, judged beside real images.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from marginflow import config, evaluation, runs
from marginflow.calibration import calibrate
from marginflow.checkpoint import WEIGHTS, read_metrics, write_whole
from marginflow.divergence import divergence, origins
from marginflow.quality import energy_distance, mean_distance, two_sample_accuracy
from marginflow.samples import draw
from marginflow.thesis import ITEMS
from marginflow.training import fit
from marginflow.transforms import BatchNorm
from studies import RESULTS

CLIP = 5e-6  # of the thesis


def trained(table: dict[str, Any], seed: int = 0) -> tuple[Any, Any, list[dict[str, Any]], float]:
    """The model, the data, the curve and the seconds of an experiment."""
    table["train"]["seed"] = seed
    settings = config.parse(table, "study")
    torch.manual_seed(seed)
    data = config.load_data(settings)
    model = config.build(settings, data.spec)
    started = time.perf_counter()
    history = fit(model, data, settings.train)
    return model, data, [asdict(each) for each in history], round(time.perf_counter() - started, 1)


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Write what is there so far, so that a study that is stopped leaves it."""
    place = {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}
    write_whole(RESULTS / f"thesis_{name}.json", (json.dumps({**place, "rows": rows}, indent=1) + "\n").encode())


def finite(value: float) -> float | None:
    """A number for JSON, which knows no infinity; None where a test row came out infinite."""
    return value if math.isfinite(value) else None


def moons() -> None:
    """Each pair of settings by seed; samples are judged beside a second draw of the data."""
    rows = []
    plan = [(100, seed, clip, noise) for seed in range(3) for clip in (CLIP, None) for noise in (0, 2)]
    plan += [(500, 0, CLIP, noise) for noise in (0, 2)]
    for epochs, seed, clip, noise in plan:
        train = {"epochs": epochs, "lr": 5e-4, "validate_every": 5, **({"clip_value": clip} if clip else {})}
        table = {"data": {"name": "half_moons"}, "model": {"name": "planar", "blocks": 8}, "train": train}
        model, data, curve, seconds = trained({**table, "noise": {"features": noise}}, seed)
        test = data.test.take().x
        found = evaluation.evaluate(model, test, num_samples=200, seed=0)
        fresh = (
            config.load_data(config.parse({**table, "data": {"name": "half_moons", "seed": 1}}, "study")).test.take().x
        )
        drawn = draw(model, data.spec, 5000, seed)
        pairs = {"samples": drawn, "a fresh draw": fresh[:5000]}
        quality = {
            name: {
                "energy_distance": energy_distance(x, test[:5000]),
                "accuracy": two_sample_accuracy(x[:2000], test[:2000]),
            }
            for name, x in pairs.items()
        }
        row = {"epochs": epochs, "seed": seed, "clip_value": clip, "noise": noise, "seconds": seconds}
        rows.append({**row, "evaluation": found.as_dict(), "quality": quality, "curve": curve[4::5]})
        keep("moons", rows)
        print(row, found.importance_weighted, quality, flush=True)


def masks() -> None:
    """64 pixels: widths of a third, as 1024 is of 3072, of all and of three times the dimensions."""
    rows = []
    for seed in range(3):
        for width in (21, 64, 192):
            for depth in (1, 3):
                for degrees in ("random", "sequential", "even"):
                    model = {
                        "name": "maf",
                        "hidden": [width] * depth,
                        "blocks": 5,
                        "batch_norm": True,
                        "degrees": degrees,
                    }
                    table = {
                        "data": {"name": "digits"}, "model": {**model, "seed": 10 * seed},
                        "train": {"epochs": 30, "lr": 1e-3, "ema": 0.99, "validate_every": 5},
                    }  # fmt: skip
                    flow, data, _, seconds = trained(table, seed)
                    found = evaluation.evaluate(flow, data.test, spec=data.spec, seed=0)
                    drawn, real = draw(flow, data.spec, len(data.test.x), seed), data.test.take().x
                    row = {"width": width, "depth": depth, "degrees": degrees, "seed": seed, "seconds": seconds}
                    shares = {"mean_distance": mean_distance(drawn) / mean_distance(real)}
                    rows.append({**row, "evaluation": found.as_dict(), **shares})
                    keep("masks", rows)
        print(seed, len(rows), flush=True)


def artifacts() -> None:
    """Shares of samples that leave the range, after each epoch."""
    rows = []
    for clip in (CLIP, None):
        for bound in (1e3, 5.0):
            model = {"name": "maf", "hidden": [256], "blocks": 5, "batch_norm": "before", "bound": bound}
            for epochs in (2, 8):
                train = {
                    "epochs": epochs,
                    "lr": 5e-4,
                    "validate_every": epochs,
                    **({"clip_value": clip} if clip else {}),
                }
                table = {
                    "data": {"name": "mnist", "noise": "once"}, "preprocess": {"logit": 1e-6}, "model": model,
                    "train": train,
                }  # fmt: skip
                try:
                    flow, data, curve, seconds = trained(table)
                except (FloatingPointError, ValueError) as error:
                    rows.append({"clip_value": clip, "bound": bound, "epochs": epochs, "stopped": str(error)})
                    keep("artifacts", rows)
                    continue
                test = data.test.take(slice(1000))
                row = {"clip_value": clip, "bound": bound, "epochs": epochs, "seconds": seconds, "curve": curve}
                for statistics in ("all training rows", "one batch"):
                    if statistics == "one batch":
                        norms = [each for each in flow.modules() if isinstance(each, BatchNorm)]
                        calibrate(flow, [data.train.take(slice(100))], layers=norms)
                    found = evaluation.evaluate(flow, test, spec=data.spec)
                    began = [asdict(each) for each in origins(flow, test, 500)[:5]]
                    shares = {"statistics": statistics, **asdict(divergence(flow, test, 500)), "origins": began}
                    rows.append({**row, **shares, "nll": finite(found.importance_weighted.value)})
                    print({k: v for k, v in rows[-1].items() if k != "curve"}, flush=True)
                    keep("artifacts", rows)


def generation(folder: str = "runs/thesis") -> None:
    """The samples of the image models that `marginflow reproduce` has trained, beside as many real training images."""
    rows = []
    names = {each.run for name in ("fig4", "table1", "best") for each in ITEMS[name].trained}
    for directory in sorted(Path(folder) / name for name in names):
        if not (directory / WEIGHTS).is_file():
            continue
        model, (experiment, spec, _) = runs.load(directory), runs.read(directory)
        data = config.load_data(experiment)
        count, scale = 1000, 256 if spec.dequantised else 1
        test, real = (  # spread over all rows, as the first test images of MNIST are cleaner than the others
            (split.take(torch.linspace(0, len(split.x) - 1, count).long()).x * scale).floor().double()
            for split in (data.test, data.train)
        )
        shown = {
            "samples": draw(model, spec, count, seed=0).double(),
            "training images": real,
        }
        quality = {
            name: {
                "energy_distance": energy_distance(x, test),
                "accuracy": two_sample_accuracy(x, test),
                "mean_distance": mean_distance(x) / mean_distance(test),
                "spread_of_mean_colour": float(x.mean((2, 3)).std(0).mean() / test.mean((2, 3)).std(0).mean()),
            }
            for name, x in shown.items()
        }
        rows.append({"run": directory.name, "epochs": len(read_metrics(directory)), "quality": quality})
        print(rows[-1], flush=True)
        keep("generation", rows)


if __name__ == "__main__":
    {"moons": moons, "masks": masks, "artifacts": artifacts, "generation": generation}[sys.argv[1]](*sys.argv[2:])
