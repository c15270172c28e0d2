"""Runs side by side on the same held-out rows, with paired standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from marginflow.base.weighted_mean import mean_of
from marginflow.evaluation.compared import Compared
from marginflow.evaluation.row_scores import RowScores
from marginflow.runs.comparable import require_comparable
from marginflow.runs.evaluate import evaluate
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate
from marginflow.runs.seed_groups import SeedGroup, estimate_of, seed_groups


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: the best first.
        groups: the same by experiment, where one has several seeds; the best first.
    """

    runs: list[Compared]
    groups: list[SeedGroup]


def compare(runs: Sequence[Run], options: Evaluate) -> Comparison:
    """Evaluate runs on the same test rows, the best first.

    The difference of two models is taken row by row, so that what all rows have in common cancels, and its standard
    error is that of the mean of these differences. Rows outside of the support of a run are left out for all, and the
    run comes after those that have fewer of them.

    Args:
        runs: two or more, each named once.
        options: of the evaluation.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: where there are fewer than two runs, one is named twice, they were not trained on the same data, or
            their log p are of different things.
    """
    if len(runs) < 2:
        raise ValueError("compare needs at least two runs")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise ValueError("a run is named twice: give each once")
    require_comparable(runs)
    names = _names([run.path for run in runs])
    accountings, every, sizes, weight = {}, {}, {}, runs[0].test(options.rows).weight
    for name, run in zip(names, runs, strict=True):
        parts: list[RowScores] = []
        accountings[name] = evaluate(run, options, draw=False, each_row=parts.extend).accounting
        sizes[name] = sum(parameter.numel() for parameter in run.model.parameters())
        run.let_go()  # several models and data sets may not fit into memory
        every[name] = _joined(parts)
    inside = torch.stack([each["log_prob"].isfinite() for each in every.values()]).all(0)
    if not bool(inside.any()):
        raise ValueError("no row lies in the support of every run: they cannot be compared")
    every = {name: {part: each[inside] for part, each in of_run.items()} for name, of_run in every.items()}
    log_probs = {name: of_run["log_prob"] for name, of_run in every.items()}
    weight = None if weight is None else weight[inside]

    def rank(name: str) -> tuple[int, float]:
        return accountings[name].num_outside, -float(mean_of(log_probs[name], weight))

    best, *_ = order = sorted(log_probs, key=rank)
    by_name = dict(zip(names, runs, strict=True))
    compared = [
        Compared(
            name,
            estimate_of(-log_probs[name], weight),
            None if name == best else estimate_of(log_probs[best] - log_probs[name], weight),
            accountings[name],
            model=by_name[name].experiment.model.name,
            seed=by_name[name].experiment.train.seed,
            num_parameters=sizes[name],
            **{part: estimate_of(every[name][part], weight) for part in ("discrete", "real") if part in every[name]},
        )
        for name in order
    ]
    outside = [accountings[name].num_outside for name in names]
    groups = seed_groups([run.experiment for run in runs], [*log_probs.values()], weight, outside)
    return Comparison(compared, groups)


def _joined(parts: Sequence[RowScores]) -> dict[str, Tensor]:
    """log p of all rows, and its parts where there are such."""
    found = {"log_prob": torch.cat([each.log_prob.cpu() for each in parts])}
    for name in ("discrete", "real"):
        values = [getattr(each, name) for each in parts]
        if all(each is not None for each in values):
            found[name] = torch.cat([each.cpu() for each in values])
    return found


def _names(run_dirs: Sequence[Path]) -> list[str]:
    """The last parts of the paths, or where those are not all different the paths."""
    names = [run.resolve().name for run in run_dirs]
    return names if len(set(names)) == len(names) else [str(run) for run in run_dirs]
