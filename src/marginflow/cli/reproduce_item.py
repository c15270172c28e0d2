"""An item of the thesis from nothing: its trainings, their accounting, its figure, and one JSON file of it all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from marginflow.base.devices import device_on
from marginflow.cli.train import train_run
from marginflow.data.toy import HALF_MOONS_ENTROPY
from marginflow.evaluation.layer_outputs import to_latent
from marginflow.evaluation.sample import sample_raw
from marginflow.report import figures, plots
from marginflow.report.snapshots import Snapshots
from marginflow.runs import experiments
from marginflow.runs.directory import require_same_settings
from marginflow.runs.evaluate import evaluate
from marginflow.runs.items import Item, Trained
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate, Experiment
from marginflow.storage.files import write_whole
from marginflow.training.checkpoint import SNAPSHOTS, WEIGHTS
from marginflow.training.metrics import read_metrics

NUM_DIGITS = 16
NUM_IMAGES = 36
NUM_POINTS = 1000


def in_turn(
    items: Mapping[str, Item], run_dir: Path, results: Path, epochs: int | None = None, device: str = "auto"
) -> Iterator[tuple[str, Path | Exception]]:
    """Items one after the other: the name and the JSON file, or what stopped it, as a training that diverges does."""
    for name, item in items.items():
        try:
            yield name, reproduce(name, item, run_dir, results, epochs, device)
        except (ValueError, OSError, FloatingPointError) as error:
            yield name, error


def reproduce(
    name: str, item: Item, run_dir: Path, results: Path, epochs: int | None = None, device: str = "auto"
) -> Path:
    """Train what an item needs, or resume it, or take what is finished; evaluate; draw; write NAME.json.

    run_dir: the folder of the runs, one for each training, shared by all items. results: where NAME.json and the
    figure go. epochs: instead of those of the experiments; a run that has more is taken as it is. It may be interrupted
    anywhere and called again. Returns the path of the JSON file.

    FloatingPointError where a training diverges, FileNotFoundError where data are missing, ValueError where a run was
    made with other settings.
    """
    _make(results)
    try:
        entries = []
        for trained in item.trained:
            directory = run_dir / trained.run
            settings = _settings(trained, epochs, device)
            train_once(settings, directory, trained.label)
            entries.append({**_evaluated(directory, settings.evaluate, device), **_of_thesis(trained)})
        record = {"item": name, "title": item.title, "caption": item.caption, "runs": entries, "figures": []}
        try:
            figure = draw(item, run_dir, [each["test"] for each in entries])
        except FloatingPointError as error:
            figure, record["not_drawn"] = None, str(error)
        if figure is not None:
            plots.save_png(figure, results / f"{name}.png")
            record["figures"] = [{"file": f"{name}.png", "caption": item.caption}]
        write_whole(results / f"{name}.json", (json.dumps(record, indent=2) + "\n").encode())
    except KeyboardInterrupt:
        kept = f"what is in {run_dir} is kept, and the same command resumes it" if any(run_dir.glob("*/*")) else ""
        raise KeyboardInterrupt(kept or "nothing was trained yet") from None
    return results / f"{name}.json"


def _make(folder: Path) -> None:
    """Make the folder of the results before anything is trained for them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileExistsError(f"{folder} is a file: name a folder for the results") from error


def _settings(trained: Trained, epochs: int | None, device: str) -> Experiment:
    others = [f"train.device={device}", *([] if epochs is None else [f"train.epochs={epochs}"])]
    return experiments.read(experiments.ours(f"{trained.experiment}.toml"), [*trained.overrides, *others])


def train_once(settings: Experiment, run_dir: Path, label: str) -> None:
    """Train an experiment, or resume it; one that has all its epochs is left as it is.

    ValueError where it was begun for other epochs with a schedule of the learning rate, which would not be that of the
    experiment.
    """
    done = max((each["epoch"] for each in read_metrics(run_dir)), default=0)
    if done:
        before = Run.open(run_dir).experiment
        require_same_settings(before, settings, run_dir)
        if done >= settings.train.epochs and (run_dir / WEIGHTS).is_file():
            return
        if before.train.epochs != settings.train.epochs and settings.train.schedule != "constant":
            raise ValueError(
                f"{run_dir} was begun for {before.train.epochs} epochs, over which its learning rate falls: to train "
                f"it for {settings.train.epochs} give another --run-dir, or delete it"
            )
    train_run(settings, run_dir, resume=True, label=label)


def _evaluated(run_dir: Path, options: Evaluate, device: str) -> dict[str, Any]:
    """What is known of a run, its accounting taken unless it stands in the run already for the same weights."""
    run, asked = Run.open(run_dir, device_on(device)), options.model_dump(mode="json")
    try:
        record = run.evaluation
        is_of_these = record["weights_sha256"] == run.weights_sha256
        found = is_of_these and record["experiment"]["evaluate"] == asked
    except (FileNotFoundError, ValueError):
        record, found = {}, False
    if not found:
        result = evaluate(run, options)
        result.keep(run_dir)
        record = result.record
    record |= run.trained()  # which may have continued without better weights
    record["experiment"]["evaluate"] = asked
    return {"name": run_dir.name, **record, "curve": run.metrics}


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
        return _epochs(next(iter(directories.values())))
    if item.drawing == "against":
        return _against(item, accountings)
    return None


def _samples(directories: dict[str, Path]) -> Figure:
    """Test images, and as many samples of each run, drawn with seed 0."""
    grids: dict[str, torch.Tensor] = {}
    for label, directory in directories.items():
        run = Run.open(directory)
        test = run.test(NUM_IMAGES).take().x
        grids[f"{run.experiment.data.name}, test images"] = (test * 256).floor() if run.spec.dequantised else test
        grids[label] = sample_raw(run.model, run.spec, NUM_IMAGES, seed=0)
    return plots.image_grids(grids, 256, columns=3 if len(grids) < 4 else 2)


def _digits(directories: dict[str, Path]) -> Figure:
    """Digits, and what each flow makes of their pixels, drawn as images by the inverse of the preprocessing."""
    grids: dict[str, torch.Tensor] = {}
    for label, directory in directories.items():
        run = Run.open(directory)
        model, digits = run.model, run.test(NUM_DIGITS).take().x
        preprocessing = model.preprocessing
        with torch.no_grad():
            rows = preprocessing(digits)[0]
            z = to_latent(model, digits)[:, : rows.shape[1]]
            images = preprocessing.inverse(z)[0]
        moved = float((z - rows).square().sum().sqrt() / rows.square().sum().sqrt())
        grids["test digits"] = (digits * 255).round()
        grids[f"through the flow, {label} (moved by {moved:.1%})"] = (images.clamp(0, 1) * 255).round()
    return plots.image_grids(grids, 256, columns=3)


def _points(directory: Path) -> Figure:
    """Data, what the flow makes of them, and samples."""
    run = Run.open(directory)
    x, drawn = run.test(NUM_POINTS).take().x, sample_raw(run.model, run.spec, NUM_POINTS, seed=0)
    stages = {
        "data: x squared, and its sign": (x, x),
        "through the flow": (to_latent(run.model, x), x),
        "samples": (drawn, drawn),
    }
    return plots.scatters({name: (rows, of[:, 1]) for name, (rows, of) in stages.items()})


def _epochs(directory: Path) -> Figure:
    """Points on their way through the flow as it was trained."""
    path = directory / SNAPSHOTS
    if not path.is_file():
        raise FileNotFoundError(f"{directory} was trained without {SNAPSHOTS}: delete it, to be trained again")
    return figures.of_epochs(Snapshots.read(path))


def _against(item: Item, accountings: list[dict[str, Any]]) -> Figure:
    """NLL and bound against what differs between the trainings, a half moon each, above the entropy."""
    at = [trained.at or 0.0 for trained in item.trained]
    of_data = [each["features"] / 2 for each in accountings]
    estimate = [each["importance_weighted"]["value"] / n for each, n in zip(accountings, of_data, strict=True)]
    bound = [each["bound"]["value"] / n for each, n in zip(accountings, of_data, strict=True)]
    errors = [each["importance_weighted"]["standard_error"] / n for each, n in zip(accountings, of_data, strict=True)]
    return plots.lines_against(
        at, {"bound": (bound, None), "NLL, exact or by IW-K": (estimate, errors)}, item.axis, HALF_MOONS_ENTROPY
    )
