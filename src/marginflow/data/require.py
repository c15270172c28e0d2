"""Rows that fit a model, and rows brought to its device and precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import as_rows
from marginflow.base.devices import like_of, to_like
from marginflow.base.distribution import Distribution
from marginflow.base.frames import by_name
from marginflow.base.shapes import require_rows
from marginflow.data.dataset import Batch, Split, require_split


def fitting(
    model: Distribution,
    split: Split | Batch,
    name: str = "the rows",
    *,
    least: int = 1,
    columns: Sequence[str] = (),
    one_of_several: bool = False,
) -> Split:
    """Rows and their context in the shapes that a model takes, see `Distribution`; real where that is meant.

    Args:
        model: a distribution.
        split: the rows.
        name: what they are called in messages.
        least: how many rows there must be.
        columns: the names of the features, by default those that the model was trained on.
        one_of_several: whether more rows follow, so that the weights of these may all be 0.

    Returns:
        The rows and their context.

    Raises:
        ValueError: for rows of another shape or not finite, and for a context that is missing, unused, or does not
            fit.
    """
    require_distribution(model)
    x, context, weight = split
    if any(isinstance(each, Tensor) and each.is_meta for each in (x, context)):
        raise ValueError(f"{name} lie on the meta device, which holds no numbers: give them on another")
    x = by_name(x, model.spec.columns if model.spec is not None else (), 3)
    if isinstance(x, Tensor | np.ndarray):
        x = as_rows(x, model.event_shape, pixels=model.takes_pixels, dtype=torch.float64)
    else:  # rows that are made when they are read
        require_rows(x.shape, model.event_shape)
    given = model._fitting_context(context, len(x), None)
    blanks = model.takes_blanks, model.encodes_context
    require_split(split := Split(x, given, weight), name, least=least, blanks=blanks, one_of_several=one_of_several)
    if isinstance(x, Tensor):
        names = columns or (model.spec.columns if model.spec is not None else ())
        model._warn_of_lost_digits(x, like_of(model), 3, names)
    return split


def bring_to(model: Distribution, batch: Batch) -> Batch:
    """Rows and context on the model's device and in its precision; rows in float64 where it takes that."""
    (x, context, weight), like = batch, like_of(model)
    context, weight = (None if each is None else to_like(each, like) for each in (context, weight))
    return Batch(model._in_precision(x, like), context, weight)
