"""A run directory as it is read: its files by name, the experiment and the model in it, how far it was trained."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from marginflow.checkpoint import (
    CHECKSUMS,
    METRICS,
    TRAINER,
    WEIGHTS,
    load_weights,
    part_of,
    read_metrics,
    sha256_of,
    verify,
)
from marginflow.config import Experiment, build, claimed_numbers, parse
from marginflow.data import DataSpec
from marginflow.flow import Flow
from marginflow.guarded import FREE, TIMES, json_of, text_of
from marginflow.lock import LOCK

CONFIG, MANIFEST, EVALUATION = "config.toml", "manifest.json", "evaluation.json"
FORMAT = 1
FOLDERS = {"figures", "tensorboard"}
FILES = {CONFIG, MANIFEST, EVALUATION, WEIGHTS, METRICS, TRAINER, CHECKSUMS, LOCK, *FOLDERS}
UNFINISHED = {part_of(Path(name)).name for name in FILES}
BYTES_OF_BLOCK = 50  # of weights at least, with their names


def read(run_dir: Path) -> tuple[Experiment, DataSpec, dict[str, Any]]:
    """The experiment of a run, the kind of its rows, and its manifest."""
    for name in (CONFIG, MANIFEST):
        if not (run_dir / name).is_file():
            meant = Path("runs") / run_dir
            hint = f"did you mean {meant}?" if (meant / name).is_file() else "give one that train made"
            raise FileNotFoundError(
                f"{run_dir} is not a run directory: it has no {name}; {hint} "
                "(weights that fit kept: build the model, then marginflow.checkpoint.load_weights(model, Path(run)))"
            )
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


def load(run_dir: str | Path, device: str | torch.device = "cpu") -> Flow:
    """The trained model of a run directory, in evaluation mode.

    run_dir: a directory that `marginflow train` made. device: where the model goes.

    Returns a `Flow`. FileNotFoundError where there is no run or no checkpoint yet, ValueError where a file is
    damaged.
    """
    run_dir = Path(run_dir)
    experiment, spec, _ = read(run_dir)
    _check_claims(experiment, spec, run_dir)
    model = build(experiment, spec)
    load_weights(model, run_dir)
    return model.eval().to(device)


def _check_claims(experiment: Experiment, spec: DataSpec, run_dir: Path) -> None:
    """Refuse to build a model that is far larger than its weights: ValueError."""
    weights = run_dir / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} does not exist: the run has no checkpoint yet, train it first")
    size = weights.stat().st_size
    numbers, blocks = claimed_numbers(experiment, spec)
    if 4 * numbers > max(TIMES * size, FREE) or BYTES_OF_BLOCK * blocks > max(size, FREE // 1000):
        raise ValueError(
            f"{run_dir / CONFIG} describes a model of about {numbers:,} numbers in {blocks:,} blocks; its weights have "
            f"{size:,} bytes: they do not belong together"
        )


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
