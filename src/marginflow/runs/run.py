"""A run directory as it is read: its files by name, the experiment, the data, how far it was trained."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from marginflow.data import DataSet, DataSpec, Split
from marginflow.runs.build import load_data
from marginflow.runs.is_run import CONFIG, MANIFEST, check_is_run
from marginflow.runs.read_toml import parse
from marginflow.runs.schema import Experiment
from marginflow.storage.files import CHECKSUMS, part_of, sha256_of, verify
from marginflow.storage.limits import json_of, text_of
from marginflow.storage.lock import LOCK
from marginflow.training.checkpoint import TRAINER, WEIGHTS
from marginflow.training.metrics import METRICS, read_metrics

EVALUATION = "evaluation.json"
FORMAT = 1
FOLDERS = {"figures", "tensorboard"}
FILES = {CONFIG, MANIFEST, EVALUATION, WEIGHTS, METRICS, TRAINER, CHECKSUMS, LOCK, *FOLDERS}
UNFINISHED = {part_of(Path(name)).name for name in FILES}


def read(run_dir: Path) -> tuple[Experiment, DataSpec, dict[str, Any]]:
    """The experiment of a run, the kind of its rows, and its manifest."""
    check_is_run(run_dir)
    for name in (CONFIG, MANIFEST):
        verify(run_dir / name)
    try:
        manifest = json_of(run_dir / MANIFEST)
        table = tomllib.loads(text_of(run_dir / CONFIG))
        spec = TypeAdapter(DataSpec).validate_python(manifest["data"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{run_dir}: {CONFIG} or {MANIFEST} is damaged: {reason}") from error
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{run_dir} has run format {manifest.get('format')}; this version reads {FORMAT}: update marginflow"
        )
    return parse(table, str(run_dir / CONFIG)), spec, manifest


def read_evaluation(run_dir: Path) -> dict[str, Any]:
    """What `evaluate` has written of a run; FileNotFoundError where it has not, ValueError where it is damaged."""
    path = run_dir / EVALUATION
    if not path.is_file():
        raise FileNotFoundError(f"{run_dir} was not evaluated: call marginflow evaluate {run_dir} first")
    try:
        record = json_of(path)
        _ = record["weights_sha256"], record["experiment"]["evaluate"], record["test"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): call marginflow evaluate {run_dir} again") from error
    return record


def as_item(run_dir: Path) -> dict[str, Any]:
    """All that is known of an evaluated run, in the form in which `reproduce` writes an item of one run.

    ValueError or FileNotFoundError where it was not evaluated, or was trained on since.
    """
    experiment, _, _ = read(run_dir)
    record, now = read_evaluation(run_dir), trained(run_dir)
    if record["weights_sha256"] != weights_sha256(run_dir) or record.get("epochs") != now["epochs"]:
        raise ValueError(f"{run_dir} was trained on since: call marginflow evaluate {run_dir} again")
    name = run_dir.resolve().name
    run = {"label": name, "reported_by_the_thesis": None, "samples": None, **record, "curve": read_metrics(run_dir)}
    pictures = sorted((run_dir / "figures").glob("*.png"))
    return {
        "title": name,
        "caption": f"{experiment.model.name} on {experiment.data.name}",
        "runs": [run],
        "figures": [{"file": f"figures/{path.name}", "caption": path.stem} for path in pictures],
    }


def weights_sha256(run_dir: Path) -> str:
    """The checksum of the weights of a run."""
    return sha256_of(run_dir / WEIGHTS)


def trained(run_dir: Path) -> dict[str, Any]:
    """How far a run was trained, with which settings, for results."""
    experiment, _, manifest = read(run_dir)
    epochs = read_metrics(run_dir)
    return {
        "experiment": experiment.model_dump(mode="json"),
        "epochs": max((each["epoch"] for each in epochs), default=0),
        "best_epoch": max((each["epoch"] for each in epochs if each.get("best")), default=None),
        "train_seconds": round(sum(each.get("seconds", 0) for each in epochs), 1),
        **{key: manifest.get(key) for key in ("marginflow", "git_head", "torch", "python", "machine")},
    }


def check_same_rows(trained_on: DataSpec, found: DataSpec, run_dir: Path) -> None:
    """Refuse data that are no longer what a run was trained on: ValueError that says in what they differ."""
    for what, old, new in (
        ("columns", trained_on.columns, found.columns),
        ("labels", trained_on.labels, found.labels),
        ("shape of a row", trained_on.event_shape, found.event_shape),
    ):
        if old != new:
            raise ValueError(f"the data have changed since {run_dir} was trained: {what} {new}, expected {old}")
    if trained_on != found:
        raise ValueError(
            f"the data have changed since {run_dir} was trained: split anew, rows that it was trained on would be held "
            "out: put them back, or evaluate on other rows with --data"
        )


def data_of(run_dir: Path) -> DataSet:
    """The data that a run was trained on; ValueError where they have changed since."""
    experiment, spec, _ = read(run_dir)
    by_name = {"columns": list(spec.columns), "drop": []} if experiment.data.name == "table" else {}
    data = load_data(experiment, **by_name)
    check_same_rows(spec, data.spec, run_dir)
    return data


def held_out(run_dir: Path, rows: int | None = None) -> tuple[Split, float | None]:
    """The first test rows of a run, by default all, and the entropy of their distribution where it is known.

    ValueError where the run's data have changed, so that they would be split anew.
    """
    data = data_of(run_dir)
    return Split(*data.test.take(slice(rows))), data.entropy
