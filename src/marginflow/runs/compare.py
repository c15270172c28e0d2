"""Runs side by side on the same held-out rows, with paired standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.base.moments import Estimate
from marginflow.base.weighted_mean import WeightedMean, mean_of
from marginflow.data import Schema
from marginflow.data.schema import CONTINUOUS
from marginflow.data.tables.dialect import Asked
from marginflow.evaluation.evaluate import Compared
from marginflow.evaluation.row_scores import RowScores
from marginflow.runs.evaluate import evaluate
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate

# options of data that leave the held-out rows what they are; of tables, the columns that are left are compared
OF_TRAINING = {"noise", "labels", "flips", "columns", "drop"} | {each.name for each in fields(Asked)}


def compare(runs: Sequence[Run], options: Evaluate) -> list[Compared]:
    """Evaluate runs on the same test rows, the best first.

    The difference of two models is taken row by row, so that what all rows have in common cancels, and its standard
    error is that of the mean of these differences. Rows outside of the support of a run are left out for all, and the
    run comes after those that have fewer of them.

    Args:
        runs: two or more, each named once.
        options: of the evaluation.

    Returns:
        A `Compared` for each run.

    Raises:
        ValueError: where there are fewer than two runs, one is named twice, or they were not trained on the same data.
    """
    if len(runs) < 2:
        raise ValueError("compare needs at least two runs")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise ValueError("a run is named twice: give each once")
    _require_same_rows(runs)
    names = _names([run.path for run in runs])
    accountings, log_probs, weight = {}, {}, runs[0].test(options.rows).weight
    for name, run in zip(names, runs, strict=True):
        parts: list[RowScores] = []
        accountings[name] = evaluate(run, options, draw=False, each_row=parts.extend).accounting
        run.let_go()  # several models and data sets may not fit into memory
        log_probs[name] = torch.cat([each.log_prob.cpu() for each in parts])
    inside = torch.stack([each.isfinite() for each in log_probs.values()]).all(0)
    if not bool(inside.any()):
        raise ValueError("no row lies in the support of every run: they cannot be compared")
    log_probs = {name: each[inside] for name, each in log_probs.items()}
    weight = None if weight is None else weight[inside]

    def rank(name: str) -> tuple[int, float]:
        return accountings[name].num_outside, -float(mean_of(log_probs[name], weight))

    best, *_ = names = sorted(log_probs, key=rank)
    return [
        Compared(
            name,
            _estimate(-log_probs[name], weight),
            None if name == best else _estimate(log_probs[best] - log_probs[name], weight),
            accountings[name],
        )
        for name in names
    ]


def _estimate(values: Tensor, weight: Tensor | None) -> Estimate:
    return Estimate.of(values) if weight is None else WeightedMean().add(values, weight).estimate()


def _require_same_rows(runs: Sequence[Run]) -> None:
    """Refuse runs whose test rows differ: ValueError that names the option that does."""
    first, *others = [_what_decides(run) for run in runs]
    for run, other in zip(runs[1:], others, strict=True):
        for what in sorted(first.keys() | other.keys()):
            if first.get(what) != other.get(what):
                raise ValueError(
                    f"{runs[0].path} and {run.path} cannot be compared: {what} is {first.get(what)!r} in one and "
                    f"{other.get(what)!r} in the other, so their test rows differ"
                )


def _what_decides(run: Run) -> dict[str, Any]:
    """What decides on the test rows of a run."""
    experiment, spec = run.experiment, run.spec
    options = {f"data.{key}": value for key, value in experiment.data.model_dump().items() if key not in OF_TRAINING}
    values = spec.fingerprint.partition("-")[0]  # without the labels
    about = {"the list of columns": spec.columns, "the shape": spec.event_shape, "the table's hash": values}
    return {**options, **about, **({} if spec.schema is None else _measures(spec.schema))}


def _measures(schema: Schema) -> dict[str, object]:
    """The columns of which a row has a probability, or has one at some values, where others have a density."""
    return {
        f"schema.{column.name}": (column.kind, *(column.atoms if column.kind in CONTINUOUS else ()))
        for column in schema.modelled
        if column.kind not in CONTINUOUS or column.atoms
    }


def _names(run_dirs: Sequence[Path]) -> list[str]:
    """The last parts of the paths, or where those are not all different the paths."""
    names = [run.resolve().name for run in run_dirs]
    return names if len(set(names)) == len(names) else [str(run) for run in run_dirs]
