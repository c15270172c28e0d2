"""arfpy's adversarial random forest, its leaves as a density on the measure of the schema: approximate.

    p(x) = mean over trees of  share of the rows in the leaf of x  times  product over columns of p(x_j | leaf)

arfpy grows and prunes the forest. In a leaf a column of levels has its shares, smoothed by those of the table as if it
stood there `PRIOR` times more, and a column of numbers a normal distribution cut off at the edges of the leaf, as arfpy
has it: on a grid its mass in the cell of x, else its density. A cell that a split cuts counts in one leaf alone, so
that probabilities add up to 1 at most. A least deviation takes the place of arfpy's 0 where all values are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr, logsumexp
from torch import Tensor

from benchmarks.tables.fitted import CannotTake, Fitted, as_rows
from benchmarks.tables.measure import Task
from marginflow.data.schema import LEVELLED, Column, Schema

PRIOR = 1.0
LEAST_STEPS, LEAST_SHARE = 0.25, 1e-3  # the least deviation: in steps of a grid, of the deviation of a real column


@dataclass(frozen=True)
class Leaf:
    """Of a tree, arrays over its leaves, or over leaves and columns.

    Attributes:
        place: of each node among the leaves.
        share: of the training rows (L,).
        low, high: the edges (L, D).
        mean, deviation: of the training rows (L, D).
        levels: log of the smoothed share of each level, blanks the last (L, levels), by the place of the column.
    """

    place: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    levels: dict[int, np.ndarray]


class Forest:
    """The leaves of a forest as a density of rows."""

    def __init__(self, trees: Any, rows: np.ndarray, schema: Schema) -> None:
        self.trees, self.columns = trees, schema.modelled
        x = _codes(rows, self.columns)
        found = trees.apply(x.astype(np.float32))
        self.leaves = [
            _leaf(tree.tree_, nodes, x, self.columns) for tree, nodes in zip(trees.estimators_, found.T, strict=True)
        ]

    def log_prob(self, x: Tensor) -> np.ndarray:
        """log p of each row."""
        rows = _codes(x.numpy(), self.columns)
        nodes = self.trees.apply(rows.astype(np.float32))
        parts = [self._in_tree(leaf, leaf.place[of], rows) for leaf, of in zip(self.leaves, nodes.T, strict=True)]
        return logsumexp(np.stack(parts), axis=0) - np.log(len(parts))

    def sample(self, number: int, seed: int) -> Tensor:
        """Rows: a tree, a leaf by its share, and each column in it."""
        rng = np.random.default_rng(seed)
        found = np.empty((number, len(self.columns)))
        tree = rng.integers(len(self.leaves), size=number)
        for i, leaf in enumerate(self.leaves):
            rows = np.flatnonzero(tree == i)
            places = rng.choice(len(leaf.share), len(rows), p=leaf.share / leaf.share.sum())
            for j, column in enumerate(self.columns):
                found[rows, j] = _drawn(leaf, places, j, column, rng)
        return as_rows(found)

    def _in_tree(self, leaf: Leaf, at: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """log p of rows in their leaves (N,); -inf where no training row is in the leaf."""
        with np.errstate(divide="ignore"):
            total = np.log(leaf.share[at])
        for j, column in enumerate(self.columns):
            if j in leaf.levels:
                total = total + leaf.levels[j][at, rows[:, j].astype(np.int64)]
            else:
                total = total + _log_normal(leaf, at, j, rows[:, j], on_grid=column.grid is not None)
        return total


def random_forest(task: Task) -> Fitted:
    """arfpy's forest in its default settings, fitted to all rows to train on."""
    schema = task.schema
    numbers = [each for each in schema.modelled if each.kind not in LEVELLED]
    wrong = [each for each in numbers if each.blank or (each.atoms and each.grid is None)]
    if wrong:
        raise CannotTake(f"{len(wrong)} columns of numbers have blanks, or spikes among real numbers")
    rows = task.rows_to_train_on.numpy()
    grown = _grown(rows, schema, task.seed)
    return Fitted(Forest(grown.clf, rows, schema), {"trees": grown.num_trees, "iterations": len(grown.acc)})


def _grown(rows: np.ndarray, schema: Schema, seed: int) -> Any:
    import pandas as pd

    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # noqa: NPY201  # pyright: ignore - arfpy 0.1.1 calls it by the name that numpy 2.4 no longer has
    from arfpy import arf  # pyright: ignore[reportMissingImports]

    x = _codes(rows, schema.modelled)
    frame = pd.DataFrame({f"c{j}": column for j, column in enumerate(x.T)})
    np.random.seed(seed)  # noqa: NPY002 - which arfpy draws from
    return arf.arf(frame, verbose=False, random_state=seed, n_jobs=1)


def _codes(rows: np.ndarray, columns: tuple[Column, ...]) -> np.ndarray:
    """Rows as numbers without blanks: a blank of a column of levels is one more level."""
    found = rows.copy()
    for j, column in enumerate(columns):
        if column.kind in LEVELLED:
            found[:, j] = np.where(np.isnan(rows[:, j]), len(column.levels), rows[:, j])
    return found


def _leaf(tree: Any, nodes: np.ndarray, x: np.ndarray, columns: tuple[Column, ...]) -> Leaf:
    low, high = _edges(tree, x.shape[1])
    own, at, counts = np.unique(nodes, return_inverse=True, return_counts=True)
    place = np.full(tree.node_count, len(own))
    place[own] = np.arange(len(own))  # a node without training rows is the last, of share 0
    least = np.array([LEAST_STEPS if each.grid else LEAST_SHARE * x[:, j].std() for j, each in enumerate(columns)])
    mean = np.stack([np.bincount(at, column) / counts for column in x.T], 1)
    squares = np.stack([np.bincount(at, (column - mean[at, j]) ** 2) for j, column in enumerate(x.T)], 1)
    deviation = np.maximum(np.sqrt(squares / np.maximum(counts - 1, 1)[:, None]), least)
    levels = {}
    for j, column in enumerate(columns):
        if column.kind in LEVELLED:
            codes, number = x[:, j].astype(np.int64), column.num_points
            each = np.bincount(at * number + codes, minlength=len(own) * number).reshape(len(own), number)
            prior = _prior(codes, number, low[own, j], high[own, j])
            with np.errstate(divide="ignore"):
                levels[j] = _and_none(np.log((each + PRIOR * prior) / (counts + PRIOR)[:, None]))
    edges = _and_none(low[own], -np.inf), _and_none(high[own], np.inf)
    return Leaf(place, _and_none(counts / len(x)), *edges, _and_none(mean), _and_none(deviation, 1.0), levels)


def _prior(codes: np.ndarray, number: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The shares of the levels of a table among those that lie within the edges of each leaf (L, levels)."""
    whole = np.bincount(codes, minlength=number) + 1 / number
    inside = (low[:, None] < np.arange(number)) & (np.arange(number) <= high[:, None])
    return whole * inside / (whole * inside).sum(1, keepdims=True)


def _and_none(values: np.ndarray, none: float = 0.0) -> np.ndarray:
    """Values of leaves, and one for a leaf without rows."""
    return np.concatenate([values, np.full_like(values[:1], none)])


def _edges(tree: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges of each node (nodes, D); a pruned node has one child twice, whose edges are its own."""
    low, high = np.full((tree.node_count, number), -np.inf), np.full((tree.node_count, number), np.inf)
    waiting = [0]
    while waiting:
        node = waiting.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left < 0:
            continue
        for child in {left, right}:
            low[child], high[child] = low[node], high[node]
            waiting.append(child)
        if left != right:
            high[left, tree.feature[node]] = low[right, tree.feature[node]] = tree.threshold[node]
    return low, high


def _log_normal(leaf: Leaf, at: np.ndarray, j: int, x: np.ndarray, *, on_grid: bool) -> np.ndarray:
    """log of the mass of a cell, or of the density, of a normal distribution cut off at the edges of the leaf."""
    mean, deviation, low, high = (each[at, j] for each in (leaf.mean, leaf.deviation, leaf.low, leaf.high))
    a, b = (low - mean) / deviation, (high - mean) / deviation
    whole = _log_between(a, b)
    z = (x - mean) / deviation
    if not on_grid:
        return -0.5 * z**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi) - whole
    half = 0.5 / deviation
    return _log_between(np.maximum(z - half, a), np.minimum(z + half, b)) - whole


def _log_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log of Phi(b) - Phi(a), exact in both tails."""
    flipped = a > 0
    a, b = np.where(flipped, -b, a), np.where(flipped, -a, b)
    upper, lower = log_ndtr(b), log_ndtr(a)
    with np.errstate(divide="ignore"):
        return upper + np.log(-np.expm1(np.minimum(lower - upper, 0)))


def _drawn(leaf: Leaf, places: np.ndarray, j: int, column: Column, rng: np.random.Generator) -> np.ndarray:
    """A column in leaves (N,)."""
    from scipy.stats import truncnorm

    if j in leaf.levels:
        gumbel = leaf.levels[j][places] + rng.gumbel(size=(len(places), leaf.levels[j].shape[1]))
        codes = gumbel.argmax(1).astype(np.float64)
        return np.where(codes == len(column.levels), np.nan if column.blank else 0.0, codes)
    mean, deviation, low, high = (each[places, j] for each in (leaf.mean, leaf.deviation, leaf.low, leaf.high))
    edges = (low - mean) / deviation, (high - mean) / deviation
    x = truncnorm(*edges, loc=mean, scale=deviation).rvs(len(places), random_state=rng)
    return np.rint(x) if column.grid is not None else x
