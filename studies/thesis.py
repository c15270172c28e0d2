"""What the thesis leaves open: python -m studies.thesis moons | connections | masks | artifacts | generation | pairs.

moons: planar x 8 on half moons, without and with noise, clipped and not, for 100 and 500 epochs; densities and samples.
connections: which dimensions see which in masked networks of the thesis's sizes. masks: width, depth and kind of hidden
degrees of a MAF on digits. artifacts: samples of a MAF on MNIST that leave the range of the data, with the clipping,
the bound on scales and the statistics of batch norm taken away by turns. generation: samples of the image models that
reproduce has trained, judged beside real images. pairs: what noise costs each of them, row by row. The last two may be
given the folder of the runs. Trainings whose rows stand in the result file are not run again.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.base.moments import Estimate
from marginflow.evaluation.evaluate import evaluate, evaluate_rows
from marginflow.evaluation.sample import sample_raw
from marginflow.evaluation.sample_quality import energy_distance, mean_distance, two_sample_accuracy
from marginflow.evaluation.sample_range import origins, sample_range
from marginflow.nets.masked.degrees import resolve_degrees
from marginflow.runs.build import build, load_data
from marginflow.runs.items import items
from marginflow.runs.read_toml import parse
from marginflow.runs.run import Run
from marginflow.storage.files import write_whole
from marginflow.training import fit
from marginflow.training.checkpoint import WEIGHTS
from marginflow.training.metrics import read_metrics
from marginflow.transforms import BatchNorm
from marginflow.transforms.calibrate import calibrate
from studies import RESULTS

CLIP = 5e-6  # of the thesis
UNCLIPPED = {"clip_norm": 0.0}


def trained(table: dict[str, Any], seed: int = 0) -> tuple[Any, Any, list[dict[str, Any]], float]:
    """The model, the data, the curve and the seconds of an experiment."""
    table["train"]["seed"] = seed
    settings = parse(table, "study")
    torch.manual_seed(seed)
    data = load_data(settings)
    model = build(settings, data.spec)
    started = time.perf_counter()
    history = fit(model, data, settings.train)
    return model, data, [asdict(each) for each in history], round(time.perf_counter() - started, 1)


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Write what is there so far, so that a study that is stopped leaves it."""
    place = {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}
    write_whole(RESULTS / f"thesis_{name}.json", (json.dumps({**place, "rows": rows}, indent=1) + "\n").encode())


def kept(name: str) -> list[dict[str, Any]]:
    """The rows that stand in the result file."""
    path = RESULTS / f"thesis_{name}.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def stands(rows: list[dict[str, Any]], **key: Any) -> bool:
    """Whether a row of these settings is among them."""
    return any(key.items() <= row.items() for row in rows)


def finite(value: float) -> float | None:
    """A number for JSON, which knows no infinity; None where a test row came out infinite."""
    return value if math.isfinite(value) else None


def moons() -> None:
    """Each pair of settings by seed; samples are judged beside a second draw of the data."""
    rows = kept("moons")
    plan = [(100, seed, clip, noise) for seed in range(3) for clip in (CLIP, None) for noise in (0, 2)]
    plan += [(500, 0, CLIP, noise) for noise in (0, 2)]
    for epochs, seed, clip, noise in plan:
        if stands(rows, epochs=epochs, seed=seed, clip_value=clip, noise=noise):
            continue
        train = {"epochs": epochs, "lr": 5e-4, "validate_every": 5, **({"clip_value": clip} if clip else UNCLIPPED)}
        table = {"data": {"name": "half_moons"}, "model": {"name": "planar", "blocks": 8}, "train": train}
        model, data, curve, seconds = trained({**table, "noise": {"features": noise}}, seed)
        test = data.test.take().x
        found = evaluate(model, test, num_samples=200, seed=0)
        fresh = load_data(parse({**table, "data": {"name": "half_moons", "seed": 1}}, "study")).test.take().x
        drawn = sample_raw(model, data.spec, 5000, seed)
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


def connections() -> None:
    """Of two dimensions k apart, does the later see the earlier? Shares over all such pairs and the five networks."""
    rows = []
    for hidden in ([1024], [1024] * 3, [3072], [3072] * 3):
        for degrees in ("random", "sequential", "even"):
            gaps = torch.stack([gap(degrees, 3072, hidden, seed) for seed in range(5)])
            shares = {str(k): float((gaps[:, :-k] <= k).double().mean()) for k in (1, 32, 1024)}
            rows.append({"hidden": hidden, "degrees": degrees, "sees_so_far_back": shares})
            print(rows[-1], flush=True)
    keep("connections", rows)


def gap(degrees: str, features: int, hidden: Sequence[int], seed: int) -> Tensor:
    """How far behind each dimension the first one stands that sees it; one that none sees has a gap past the end.

    A path takes the least degree that it can in each layer, as the output then is the nearest.
    """
    layers = resolve_degrees(degrees, features, hidden, False, torch.Generator().manual_seed(seed))
    dimension = torch.arange(1, features + 1)
    least = dimension
    for layer in layers:
        least = torch.cat([layer, torch.tensor([features])])[torch.searchsorted(layer, least)]
    return least + 1 - dimension


def masks() -> None:
    """64 pixels: widths of a third, as 1024 is of 3072, of all and of three times the dimensions."""
    rows = kept("masks")
    for seed, width, depth, degrees in itertools.product(
        range(3), (21, 64, 192), (1, 3), ("random", "sequential", "even")
    ):
        key = {"width": width, "depth": depth, "degrees": degrees, "seed": seed}
        if stands(rows, **key):
            continue
        model = {"name": "maf", "hidden": [width] * depth, "blocks": 5, "batch_norm": True, "degrees": degrees}
        table = {
            "data": {"name": "digits"}, "model": {**model, "seed": 10 * seed},
            "train": {"epochs": 30, "lr": 1e-3, "ema": 0.99, "validate_every": 5, **UNCLIPPED},
        }  # fmt: skip
        flow, data, _, seconds = trained(table, seed)
        found = evaluate(flow, data.test, spec=data.spec, seed=0)
        drawn, real = sample_raw(flow, data.spec, len(data.test.x), seed), data.test.take().x
        shares = {"mean_distance": mean_distance(drawn) / mean_distance(real)}
        rows.append({**key, "seconds": seconds, "evaluation": found.as_dict(), **shares})
        print(key, found.importance_weighted, shares, flush=True)
        keep("masks", rows)


def artifacts() -> None:
    """Shares of samples that leave the range after few epochs and after more."""
    rows = kept("artifacts")
    for clip, bound, epochs in itertools.product((CLIP, None), (1e3, 5.0), (2, 8)):
        key = {"clip_value": clip, "bound": bound, "epochs": epochs}
        if stands(rows, **key):
            continue
        clipped = {"clip_value": clip} if clip else UNCLIPPED
        train = {"epochs": epochs, "lr": 5e-4, "validate_every": epochs, **clipped}
        table = {
            "data": {"name": "mnist", "noise": "once"}, "preprocess": {"logit": 1e-6},
            "model": {"name": "maf", "hidden": [256], "blocks": 5, "batch_norm": "before", "bound": bound},
            "train": train,
        }  # fmt: skip
        try:
            flow, data, curve, seconds = trained(table)
        except (FloatingPointError, ValueError) as error:
            rows.append({**key, "stopped": str(error)})
        else:
            rows += [{**key, "seconds": seconds, "curve": curve, **each} for each in artifacts_of(flow, data)]
        keep("artifacts", rows)


def artifacts_of(flow: Any, data: Any) -> list[dict[str, Any]]:
    """Shares, origins and density with the statistics of batch norm that fit found, and with those of one batch."""
    test = data.test.take(slice(1000))
    rows = []
    for statistics in ("all training rows", "one batch"):
        if statistics == "one batch":
            norms = [each for each in flow.modules() if isinstance(each, BatchNorm)]
            calibrate(flow, [data.train.take(slice(100))], layers=norms)
        found = evaluate(flow, test, spec=data.spec)
        began = [asdict(each) for each in origins(flow, test, 500)[:5]]
        shares = {"statistics": statistics, **asdict(sample_range(flow, test, 500)), "origins": began}
        rows.append({**shares, "nll": finite(found.importance_weighted.value)})
        print(rows[-1], flush=True)
    return rows


def generation(folder: str = "runs/thesis") -> None:
    """The samples of the image models that `marginflow reproduce` has trained, beside as many real training images."""
    rows = []
    names = {each.run for name in ("fig4", "table1", "best") for each in items()[name].trained}
    for directory in sorted(Path(folder) / name for name in names):
        if not (directory / WEIGHTS).is_file():
            continue
        run = Run.open(directory)
        model, experiment, spec = run.model, run.experiment, run.spec
        data = load_data(experiment)
        count, scale = 1000, 256 if spec.dequantised else 1
        test, real = (  # spread over all rows, as the first test images of MNIST are cleaner than the others
            (split.take(torch.linspace(0, len(split.x) - 1, count).long()).x * scale).floor().double()
            for split in (data.test, data.train)
        )
        shown = {
            "samples": sample_raw(model, spec, count, seed=0).double(),
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


def pairs(folder: str = "runs/thesis") -> None:
    """NLL with noise minus NLL without, on the same test rows, by the bound and by IW-K."""
    rows = []
    for plain, noisy in (items()["fig4"].trained, items()["table1"].trained[:2], items()["table1"].trained[2:]):
        directories = [Path(folder) / each.run for each in (plain, noisy)]
        if not all((directory / WEIGHTS).is_file() for directory in directories):
            continue
        found = []
        for directory in directories:
            run = Run.open(directory)
            options = run.experiment.evaluate
            test = run.test(options.rows)
            of_rows = evaluate_rows(run.model, test, num_samples=options.num_samples, seed=options.seed)
            found.append(of_rows.density)
        costs = {
            what: asdict(Estimate.of(getattr(found[0], what) - getattr(found[1], what)))
            for what in ("bound", "log_prob")
        }
        epochs = [len(read_metrics(directory)) for directory in directories]
        rows.append({"runs": [each.run for each in (plain, noisy)], "epochs": epochs, "noise_costs": costs})
        print(rows[-1], flush=True)
        keep("pairs", rows)


if __name__ == "__main__":
    studies = (moons, connections, masks, artifacts, generation, pairs)
    {study.__name__: study for study in studies}[sys.argv[1]](*sys.argv[2:])
