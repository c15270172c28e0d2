"""When does marginalising help? `python -m studies.marginalising train DATA...`, then `... table`.

Fixed noise N(0, I) against learned noise q(eps | x) = N(m(x), diag s(x)^2); planar, coupling and masked autoregressive
flows; 0, 1, 2 and 8 noise dimensions; as many parameters with noise as without, those of q included; three seeds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from marginflow.evaluation.evaluate import evaluate
from marginflow.runs.build import build, load_data
from marginflow.runs.read_toml import parse
from marginflow.training import fit
from studies import RESULTS
from studies.trials import cell, largest_within, num_parameters

DATA = ("half_moons", "checkerboard", "spirals", "digits")
MODELS = ("planar", "realnvp", "maf")
NOISES = ((0, "standard_normal"), *((n, q) for n in (1, 2, 8) for q in ("standard_normal", "diagonal_normal")))
SEEDS = (0, 1, 2)
NUM_SAMPLES = 200


def experiment(data: str, model: str, size: int, num_noise: int, noise: str, seed: int) -> Any:
    """One training, its model sized by `size`: blocks of a planar flow, hidden width of the others."""
    image = data == "digits"
    noise_section: dict[str, Any] = {"name": noise, "features": num_noise}
    if noise == "diagonal_normal":  # a linear map of x for planar flows, which have few parameters
        noise_section["hidden"] = [] if model == "planar" else [32, 32]
    options: dict[str, Any] = {"planar": {"blocks": size}}.get(model, {"blocks": 4, "hidden": [size, size]})
    toy = {"epochs": 40, "batch_size": 500, "lr": 5e-3 if model == "planar" else 2e-3, "ema": 0.99, "validate_every": 5}
    digits = {"epochs": 40, "batch_size": 50, "lr": 5e-3 if model == "planar" else 1e-3, "ema": 0.99}
    table = {
        "data": {"name": data} if image else {"name": data, "num_train": 20_000, "num_test": 2_000},
        "preprocess": {"logit": 0.05, "standardise": True} if image else {},
        "model": {"name": model, **options},
        "noise": noise_section,
        "train": {"seed": seed, "schedule": "cosine", "clip_norm": 5.0, **(digits if image else toy)},
        "evaluate": {"num_samples": NUM_SAMPLES},
    }
    return parse(table, "studies.marginalising")


def settings_of(data: str, spec: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every training on a data set, with what tells it apart."""
    for model in MODELS:
        start = 32 if model == "planar" else 128 if data == "digits" else 48
        budget = num_parameters(experiment(data, model, start, 0, "standard_normal", 0), spec)
        for num_noise, noise in NOISES:
            size = largest_within(
                budget,
                lambda s, m=model, n=num_noise, q=noise: num_parameters(experiment(data, m, s, n, q, 0), spec),
                start,
            )
            for seed in SEEDS:
                settings = experiment(data, model, size, num_noise, noise, seed)
                what = {"model": model, "size": size, "noise_features": num_noise, "noise": noise, "seed": seed}
                yield what | {"parameters": num_parameters(settings, spec)}, settings


def train(data: str) -> None:
    """All trainings on a data set, into one JSON file that is written after each."""
    path = RESULTS / f"marginalising_{data}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {tuple(row[key] for key in ("model", "noise_features", "noise", "seed")) for row in rows}
    loaded = None
    spec = load_data(experiment(data, "planar", 1, 0, "standard_normal", 0)).spec
    for what, settings in settings_of(data, spec):
        if tuple(what[key] for key in ("model", "noise_features", "noise", "seed")) in done:
            continue
        loaded = loaded or load_data(settings)
        started = time.perf_counter()
        model = build(settings, spec)
        history = fit(model, loaded, settings.train)
        seconds = time.perf_counter() - started
        result = evaluate(model, loaded.test, spec=spec, num_samples=NUM_SAMPLES)
        rows.append(
            what
            | {
                "best_epoch": next(record.epoch for record in reversed(history) if record.best),
                "validation": min(record.validation_nll for record in history if record.validation_nll is not None),
                "seconds": round(seconds, 1),
                "evaluation": result.as_dict(),
            }
        )
        print(data, *what.values(), f"{result.raw_nll:.4f}", f"{seconds:.1f} s", flush=True)
        about = {"threads": torch.get_num_threads(), "device": "cpu", "train": settings.train.model_dump(mode="json")}
        path.write_text(json.dumps({"data": data, **about, "rows": rows}, indent=1) + "\n")


def table() -> str:
    """Markdown: a row a data set, model and kind of noise, a column a number of noise dimensions."""
    lines = ["| data | flow | parameters | noise | 0 | 1 | 2 | 8 |", "|---|---|---:|---|---:|---:|---:|---:|"]
    for data in DATA:
        path = RESULTS / f"marginalising_{data}.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        for model in MODELS:
            of_model = [row for row in rows if row["model"] == model]
            plain = [row for row in of_model if row["noise_features"] == 0]
            for noise, name in (("standard_normal", "N(0, I)"), ("diagonal_normal", "learned")):
                cells = [cell(plain, None)] if plain else [""]
                for num_noise in (1, 2, 8):
                    group = [r for r in of_model if (r["noise_features"], r["noise"]) == (num_noise, noise)]
                    cells.append(cell(group, plain) if len(group) == len(plain) > 1 else "")
                size = plain[0]["parameters"] if plain else ""
                lines.append(f"| {data} | {model} | {size} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    command, *names = sys.argv[1:] or ["table"]
    if command == "train":
        for each in names or DATA:
            train(each)
    else:
        print(table())
