"""Rows that fit a model, and rows brought to its device and precision."""

from __future__ import annotations

from torch import Tensor

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import as_context, as_rows
from marginflow.base.devices import like_model
from marginflow.base.distribution import Distribution
from marginflow.base.shapes import require_rows
from marginflow.data.dataset import Batch, Split, require_split


def fitting(model: Distribution, split: Split | Batch, name: str = "the rows", *, least: int = 1) -> Split:
    """Rows and their context in the shapes that a model takes, see `Distribution`; real where that is meant.

    Args:
        model: a distribution.
        split: the rows.
        name: what they are called in messages.
        least: how many rows there must be.

    Returns:
        The rows and their context.

    Raises:
        ValueError: for rows of another shape or not finite, and for a context that is missing, unused, or does not
            fit.
    """
    require_distribution(model)
    x, context = split
    if isinstance(x, Tensor):
        x = as_rows(x, model.event_shape, pixels=model.takes_pixels)
    else:  # rows that are made when they are read
        require_rows(x.shape, model.event_shape)
    given = as_context(context, model.context_features, len(x), optional=model.context_optional)
    require_split(split := Split(x, given), name, least=least)
    return split


def bring_to(model: Distribution, batch: Batch) -> Batch:
    """Rows and context on the model's device and in its precision."""
    x, context = batch
    return Batch(like_model(model, x), None if context is None else like_model(model, context))
