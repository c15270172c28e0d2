"""An item of the thesis from nothing: its trainings, their accounting, its figure, and one JSON file of it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from marginflow import config, experiments, plotting, runs, samples, trainer
from marginflow.checkpoint import WEIGHTS, read_metrics, write_whole
from marginflow.data import DataSpec
from marginflow.data.toy import HALF_MOONS_ENTROPY
from marginflow.evaluation import levels_of
from marginflow.flow import Flow
from marginflow.journey import to_latent
from marginflow.thesis import Item, Trained

NUM_DIGITS = 16
NUM_IMAGES = 36
NUM_POINTS = 1000


def reproduce(
    name: str, item: Item, run_dir: Path, results: Path, epochs: int | None = None, device: str = "auto"
) -> Path:
    """Train what an item needs, or go on with it, or take what is finished; evaluate; draw; write NAME.json.

    run_dir: the folder of the runs, one for each training, shared by all items. results: where NAME.json and the
    figure go. epochs: instead of those of the experiments. It may be interrupted anywhere and called again. Returns the
    path of the JSON file.
    """
    entries = []
    for trained in item.trained:
        directory = run_dir / trained.run
        settings = _settings(trained, epochs)
        train_once(settings, directory, trained.label)
        entries.append({**_evaluated(directory, settings.evaluate, device), **_of_thesis(trained)})
    results.mkdir(parents=True, exist_ok=True)
    figure = draw(item, run_dir, [each["test"] for each in entries])
    drawn = []
    if figure is not None:
        plotting.save_png(figure, results / f"{name}.png")
        drawn = [{"file": f"{name}.png", "caption": item.caption}]
    record = {"item": name, "title": item.title, "caption": item.caption, "runs": entries, "figures": drawn}
    write_whole(results / f"{name}.json", (json.dumps(record, indent=2) + "\n").encode())
    return results / f"{name}.json"


def _settings(trained: Trained, epochs: int | None) -> config.Experiment:
    overrides = [*trained.overrides, *([] if epochs is None else [f"train.epochs={epochs}"])]
    return experiments.read(Path(trained.experiment), overrides)


def train_once(settings: config.Experiment, run_dir: Path, label: str) -> None:
    """Train an experiment, or go on with it; one that has all its epochs is left as it is."""
    if _is_finished(settings, run_dir):
        return
    try:
        trainer.train(settings, run_dir, resume=True, label=label)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f": {run_dir} is kept as far as it went; the same command goes on from there") from None


def _is_finished(settings: config.Experiment, run_dir: Path) -> bool:
    if not (run_dir / WEIGHTS).is_file() or len(read_metrics(run_dir)) < settings.train.epochs:
        return False
    before, _, _ = runs.read(run_dir)
    runs.check_same_settings(before, settings, run_dir)
    return True


def _evaluated(run_dir: Path, options: config.Evaluate, device: str) -> dict[str, Any]:
    """What is known of a run, its accounting taken unless it stands in the run already for the same weights."""
    kept = run_dir / runs.EVALUATION
    record = json.loads(kept.read_text()) if kept.is_file() else {}
    asked = options.model_dump(mode="json")
    if record.get("weights_sha256") != runs.weights_sha256(run_dir) or record["experiment"]["evaluate"] != asked:
        result = runs.evaluate(run_dir, options, device)
        result.keep(run_dir)
        record = result.record
    return {"name": run_dir.name, **record, "curve": read_metrics(run_dir)}


def _of_thesis(trained: Trained) -> dict[str, Any]:
    return {"label": trained.label, "reported_by_the_thesis": trained.reported, "at": trained.at}


def draw(item: Item, run_dir: Path, accountings: list[dict[str, Any]]) -> Figure | None:
    """The figure of an item from its finished runs and their accountings; None for a table."""
    directories = {trained.label: run_dir / trained.run for trained in item.trained}
    if item.drawing == "samples":
        return _samples(directories)
    if item.drawing == "digits":
        return _digits(directories)
    if item.drawing == "points":
        return _points(next(iter(directories.values())))
    if item.drawing == "epochs":
        return _epochs(directories)
    if item.drawing == "against":
        return _against(item, accountings)
    return None


def _opened(run_dir: Path) -> tuple[Flow, DataSpec]:
    return runs.load(run_dir), runs.read(run_dir)[1]


def _samples(directories: dict[str, Path]) -> Figure:
    """Test images, and as many samples of each run, drawn with seed 0."""
    grids: dict[str, torch.Tensor] = {}
    for label, directory in directories.items():
        model, spec = _opened(directory)
        test = runs.held_out(directory, NUM_IMAGES)[0].take().x
        real = f"{runs.read(directory)[0].data.name}, test images"
        grids[real] = (test * 256).floor() if spec.dequantised else test
        grids[label] = samples.draw(model, spec, NUM_IMAGES, seed=0)
    return plotting.image_grids(grids, 256, columns=3 if len(grids) < 4 else 2)


def _digits(directories: dict[str, Path]) -> Figure:
    """Digits, and what each flow makes of their pixels, drawn as images by the way back of the preprocessing."""
    grids: dict[str, torch.Tensor] = {}
    for label, directory in directories.items():
        model, _ = _opened(directory)
        digits = runs.held_out(directory, NUM_DIGITS)[0].take().x
        preprocessing, _ = levels_of(model)
        with torch.no_grad():
            rows = preprocessing(digits)[0]
            z = to_latent(model, digits)[:, : rows.shape[1]]
            images = preprocessing.inverse(z)[0]
        moved = float((z - rows).square().sum().sqrt() / rows.square().sum().sqrt())
        grids["test digits"] = (digits * 255).round()
        grids[f"through the flow, {label} (moved by {moved:.1%})"] = (images.clamp(0, 1) * 255).round()
    return plotting.image_grids(grids, 256, columns=3)


def _points(directory: Path) -> Figure:
    """Data, what the flow makes of them, and samples."""
    model, spec = _opened(directory)
    x = runs.held_out(directory, NUM_POINTS)[0].take().x
    drawn = samples.draw(model, spec, NUM_POINTS, seed=0)
    stages = {
        "data: x squared, and its sign": (x, x),
        "through the flow": (to_latent(model, x), x),
        "samples": (drawn, drawn),
    }
    return plotting.scatters({name: (rows, of[:, 1]) for name, (rows, of) in stages.items()})


def _epochs(directories: dict[str, Path]) -> Figure | None:
    """The figure that the training drew of points on their way."""
    ((_, directory),) = directories.items()
    return plotting.picture(directory / "figures" / "epochs.png")


def _against(item: Item, accountings: list[dict[str, Any]]) -> Figure:
    """NLL and bound against what differs between the trainings, a half moon each, above the entropy."""
    at = [trained.at or 0.0 for trained in item.trained]
    of_data = [each["features"] / 2 for each in accountings]
    estimate = [each["importance_weighted"]["value"] / n for each, n in zip(accountings, of_data, strict=True)]
    bound = [each["bound"]["value"] / n for each, n in zip(accountings, of_data, strict=True)]
    errors = [each["importance_weighted"]["standard_error"] / n for each, n in zip(accountings, of_data, strict=True)]
    return plotting.lines_against(
        at, {"bound": (bound, None), "NLL, exact or by IW-K": (estimate, errors)}, item.axis, HALF_MOONS_ENTROPY
    )
