"""A run directory that was trained: its files by name, and what is in them."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import TypeAdapter

from marginflow.base.data_error import DataError
from marginflow.data import DataSet, DataSpec, Split
from marginflow.distributions import Flow
from marginflow.runs.build import build, load_data
from marginflow.runs.is_run import CONFIG, MANIFEST, require_run
from marginflow.runs.read_toml import parse
from marginflow.runs.schema import Experiment
from marginflow.storage.files import CHECKSUMS, part_of, verify
from marginflow.storage.limits import json_of, text_of
from marginflow.storage.lock import LOCK
from marginflow.training.checkpoint import TRAINER, WEIGHTS, built, require_format
from marginflow.training.metrics import METRICS, read_metrics

EVALUATION = "evaluation.json"
FITTED_NOISE = "fit_noise.json"  # of which p the q was fitted to
HELD_OUT = "held_out.json"
CHOICE = "choice.json"  # how the model was chosen
FOLDERS = {"figures", "tensorboard"}
FILES = {CONFIG, MANIFEST, EVALUATION, HELD_OUT, CHOICE, WEIGHTS, METRICS, TRAINER, CHECKSUMS, LOCK, *FOLDERS}
UNFINISHED = {part_of(Path(name)).name for name in FILES}


class Run:
    """A run directory that was trained; its model and data are read when they are first used, and cached.

    Args:
        path: of the directory.
        experiment: with which it was trained.
        spec: of its rows.
        manifest: versions, machine and commit of the training.
        device: of the model.
    """

    def __init__(
        self, path: Path, experiment: Experiment, spec: DataSpec, manifest: dict[str, Any], device: torch.device
    ) -> None:
        self.path, self.experiment, self.spec = path, experiment, spec
        self.manifest, self.device = manifest, device

    @classmethod
    def open(cls, path: str | Path, device: str | torch.device = "cpu") -> Self:
        """The run in a directory, its configuration verified.

        Args:
            path: of the directory.
            device: of the model.

        Returns:
            The run.

        Raises:
            FileNotFoundError: where the directory holds no run.
            ValueError: where its configuration is damaged, or a later version wrote it.
        """
        path = Path(path)
        require_run(path)
        for name in (CONFIG, MANIFEST):
            verify(path / name)
        try:
            manifest = json_of(path / MANIFEST)
            table = tomllib.loads(text_of(path / CONFIG))
            spec = TypeAdapter(DataSpec).validate_python(manifest["data"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: {CONFIG} or {MANIFEST} is damaged: {reason}") from error
        require_format(path, manifest.get("format"))
        _as_it_was(table)
        return cls(path, parse(table, str(path / CONFIG)), spec, manifest, torch.device(device))

    @cached_property
    def weights_sha256(self) -> str:
        """The checksum of the weights, which are what was written; FileNotFoundError where there are none yet."""
        if not (self.path / WEIGHTS).is_file():
            raise FileNotFoundError(
                f"{self.path / WEIGHTS} does not exist: the run has no checkpoint yet, train it first"
            )
        return verify(self.path / WEIGHTS)

    @cached_property
    def model(self) -> Flow:
        """The trained model, on the device and in evaluation mode; ValueError where its weights are damaged."""
        _ = self.weights_sha256
        make = partial(build, self.experiment, self.spec)
        sections = self.experiment.model_dump(include={"model", "noise", "dequantise", "context"})
        features = self.spec.features + self.experiment.noise.features
        model = built(self.path / WEIGHTS, {**sections, **asdict(self.spec), "features": features}, make, verified=True)
        model.spec = self.spec
        return model.to(self.device)

    @cached_property
    def data(self) -> DataSet:
        """The data that it was trained on; ValueError where they have changed since, and would be split anew."""
        as_before: dict[str, Any] = {}
        if self.spec.schema is not None:
            as_before = {"schema": self.spec.schema}
        elif self.experiment.data.name == "table":
            as_before = {"columns": list(self.spec.columns), "drop": []}
        try:
            data = load_data(self.experiment, **as_before)
        except DataError as error:
            raise error.without_remedies() from error  # its columns are those that it was trained on
        require_same_rows(self.spec, data.spec, self.path)
        return data

    def test(self, rows: int | None = None) -> Split:
        """The first test rows, by default all."""
        return Split(*self.data.test.take(slice(rows)))

    def let_go(self) -> None:
        """Release data and model from memory."""
        for name in ("data", "model"):
            vars(self).pop(name, None)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What each epoch came to, as it stands in metrics.jsonl now."""
        return read_metrics(self.path)

    @property
    def evaluation(self) -> dict[str, Any]:
        """What `evaluate` has written; FileNotFoundError where it has not, ValueError where it is damaged."""
        path = self.path / EVALUATION
        if not path.is_file():
            raise FileNotFoundError(f"{self.path} was not evaluated: call marginflow evaluate {self.path} first")
        try:
            record = json_of(path)
            _ = record["weights_sha256"], record["experiment"]["evaluate"], record["test"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error!r}): call marginflow evaluate {self.path} again") from error
        return record

    def trained(self) -> dict[str, Any]:
        """How far it was trained, with which settings, for results."""
        epochs = self.metrics
        return {
            "experiment": self.experiment.model_dump(mode="json"),
            "epochs": max((each["epoch"] for each in epochs), default=0),
            "best_epoch": max((each["epoch"] for each in epochs if each.get("best")), default=None),
            "train_seconds": round(sum(each.get("seconds", 0) for each in epochs), 1),
            **{key: self.manifest.get(key) for key in ("marginflow", "git_head", "torch", "python", "machine")},
        }

    def as_item(self) -> dict[str, Any]:
        """All that is known once it was evaluated, in the form in which `reproduce` writes an item of one run.

        Returns:
            Plain values.

        Raises:
            FileNotFoundError: where it was not evaluated.
            ValueError: where it was trained further since.
        """
        record, now = self.evaluation, self.trained()
        if record["weights_sha256"] != self.weights_sha256 or record.get("epochs") != now["epochs"]:
            raise ValueError(f"{self.path} was trained on since: call marginflow evaluate {self.path} again")
        name = self.path.resolve().name
        run = {"label": name, "reported_by_the_thesis": None, "samples": None, **record, "curve": self.metrics}
        pictures = sorted((self.path / "figures").glob("*.png"))
        return {
            "title": name,
            "caption": f"{self.experiment.model.name} on {self.experiment.data.name}",
            "runs": [run],
            "figures": [{"file": f"figures/{path.name}", "caption": path.stem} for path in pictures],
        }


def _as_it_was(table: dict[str, Any]) -> None:
    """Let a run stand as it was trained: where it says nothing of clipping or returns to the best, there were none."""
    train = table.setdefault("train", {})
    if isinstance(train, dict):
        if not train.keys() & {"clip_value", "clip_norm"}:
            train["clip_norm"] = 0.0
        train.setdefault("returns", 0)


def require_same_rows(trained_on: DataSpec, found: DataSpec, run_dir: Path) -> None:
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
            "out: restore them, or evaluate on other rows with --data"
        )
