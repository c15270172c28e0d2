"""Runs of one experiment by several seeds: their mean, the spread between seeds, and differences of the means."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marginflow.base.moments import Estimate
from marginflow.base.weighted_mean import WeightedMean, mean_of
from marginflow.runs.schema import Experiment

OF_NO_WEIGHT = ("seed", "device", "tensorboard", "checkpoint", "compile", "deterministic")  # options of training


@dataclass(frozen=True)
class SeedGroup:
    """Runs whose settings are equal but for the seed of their training.

    Attributes:
        name: the model, and where several groups have the same one the settings that differ.
        seeds: of the runs.
        log_prob: mean over rows and seeds, in nats.
        spread: standard deviation of the seeds' means; NaN of one seed.
        behind: by how much the mean lies below that of the best group; None for the best itself. Its error counts rows
            and, where both groups have several, seeds: s^2(rows) / N + s_1^2 / K_1 + s_2^2 / K_2, s(rows) of the
            differences of the means over seeds, row by row, and s_1, s_2 the spreads. What is of one row by one seed is
            in both terms, so that it is rather too wide.
        has_spread: whether the error counts seeds.
    """

    name: str
    seeds: tuple[int, ...]
    log_prob: float
    spread: float
    behind: Estimate | None
    has_spread: bool


def seed_groups(
    experiments: Sequence[Experiment],
    log_probs: Sequence[Tensor],
    weight: Tensor | None,
    num_outside: Sequence[int] | None = None,
) -> list[SeedGroup]:
    """The groups of runs, the best first; none where no experiment has two seeds.

    A group with fewer rows of density 0, in the mean over its runs, is better, whatever the log p of the others.

    Args:
        experiments: of the runs.
        log_probs: of the same rows by each run, (N,).
        weight: of the rows, (N,); None where all count the same.
        num_outside: of how many rows more each run has density 0; None where of none.
    """
    outside: dict[str, dict[int, int]] = {}
    grouped: dict[str, dict[int, Tensor]] = {}
    for experiment, log_prob, number in zip(experiments, log_probs, num_outside or [0] * len(log_probs), strict=True):
        key = json.dumps(_settings(experiment), sort_keys=True, default=str)
        grouped.setdefault(key, {}).setdefault(experiment.train.seed, log_prob)
        outside.setdefault(key, {}).setdefault(experiment.train.seed, number)
    if all(len(each) == 1 for each in grouped.values()):
        return []
    means = {key: torch.stack([*each.values()]).mean(0) for key, each in grouped.items()}

    def rank(key: str) -> tuple[float, float]:
        return statistics.mean(outside[key].values()), -float(mean_of(means[key], weight))

    best, *_ = order = sorted(means, key=rank)
    names = _names([json.loads(key) for key in order])
    spreads = {key: _spread([*each.values()], weight) for key, each in grouped.items()}
    return [
        SeedGroup(
            name,
            tuple(grouped[key]),
            float(mean_of(means[key], weight)),
            spreads[key],
            None if key == best else _behind(means[best] - means[key], weight, [
                (spreads[each], len(grouped[each])) for each in (best, key)]),
            not any(math.isnan(spreads[each]) for each in (best, key)),
        )
        for key, name in zip(order, names, strict=True)
    ]  # fmt: skip


def estimate_of(values: Tensor, weight: Tensor | None) -> Estimate:
    """The mean of values (N,), weighted where there are weights, and its standard error."""
    return Estimate.of(values) if weight is None else WeightedMean().add(values, weight).estimate()


def _spread(log_probs: Sequence[Tensor], weight: Tensor | None) -> float:
    means = [float(mean_of(each, weight)) for each in log_probs]
    return statistics.stdev(means) if len(means) > 1 else math.nan


def _behind(differences: Tensor, weight: Tensor | None, spreads: Sequence[tuple[float, int]]) -> Estimate:
    of_rows = estimate_of(differences, weight)
    if any(math.isnan(spread) for spread, _ in spreads):
        return of_rows
    of_seeds = sum(spread**2 / count for spread, count in spreads)
    return Estimate(of_rows.value, math.sqrt(of_rows.standard_error**2 + of_seeds))


def _settings(experiment: Experiment) -> dict[str, Any]:
    """All that decides on the model of a run, but for the seed of its training."""
    every = experiment.model_dump(mode="json")
    train = {key: value for key, value in every["train"].items() if key not in OF_NO_WEIGHT}
    return {**{key: value for key, value in every.items() if key != "evaluate"}, "train": train}


def _names(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The model of each group, and what tells it from others of the same model."""
    flat = [{f"{table}.{key}": each for table, section in group.items() for key, each in section.items()}
            for group in groups]  # fmt: skip
    names = []
    for own in flat:
        alike = [each for each in flat if each["model.name"] == own["model.name"]]
        keys = [key for key in own if any(each.get(key) != own[key] for each in alike)]
        names.append(", ".join([own["model.name"], *(f"{key}={json.dumps(own[key])}" for key in keys)]))
    return names
