"""How a table of few rows is trained on unless something else is said: smaller batches, more epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marginflow.runs.schema import Experiment

BATCHES = 8  # an epoch has at least
LEAST_BATCH = 16  # rows
STEPS = 1500  # of a training, where patience does not end it before
MOST_PATIENCE = 20  # epochs


def suited(experiment: Experiment, num_rows: int, overrides: Iterable[str]) -> Experiment:
    """The experiment of a table with what suits its number of training rows.

    Args:
        experiment: of a table, as `runs.experiments.read` makes it.
        num_rows: of its training split.
        overrides: such as "train.lr=1e-4", which stay.
    """
    said = {each.partition("=")[0].strip() for each in overrides}
    train = experiment.train
    batch = min(train.batch_size, num_rows)
    changes: dict[str, Any] = {"batch_size": batch}
    if experiment.model.name == "mixed":
        if "train.batch_size" not in said:
            batch = min(batch, max(LEAST_BATCH, 2 ** int(math.log2(max(num_rows / BATCHES, 1)))))
        times = math.ceil(STEPS / (train.epochs * max(num_rows // batch, 1)))
        more = min(train.patience * times, max(train.patience, MOST_PATIENCE)) if train.patience else train.patience
        changes = {"batch_size": batch, "epochs": train.epochs * times, "patience": more}
    kept = {name: value for name, value in changes.items() if f"train.{name}" not in said}
    return experiment.model_copy(update={"train": train.model_copy(update=kept)})
