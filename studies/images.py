"""Flows of images on digits: `python -m studies.images train [MODEL...]`, then `... table` and `... figure`.

MAF, with 1 x 1 convolutions too, Real NVP, Glow and Flow++ on scikit-learn's digits; without noise, with one channel of
noise N(0, I), and with one of learned noise q(eps | x), a Real NVP that sees the image; all with as many parameters,
those of q included; three seeds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marginflow.evaluation.evaluate import evaluate
from marginflow.evaluation.sample import sample_raw
from marginflow.report.plots import image_grids, save
from marginflow.runs.build import build, load_data
from marginflow.runs.read_toml import parse
from marginflow.training import fit
from studies import RESULTS
from studies.trials import cell, largest_within, num_parameters

MODELS = ("maf", "maf_conv", "realnvp_images", "glow", "flowpp")
NOISES = ("none", "standard_normal", "learned")
EPOCHS = {"maf": 150, "maf_conv": 150, "realnvp_images": 240, "glow": 160, "flowpp": 140}
LR = {"maf": 1e-3, "maf_conv": 1e-3, "realnvp_images": 2e-3, "glow": 2e-3, "flowpp": 2e-3}
LARGEST = {"maf": 300, "maf_conv": 300, "realnvp_images": 40, "glow": 120, "flowpp": 20}  # of the networks
BUDGET = 200_000  # parameters
SEEDS = (0, 1, 2)
NUM_SAMPLES = 200
SHOWN = 24
RUNS = Path("runs/images")


def experiment(model: str, size: int, noise: str, seed: int) -> Any:
    """One training, its networks sized by `size`."""
    options: dict[str, dict[str, Any]] = {
        "maf": {"hidden": [size], "blocks": 4, "dropout": 0.2},
        "maf_conv": {"hidden": [size], "blocks": 4, "dropout": 0.2},
        "realnvp_images": {"hidden": [size, size, size], "dropout": 0.2},
        "glow": {"hidden": [size, size], "blocks": 6, "dropout": 0.2},
        "flowpp": {"width": 2 * size, "heads": 2, "blocks": 4, "depth": 1, "components": 4, "dropout": 0.3},
    }
    of_noise: dict[str, Any] = {} if noise == "none" else {"features": 64 if model == "maf" else 1}
    if noise == "learned":
        of_image = {"name": "realnvp_images", "levels": 1, "hidden": [16]}
        of_noise |= {"name": "realnvp", "blocks": 4, "hidden": [64]} if model == "maf" else of_image
    table = {
        "data": {"name": "digits"},
        "dequantise": {"name": "realnvp_images", "levels": 1, "hidden": [16]} if model == "flowpp" else {},
        "preprocess": {"logit": 0.05},
        "model": {"name": model, **options[model]},
        "noise": of_noise,
        "train": {
            "epochs": EPOCHS[model], "batch_size": 64, "lr": LR[model], "schedule": "cosine", "warmup_steps": 50,
            "ema": 0.99, "clip_norm": 50.0, "validate_every": 5, "seed": seed,
        },
        "evaluate": {"num_samples": NUM_SAMPLES},
    }  # fmt: skip
    return parse(table, "studies.images")


def result_of(model: str) -> Path:
    return RESULTS / f"images_{model}.json"


def rows_of(model: str) -> list[dict[str, Any]]:
    """The trainings of a model that are done."""
    path = result_of(model)
    return json.loads(path.read_text())["rows"] if path.exists() else []


def settings_of(names: list[str], spec: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every training of some models, seed by seed, with what tells it apart."""
    for seed in SEEDS:
        for model in names:
            for noise in NOISES:
                size = largest_within(
                    BUDGET, lambda k, m=model, q=noise: num_parameters(experiment(m, k, q, 0), spec), LARGEST[model]
                )
                settings = experiment(model, size, noise, seed)
                yield {
                    "model": model, "noise": noise, "seed": seed, "size": size,
                    "parameters": num_parameters(settings, spec),
                }, settings  # fmt: skip


def train(names: list[str]) -> None:
    """All trainings of some models, into a JSON file for each, written after each training."""
    RUNS.mkdir(parents=True, exist_ok=True)
    data = load_data(experiment(names[0], 4, "none", 0))
    for what, settings in settings_of(names, data.spec):
        rows = rows_of(what["model"])
        if any((row["noise"], row["seed"]) == (what["noise"], what["seed"]) for row in rows):
            continue
        started = time.perf_counter()
        model = build(settings, data.spec)
        history = fit(model, data, settings.train)
        seconds = time.perf_counter() - started
        result = evaluate(model, data.test, spec=data.spec, num_samples=NUM_SAMPLES)
        if what["seed"] == 0:
            np.save(RUNS / f"{what['model']}_{what['noise']}.npy", sample_raw(model, data.spec, SHOWN, 0).numpy())
        rows.append(
            what
            | {
                "epochs": len(history),
                "best_epoch": next(record.epoch for record in reversed(history) if record.best),
                "seconds": round(seconds, 1),
                "evaluation": result.as_dict(),
            }
        )
        assert result.bits_per_dim is not None
        print(*what.values(), f"{result.bits_per_dim.value:.4f} bits/dim", f"{seconds:.0f} s", flush=True)
        about = {"threads": torch.get_num_threads(), "device": "cpu", "experiment": settings.model_dump(mode="json")}
        result_of(what["model"]).write_text(json.dumps({"data": "digits", **about, "rows": rows}, indent=1) + "\n")


def table() -> str:
    """Markdown: a row a model, a column a kind of noise."""
    lines = [
        "| flow | parameters | epochs | seconds | no noise | one channel, N(0, I) | one channel, learned |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model in MODELS:
        rows = rows_of(model)
        plain = [row for row in rows if row["noise"] == "none"]
        cells = []
        for noise in NOISES:
            group = [row for row in rows if row["noise"] == noise]
            compared = plain if noise != "none" and len(group) == len(plain) else None
            cells.append(cell(group, compared) if group else "")
        sizes = sorted(row["parameters"] for row in rows)
        seconds = sorted(row["seconds"] for row in rows)
        lines.append(
            f"| {model} | {sizes[0]} to {sizes[-1]} | {EPOCHS[model]} | {seconds[0]:.0f} to {seconds[-1]:.0f} | "
            + " | ".join(cells) + " |"
        )  # fmt: skip
    return "\n".join(lines)


def figure() -> None:
    """Samples of every model and kind of noise, under real images."""
    test = load_data(experiment("glow", 4, "none", 0)).test.x
    grids = {f"test images {i * SHOWN} to {(i + 1) * SHOWN - 1}": test[i * SHOWN : (i + 1) * SHOWN] for i in range(3)}
    for model in MODELS:
        for noise in NOISES:
            grids[f"{model}, {noise}"] = torch.from_numpy(np.load(RUNS / f"{model}_{noise}.npy"))
    save(image_grids(grids, 17, columns=3, size=2.6), RESULTS / "images_digits.png").with_suffix(".svg").unlink()


if __name__ == "__main__":
    command, *chosen = sys.argv[1:] or ["table"]
    if command == "train":
        train(chosen or list(MODELS))
    elif command == "figure":
        figure()
    else:
        print(table())
