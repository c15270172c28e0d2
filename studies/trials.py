"""What studies of many trainings share: models of one size, and means over seeds as the cells of a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from marginflow.runs.build import build


def num_parameters(settings: Any, spec: Any) -> int:
    return sum(parameter.numel() for parameter in build(settings, spec).parameters())


def largest_within(budget: int, count: Callable[[int], int], size: int) -> int:
    """The largest size, at most `size`, with as many parameters as the budget or fewer; 1 where none has."""
    while size > 1 and count(size) > budget:
        size -= 1
    return size


def value(row: dict[str, Any], key: str = "importance_weighted") -> float:
    """Bits a dimension of images, nats a row of toys."""
    evaluation = row["evaluation"]
    if evaluation["bits_per_dim"] is not None:
        return evaluation["bits_per_dim" if key == "importance_weighted" else "bits_per_dim_bound"]["value"]
    return evaluation[key]["value"] - evaluation["log_det"]["value"]


def _error(values: list[float]) -> float:
    """The standard error of the mean over seeds."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def cell(rows: list[dict[str, Any]], plain: list[dict[str, Any]] | None) -> str:
    """Mean over seeds and its standard error; bold where better than the plain flow, seed by seed, by two errors."""
    values = [value(row) for row in rows]
    mean, error = statistics.mean(values), _error(values)
    text = f"{mean:.3f} ± {error:.3f}"
    if any(not row["evaluation"]["converged"] for row in rows):
        text += " †"
    if plain:
        gains = [value(b) - value(a) for a, b in zip(rows, plain, strict=True)]
        gain, spread = statistics.mean(gains), _error(gains)
        if gain > 2 * spread:
            text = f"**{text}**"
    return text
