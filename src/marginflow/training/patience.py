"""When a training has waited long enough, and when it has to go back to its best weights."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from marginflow.training.metrics import EpochRecord

CHANGES = 10  # from one epoch to the next, over which their size is taken,
LEAST_CHANGES = 3  # and without which no epoch is judged
TIMES = 10.0  # their median, by which a loss jumps


def out_of_patience(history: Sequence[EpochRecord], patience: int | None) -> bool:
    """Whether the last validation came `patience` epochs or more after the last that renewed it.

    That is one whose mean or robust mean was the lowest so far.
    """
    validated = [record for record in history if record.validation_nll is not None]
    if patience is None or not validated:
        return False
    renewed, lowest = 0, float("inf")
    for record in validated:
        robust = record.validation_robust_nll
        if record.best or (robust is not None and robust < lowest):
            renewed = record.epoch
        lowest = lowest if robust is None else min(lowest, robust)
    return validated[-1].epoch - renewed >= patience


def least_jump(features: int) -> float:
    """What a loss must rise by, in nats, to be called worse whatever its noise."""
    return max(1.0, 0.1 * features)


def jumped(history: Sequence[EpochRecord], record: EpochRecord, features: int) -> bool:
    """Whether the loss of an epoch has jumped beyond the one before, or where the training went back, beyond the best.

    loss_t - loss_(t-1) > max(10 median |loss_i - loss_(i-1)|, 1, D / 10),  i over up to ten epochs before t

    The loss is the robust mean of the validation, and in an epoch without one that of the training. With fewer than
    three changes before it no epoch is judged, nor before the first validation.
    """
    validated = record.validation_nll is not None
    calm = [each for each in history if not each.returned and (each.validation_nll is not None or not validated)]
    best = next((each for each in reversed(history) if each.best), None)
    losses = [_loss(each, validated) for each in calm]
    changes = [abs(after - before) for before, after in pairwise(losses)][-CHANGES:]
    if best is None or record.best or len(changes) < LEAST_CHANGES:
        return False
    before = _loss(best, validated) if history[-1].returned else losses[-1]
    return _loss(record, validated) - before > max(TIMES * statistics.median(changes), least_jump(features))


def given_up(history: Sequence[EpochRecord], returns: int) -> bool:
    """Whether the loss has jumped once more than a training goes back, where it does."""
    return returns > 0 and sum(record.returned for record in history) > returns


def _loss(record: EpochRecord, validated: bool) -> float:
    if not validated or record.validation_nll is None:
        return record.train_nll
    return record.validation_nll if record.validation_robust_nll is None else record.validation_robust_nll
