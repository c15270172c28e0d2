"""Samples that can be used: those that are flagged are drawn again, and counted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.distributions import Distribution, check_num_samples, evaluation_mode, not_finite, rows_at_once
from marginflow.evaluation import levels_of

REDRAWS = 10  # of a sample, until it is kept as it is
MOST_NUMBERS = 2**19  # drawn together


@dataclass(frozen=True)
class Samples:
    """Samples x (num_samples, *event), all of them finite, and what it took to draw them.

    redrawn: draws that were flagged, and drawn again. kept: samples among x that are still flagged: finite, but what
    float32 made of their noise is more than 1e-3 away from it, so that they are not quite draws from the density.
    """

    x: Tensor
    redrawn: int
    kept: int


def sample(model: Distribution, num_samples: int, context: Tensor | None = None, *, redraws: int = REDRAWS) -> Samples:
    """Samples of a model, with those drawn again that float32 cannot invert or that are not finite.

    A sample x = f^-1(z) is flagged where x is not finite or |f(x) - z| > 1e-3, in any dimension, beside |z| where that
    is above 1. The preprocessing in front of the density, which may end in grey levels, is not asked for its way back.
    Where many are flagged what is left is the density cut off there, and no longer all of it.

    model: a distribution, taken in evaluation mode. context: (num_samples, ...), where it takes one; a sample that is
    drawn again keeps its own. redraws: how often each may be.

    Returns `Samples`. Draws come from torch's global generator, some thousands after the others; where nothing is
    flagged the first are those of `model.sample`. FloatingPointError where a sample is still not finite at last; a
    RuntimeWarning where some are still flagged. ValueError where num_samples or redraws is negative, or the context
    does not fit.

    >>> from marginflow import models
    >>> drawn = sample(models.maf(2, hidden=[16], blocks=2), 5)
    >>> drawn.x.shape, drawn.redrawn, drawn.kept
    (torch.Size([5, 2]), 0, 0)
    """
    check_num_samples(num_samples)
    if redraws < 0:
        raise ValueError(f"redraws must not be negative; got {redraws}")
    if context is not None and len(context) != num_samples:
        raise ValueError(f"context must have one row for each of the {num_samples} samples; got {len(context)}")
    at_once = samples_at_once(model)
    parts = [
        in_one(model, min(at_once, num_samples - start), None if context is None else context[start : start + at_once],
               redraws)
        for start in range(0, max(num_samples, 1), at_once)
    ]  # fmt: skip
    found = Samples(
        torch.cat([each.x for each in parts]), sum(each.redrawn for each in parts), sum(each.kept for each in parts)
    )
    if found.kept:
        warnings.warn(
            f"{found.kept} of {num_samples} samples do not come back to their noise within 1e-3", RuntimeWarning,
            stacklevel=2,
        )  # fmt: skip
    return found


def samples_at_once(model: Distribution) -> int:
    """How many samples are drawn together: fewer of many features, whose splines and mixtures take memory for each."""
    features = 1 if model.event_shape is None else max(1, model.event_shape.numel())
    return max(1, min(rows_at_once(model), MOST_NUMBERS // features))


@torch.no_grad()
def in_one(model: Distribution, num_samples: int, context: Tensor | None, redraws: int = REDRAWS) -> Samples:
    """`sample`, all of them at once, without a warning."""
    with evaluation_mode(model):
        x, flagged, broken = _draw(model, num_samples, context)
        redrawn = 0
        for _ in range(redraws):
            again = flagged.nonzero().flatten()
            if len(again) == 0:
                break
            redrawn += len(again)
            own = None if context is None else context[again]
            x[again], flagged[again], broken[again] = _draw(model, len(again), own)
    lost = int(broken.sum())
    if lost:
        raise FloatingPointError(
            f"{lost} of {num_samples} samples are not finite, each drawn {redraws + 1} times: the model has diverged, "
            "train it with a lower lr, or bound its scales"
        )
    return Samples(x, redrawn, int(flagged.sum()))


def _draw(model: Distribution, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Samples brought to what the rows are; which are flagged, and which of these are not finite."""
    preprocessing, density = levels_of(model)
    rows, flagged = density.sample_and_flag(num_samples, context)
    broken = not_finite(rows)
    whole = ~broken.view(-1, *[1] * (rows.ndim - 1))
    rows = torch.where(whole, rows, torch.zeros_like(rows))  # not a number would become a black picture
    x, _ = preprocessing.inverse(rows, context)
    broken = broken | not_finite(x)
    return x, flagged | broken, broken
