"""Why a training ended, whether it was still improving, and what must be known of its best validation."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning, TrainingWarning
from marginflow.data import DataSet, DataSpec
from marginflow.training.config import TrainConfig
from marginflow.training.metrics import EpochRecord
from marginflow.training.patience import given_up, least_jump, out_of_patience

HUGE = 1000.0  # nats a feature, which no density of standardised rows has
LAST_PART = 5  # the last fifth of the validations tells whether a training was still improving,
FEWEST = 4  # of which fewer tell nothing,
LEAST_GAIN = 0.01  # by so many nats or more, and a thousandth of a nat a feature


def is_over(history: Sequence[EpochRecord], config: TrainConfig) -> bool:
    """Whether a training ends with these epochs."""
    if not history:
        return False
    no_further = given_up(history, config.returns) or out_of_patience(history, config.patience)
    return history[-1].epoch >= config.epochs or no_further


def ending(
    history: Sequence[EpochRecord],
    config: TrainConfig,
    spec: DataSpec,
    untrained_nll: float | None,
    *,
    resumable: bool,
    trains_on_validation: bool = False,
) -> str:
    """Why a training ended with these epochs and what would help, in a line.

    untrained_nll: of validation rows before the first step. resumable: whether its state is kept.
    trains_on_validation: whether validation rows are trained on; whether longer would be better they do not tell.
    """
    last, best = history[-1], _best(history)
    if given_up(history, config.returns):
        why = f"ended at epoch {last.epoch} of {config.epochs}: the loss jumped beyond its {config.returns} returns"
    elif last.epoch < config.epochs:
        why = f"ended at epoch {last.epoch} of {config.epochs}: no better validation for {config.patience} epochs"
    else:
        why = "ended after its one epoch" if config.epochs == 1 else f"ended after all {config.epochs} epochs"
    if best is None or best.validation_nll is None:
        return why
    if trains_on_validation:
        where = f"{_in_unit(best.validation_nll, spec)} on rows that are trained on"
    else:
        where = f"validation {_in_unit(best.validation_nll, spec)}"
    found = f"{why}; best at epoch {best.epoch}, {where}"
    if fault := _fault(history, untrained_nll, spec):
        return f"{found}, which is {fault}: {_lower(best)}"
    if given_up(history, config.returns):
        return f"{found}: {_lower(best)}"
    if trains_on_validation:
        return found
    if len([each for each in history if each.validation_nll is not None]) < FEWEST:
        return f"{found}; too few validations tell whether it was still improving: train with more epochs"
    gain = _gain(history)
    if last.epoch < config.epochs or gain <= max(LEAST_GAIN, spec.features / 1000):
        return f"{found}; it was no longer improving"
    longer = _longer(2 * config.epochs, config, resumable=resumable)
    return f"{found}; it was still improving, by {_difference(gain, spec)} in the last fifth: {longer}"


def _longer(epochs: int, config: TrainConfig, *, resumable: bool) -> str:
    """How to train for so many epochs: as it is typed behind the command, which keeps its state, and in Python."""
    if not resumable:
        return f"train with epochs={epochs}"
    if config.schedule == "constant":
        return f"resume with --resume --set train.epochs={epochs} (in Python epochs={epochs}, resume=True)"
    return f"train anew with --overwrite --set train.epochs={epochs} (in Python epochs={epochs})"


def _fault(history: Sequence[EpochRecord], untrained_nll: float | None, spec: DataSpec) -> str | None:
    """Why the best validation is no result, by its robust mean: worse than untrained, or out of all scale."""
    best = _best(history)
    robust = None if best is None else best.validation_robust_nll
    if robust is None:
        return None
    if untrained_nll is not None and robust > untrained_nll + least_jump(spec.features):
        return f"worse than before the first step ({_in_unit(untrained_nll, spec)})"
    return f"more than {HUGE:g} nats a feature" if robust > HUGE * spec.features else None


def warn_of_the_result(
    history: Sequence[EpochRecord],
    data: DataSet,
    untrained_nll: float | None,
    places: Mapping[str, Tensor],
    stacklevel: int,
) -> None:
    """Warn of a best validation that is worse than the untrained model's, and name the rows that dominate it.

    places: where the rows of each split stand in what the caller gave; empty where that was a data set.
    """
    best = _best(history)
    if best is None or best.validation_nll is None:
        return
    if _fault(history, untrained_nll, data.spec):
        told = f"the training has failed: it {history[-1].ended}"
        warnings.warn(told, TrainingWarning, stacklevel=stacklevel + 1)
    elif best.heavy_rows and best.validation_robust_nll is not None:
        rows = [_described(row, data, places) for row in best.heavy_rows]
        those = "1 row decides" if len(rows) == 1 else f"{len(rows)} rows decide"
        robust = [math.inf if each.validation_robust_nll is None else each.validation_robust_nll for each in history]
        without = history[robust.index(min(robust))].epoch
        added = _difference(best.validation_nll - best.validation_robust_nll, data.spec)
        warnings.warn(
            f"{those} on the validation, adding about {added} to the mean over {len(data.validation.x)}: "
            f"{'; '.join(rows)} (counted from 0). The weights of epoch {best.epoch} are kept; by the robust mean those "
            f"of epoch {without} are best: remove what is an error, and train again",
            DataWarning,
            stacklevel=stacklevel + 1,
        )


def _best(history: Sequence[EpochRecord]) -> EpochRecord | None:
    return next((record for record in reversed(history) if record.best), None)


def _gain(history: Sequence[EpochRecord]) -> float:
    """By how much the last fifth of the validations has lowered the lowest; 0 where that is no more than they vary."""
    losses = [each.validation_nll for each in history if each.validation_nll is not None and not each.returned]
    count = max(1, len(losses) // LAST_PART)
    before, recent = losses[:-count], losses[-count:]
    if not before:
        return 0.0
    changes = [abs(after - one) for one, after in pairwise(losses)][-2 * count :]
    gain = min(before) - min(recent)
    return gain if len(losses) < LAST_PART or gain > statistics.median(changes) / 2 else 0.0


def _lower(best: EpochRecord) -> str:
    return f"lower lr{'' if best.lr is None else f' (now {best.lr:g})'}, and standardise the rows where they are not"


def _in_unit(nll: float, spec: DataSpec) -> str:
    return f"{nll:.5g} nats" if spec.levels is None else f"{spec.bits_per_dim(nll):.5g} bits/dim"


def _difference(nats: float, spec: DataSpec) -> str:
    return f"{nats:.3g} nats" if spec.levels is None else f"{nats * spec.bits_per_nat:.3g} bits/dim"


def _described(row: int, data: DataSet, places: Mapping[str, Tensor]) -> str:
    """A validation row by its number and by the value in it that is farthest from the training rows' mean."""
    name = f"row {int(places['validation'][row])}" if places else f"row {row} of the validation split"
    x = data.validation.x
    if not isinstance(x, Tensor) or x.ndim != 2 or not isinstance(data.train.x, Tensor):
        return name
    train = data.train.x.double()
    far = (x[row].double() - train.mean(0)).abs() / train.std(0, correction=0)
    far = torch.where(torch.isfinite(far), far, 0.0)
    column = int(far.argmax())
    value = f"{data.spec.column_names[column]} = {float(x[row, column]):.6g}"
    return f"{name}, where {value} is {float(far[column]):.3g} standard deviations from the mean"
