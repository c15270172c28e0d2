"""Batch norm: whether it has statistics, and those of the training set."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import torch

from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.data import Batch
from marginflow.evaluation.check.findings import Finding
from marginflow.transforms import BatchNorm
from marginflow.transforms.calibrate import calibrate

NAME = "batch-norm statistics"
AT_ONCE = 500  # rows
WIDEST = 1.0  # deviations, that statistics of these rows may be unknown by


def of_batch_norm(model: Distribution, rows: Batch, seed: int) -> Iterator[Finding]:
    """Against those that calibrating a copy on rows gives; rows that are a part of the training set are allowed for."""
    norms = [each for each in model.modules() if isinstance(each, BatchNorm)]
    if not norms:
        return
    without = sum(each.mean is None for each in norms)
    if without:
        yield Finding(NAME, "fail", f"{without} of {len(norms)} layers have none", "call calibrate on the training set")
        return
    again = copy.deepcopy(model)
    anew = [each for each in again.modules() if isinstance(each, BatchNorm)]
    with evaluation_mode(again):
        parts = (itertools.repeat(None) if each is None else each.split(AT_ONCE) for each in rows)
        calibrate(again, [Batch(*part) for part in zip(*parts, strict=False)], layers=anew, seed=seed)
    worst = max(_apart(one, other) for one, other in zip(norms, anew, strict=True))
    most = 6 / len(rows.x) ** 0.5 + 0.02
    found = f"of {len(norms)} layers within {worst:.3f} deviations of those of {len(rows.x)} rows (limit {most:.3f})"
    remedy = "they are not those of the training set: call calibrate on it, never keep running averages"
    if worst > most:
        yield Finding(NAME, "fail", found, remedy)
    elif most > WIDEST:
        yield Finding(NAME, "cannot tell", f"because {len(rows.x)} rows are too few: {found}", "check with more rows")
    else:
        yield Finding(NAME, "pass", found)


def _apart(one: BatchNorm, other: BatchNorm) -> float:
    """How far means lie apart in deviations, and deviations beside each other: all but the worst tenth of features."""
    (mean, variance), (true_mean, true_variance) = one.statistics(), other.statistics()
    deviation = (true_variance.double() + BatchNorm.EPSILON).sqrt()
    means = (mean.double() - true_mean.double()).abs() / deviation
    scales = ((variance.double() + BatchNorm.EPSILON).sqrt() / deviation).log().abs()
    return float(torch.maximum(means, scales).nan_to_num(torch.inf, torch.inf).quantile(0.9))
