"""Can boosted trees tell samples from rows: the area under the curve of rows they have not seen, 1/2 if not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from marginflow.data import Schema
from marginflow.data.schema import LEVELLED

SEEDS = 5  # of the trees and the halves
HALVES = 2  # each is judged by trees that are fitted to the other
LEAST = 40  # rows of each kind; trees hold at least 20 rows a leaf
BINS = 255  # of the trees: levels beyond these are taken by their rank in frequency, as numbers
Plain = Mapping[str, np.ndarray]  # by the name of the column: numbers as in the file, levels as text, None where blank


def plain(rows: Tensor, schema: Schema) -> dict[str, np.ndarray]:
    """Rows of a schema as the file has them, so that rows of several schemas stand together."""
    found = {}
    for values, column in zip(rows.double().numpy().T, schema.modelled, strict=True):
        if column.kind in LEVELLED:
            labels = np.array([*column.levels, None], dtype=object)
            found[column.name] = labels[np.where(np.isnan(values), len(column.levels), values).astype(np.int64)]
        else:
            found[column.name] = values if column.grid is None else column.grid.values(values)
    return found


def together(tables: Sequence[Plain]) -> dict[str, np.ndarray]:
    """Rows behind rows, of the columns that all have as the same type."""
    same = [name for name in tables[0] if len({each[name].dtype if name in each else None for each in tables}) == 1]
    return {name: np.concatenate([each[name] for each in tables]) for name in same}


def two_sample(samples: Plain, rows: Plain, *, seeds: int = SEEDS) -> dict[str, Any] | None:
    """How well trees tell samples from rows.

    Args:
        samples: drawn from a density.
        rows: of the table; of samples and rows the first are taken, as many as there are of both.
        seeds: how often, each with other halves.

    Returns:
        "auc", its mean over seeds, "deviation" between them, "scale" = 1 - (2 max(auc, 1/2) - 1), as published (1:
        cannot be told apart), and "rows" of each; None where they are too few.
    """
    number = min(len(next(iter(each.values()))) for each in (samples, rows))
    if number < LEAST:
        return None
    columns = [_as_input(np.concatenate([samples[name][:number], rows[name][:number]])) for name in rows]
    x, levelled = np.stack([each for each, _ in columns], 1), [each for _, each in columns]
    label = np.repeat([0, 1], number)
    found = [_auc(x, levelled, label, seed) for seed in range(seeds)]
    auc = statistics.fmean(found)
    deviation = statistics.stdev(found) if len(found) > 1 else 0.0
    return {"auc": auc, "deviation": deviation, "scale": published(auc), "rows": number}


def published(auc: float) -> float:
    """The scale on which 1 says that samples cannot be told from rows.

    >>> published(0.5), published(0.45), published(1.0)
    (1.0, 1.0, 0.0)
    """
    return 1 - (2 * max(auc, 0.5) - 1)


def _auc(x: np.ndarray, levelled: Sequence[bool], label: np.ndarray, seed: int) -> float:
    """Of rows that the trees of the other half have not seen."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    score = np.empty(len(x))
    for train, test in StratifiedKFold(HALVES, shuffle=True, random_state=seed).split(x, label):
        options: dict[str, Any] = {"categorical_features": list(levelled), "random_state": seed}
        trees = HistGradientBoostingClassifier(**options)
        score[test] = trees.fit(x[train], label[train]).decision_function(x[test])
    return float(roc_auc_score(label, score))


def _as_input(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """A column as numbers for trees, and whether these are the codes of levels; NaN where blank."""
    if values.dtype != object:
        return values.astype(np.float64), False
    blank = np.array([each is None for each in values])
    _, codes, counts = np.unique(values[~blank].astype(str), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts))
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    found = np.full(len(values), np.nan)
    found[~blank] = rank[codes]
    return found, len(counts) <= BINS
