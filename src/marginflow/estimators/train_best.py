"""The best model for rows in memory, chosen and trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.data import DataSet
from marginflow.estimators.choose import choose
from marginflow.estimators.trials import Trial, pooled, watched, with_schema
from marginflow.evaluation.evaluate import evaluate_rows
from marginflow.runs.build import build
from marginflow.runs.schema import Experiment
from marginflow.training import EpochRecord, fit


@dataclass(frozen=True)
class Trained:
    """A trained model, and how it was found.

    Attributes:
        experiment: the model, preprocessing and training settings; its [data] is what was asked with.
        model: in evaluation mode.
        history: of its training.
        log_prob: of held-out rows (N,), float64: of all, each by a model trained without it; of many rows those of the
            validation rows, by which the training was ended.
        columns: likewise of each column given those before it (N, D), where the model tells; None otherwise.
        folds: in which all rows were held out once; 0 where validation rows were.
        trials: of all candidates, the chosen one first.
        weight: of the held-out rows (N,); None where all count the same.
    """

    experiment: Experiment
    model: Distribution
    history: list[EpochRecord]
    log_prob: Tensor
    columns: Tensor | None
    folds: int
    trials: tuple[Trial, ...]
    weight: Tensor | None = None


def train_best(
    data: DataSet,
    *,
    model: str | None = None,
    options: Mapping[str, Any] = {},
    seed: int = 0,
    device: str = "auto",
    run_dir: Path | None = None,
    progress: Any = None,
) -> Trained:
    """Choose the model of a table, see `choose`, and train it.

    Args:
        data: with training and validation rows.
        model: its name; None has it chosen among all candidates.
        options: tables of an experiment, which stand above the candidates' settings; those of [data] say where the
            rows are from.
        seed: of folds and trainings.
        device: to train on.
        run_dir: where the training goes; None keeps no files.
        progress: as `fit` takes it.

    Returns:
        The trained model.

    Raises:
        ValueError: where options fit no model, or the rows not the model.
    """
    tables = {**options, "train": {"seed": seed, "device": device, **options.get("train", {})}}
    if model is not None:
        tables["model"] = {"name": model, **options.get("model", {})}
    found = choose(data, tables, seed=seed)
    data = with_schema(watched(data, pooled(data)) if found.folds else data, found.experiment.model.name)
    trained = build(found.experiment, data.spec)
    history = fit(trained, data, found.experiment.train, run_dir, progress=progress)
    about = found.experiment, trained, history
    if found.log_prob is not None:
        return Trained(*about, found.log_prob, found.columns, found.folds, found.trials, found.weight)
    options = {"spec": data.spec, "num_samples": found.experiment.evaluate.num_samples, "seed": seed}
    scores = evaluate_rows(trained, data.validation, **options)
    columns = None if scores.columns is None else scores.columns.cpu().double()
    return Trained(*about, scores.log_prob.cpu().double(), columns, 0, found.trials, data.validation.weight)
