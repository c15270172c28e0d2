"""Where a density over pixels keeps what its grey levels do not add up to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.transform import Transform
from marginflow.distributions import Flow
from marginflow.evaluation.check.integral import BEYOND, ERRORS, Integral
from marginflow.transforms import Dequantise, Logit, Sequential

DRAWS = 20_000  # of reals, to see how many lie beyond the grey levels


def with_open_ends(integral: Integral, model: Distribution, context: Tensor | None) -> Integral:
    """An integral below 1, as `open` where the rest lies beyond the grey levels, or may lie there.

    The sum over levels is what a density of reals has on [0, 1)^D. Samples of those reals tell how much lies outside;
    where they cannot be drawn, a logit that leaves the ends open does.

    Args:
        integral: the sum over all values.
        model: the density over pixels.
        context: one row (1, ...), or None.

    Returns:
        The integral, `open` or as it was.
    """
    if not integral.wrong or integral.value > 0:
        return integral
    share = _share_beyond(model, context)
    if share is None:
        return replace(integral, open=widest_alpha(model) > 0)
    inside = math.exp(integral.value)
    error = ERRORS * math.sqrt(share * (1 - share) / DRAWS) + integral.half * inside
    return replace(integral, open=share > 0 and abs(inside + share - 1) - error <= BEYOND)


def widest_alpha(model: Distribution) -> float:
    """The largest alpha of logits in a model; 0 without one."""
    return max((part.alpha for part in model.modules() if isinstance(part, Logit)), default=0.0)


def remedy_of(model: Distribution) -> str:
    """What closes the ends."""
    alpha = widest_alpha(model)
    where = "the missing part lies beyond the grey levels"
    if alpha > 0:
        return f"{where}, which Logit({alpha:g}) leaves open: use a smaller alpha, preprocess.logit = 1e-6"
    return f"{where}: put Logit(1e-6) behind Dequantise, preprocess.logit = 1e-6"


@torch.no_grad()
def _share_beyond(model: Distribution, context: Tensor | None) -> float | None:
    """The share of dequantised samples that have a value outside [0, 1); None where they cannot be drawn."""
    if not isinstance(model, Flow):
        return None
    layers = list(_single(model.transform))
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Dequantise)]
    if len(places) != 1:
        return None
    given = None if context is None else context.expand(DRAWS, *context.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        reals, _ = Sequential(*layers[places[0] + 1 :]).inverse(model.base._sample(DRAWS, given), given)
    return float(((reals < 0) | (reals >= 1)).flatten(1).any(1).double().mean())


def _single(transform: Transform) -> Iterator[Transform]:
    """Transforms one after the other, none of them a sequence."""
    if isinstance(transform, Sequential):
        for each in transform:
            yield from _single(each)
    else:
        yield transform
