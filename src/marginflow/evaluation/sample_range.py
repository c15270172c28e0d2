"""Samples out of the range of the data: how many, and in which layer and dimension it began."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.base.wrapper import innermost
from marginflow.data import Batch, Column, Schema
from marginflow.data.require import bring_to
from marginflow.distributions import Flow
from marginflow.evaluation.layer_outputs import by_layer, layers_of

FAR = 3.0  # a value is far out where it is so many times as far from the middle of the range as its ends are
SIZE = 250  # samples drawn at once


@dataclass(frozen=True)
class SampleRange:
    """Which part of a model's samples is out of the range of test rows, both as the density sees them.

    The range is that of all values of all test rows. Constant rows count as a range of width 2. Rows of a table's
    schema hold numbers each of which has a range of its own, that of the training rows.

    Attributes:
        num_samples: how many samples were drawn.
        diverged: share of the samples that hold a value that is not finite or far out of range, three times as far
            from its middle as its ends.
        saturated: share of the values that are out of range, which for images become black or full in their channel.
        by_column: whether each number has a range of its own.
    """

    num_samples: int
    diverged: float
    saturated: float
    by_column: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a sample left the range.

    Attributes:
        sample: its number among those drawn.
        layer: the first from z to x whose output is far out of the range that test rows have there.
        dimension: which of its dimensions is the furthest.
        value: of that dimension.
        limit: the largest |value| of a test row there.
    """

    sample: int
    layer: str
    dimension: int
    value: float
    limit: float


def sample_range(model: Distribution, test: Batch, num_samples: int = 500, seed: int = 0) -> SampleRange:
    """How many of `num_samples` samples of a model are out of range, against test rows as given.

    Args:
        model: a distribution.
        test: the rows that give the range.
        num_samples: how many.
        seed: of all draws.

    Returns:
        The shares of samples and of values out of range; of rows of a schema against that.

    Raises:
        ValueError: for a model that needs a context.
    """
    preprocessing, density = model.preprocessing, model.density
    if model.context_features and not model.context_optional:
        raise ValueError("samples of this model need a context each, so their share out of range is not one number")
    with seeded(seed), evaluation_mode(model), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*samples are not finite", RuntimeWarning)  # they are what is counted
        rows = torch.cat([preprocessing(bring_to(model, Batch(x)).x, None)[0] for x in test.x.split(SIZE)])
        drawn = torch.cat([density.sample(min(SIZE, num_samples - done)) for done in range(0, num_samples, SIZE)])
    if model.schema is not None:
        return range_by_column(drawn, model.schema)
    distance = _distance(drawn, rows)
    return SampleRange(
        num_samples, float((distance > FAR).any(1).double().mean()), float((distance > 1).double().mean())
    )


def range_by_column(drawn: Tensor, schema: Schema) -> SampleRange:
    """How many of the drawn rows, and of the numbers in them, are out of the range of the training rows; no blank is.

    Args:
        drawn: rows of the schema (N, D).
        schema: with the statistics of training rows.

    Returns:
        The shares.
    """
    ranges = {i: range_of(column) for i, column in enumerate(schema.modelled) if not column.levels}
    numbers = drawn[:, list(ranges)].double().cpu()
    low, high = torch.tensor([*ranges.values()], dtype=torch.float64).reshape(-1, 2).T
    half = torch.where(high > low, (high - low) / 2, 1.0)
    distance = torch.where(numbers.isnan(), 0.0, (numbers - (low + high) / 2).abs() / half)
    diverged = float((distance > FAR).any(1).double().mean())
    return SampleRange(len(drawn), diverged, float((distance > 1).double().mean()) if ranges else 0.0, by_column=True)


def range_of(column: Column) -> tuple[float, float]:
    """The least and the largest number of a column in the training rows."""
    known = [*column.quantiles[:1], *column.quantiles[-1:], *column.atoms]
    return (min(known), max(known)) if known else (-math.inf, math.inf)


def share_far(x: Tensor, rows: Tensor) -> float:
    """The share of x (N, ...) that holds a value that is not finite or far out of the range of rows (M, ...)."""
    return float((_distance(x, rows) > FAR).any(1).double().mean())


def _distance(x: Tensor, rows: Tensor) -> Tensor:
    """How far each value lies from the middle of the range of all values of rows, 1 at its ends: (N, D)."""
    low, high = rows.aminmax()
    middle, half = (low + high) / 2, (high - low) / 2 if high > low else 1.0
    return (x.flatten(1) - middle).abs().nan_to_num(torch.inf, torch.inf) / half


@torch.no_grad()
def origins(model: Distribution, test: Batch, num_samples: int = 500, seed: int = 0) -> list[Origin]:
    """Where each sample of a flow of layers that is far out of range left it, from z to x.

    A dimension of an image is its number when the image is flattened.

    Args:
        model: a distribution.
        test: the rows that give the range of each layer, and their contexts, which the samples get in turn.
        num_samples: how many.
        seed: of all draws.

    Returns:
        One `Origin` for each sample far out of range, in their order.

    Raises:
        ValueError: for a density that has no layers.
    """
    preprocessing, density = model.preprocessing, model.density
    stages = by_layer(model, test.x, test.context, seed)
    limits = {name: float(rows.abs().max()) for name, rows in stages.items()}
    some = torch.arange(num_samples) % len(test.x)  # whose contexts the samples get
    rows, context = model._fitting(test.x[some], None if test.context is None else test.context[some])
    with seeded(seed), evaluation_mode(model):
        inner, _, context = innermost(density, preprocessing(rows, context)[0], context)
    if not isinstance(inner, Flow):
        raise ValueError(f"{type(inner).__name__} has no layers to trace a sample through")
    names, layers = list(stages), layers_of(inner.transform)
    found: dict[int, Origin] = {}
    with seeded(seed), evaluation_mode(model):
        x = inner.base._sample(num_samples, context)
        for i in reversed(range(len(layers))):
            x, _ = layers[i].inverse(x, context)
            size = x.flatten(1).abs().nan_to_num(torch.inf, torch.inf)
            limit = limits[names[i]]
            for sample in (size > FAR * limit).any(1).nonzero().flatten().tolist():
                if sample not in found:
                    found[sample] = _origin(sample, names[i + 1], size[sample], x.flatten(1)[sample], limit)
    return [found[sample] for sample in sorted(found)]


def _origin(sample: int, layer: str, size: Tensor, value: Tensor, limit: float) -> Origin:
    furthest = int(size.argmax())
    return Origin(sample, layer, furthest, float(value[furthest]), limit)
