"""How far float32 lies from float64: the same rows and the same noise, through the same model."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.base.noise_sites import draw_noise
from marginflow.base.seeds import seeded
from marginflow.data import Split
from marginflow.data.dataset import spread_rows

MOST_ROWS = 1000  # that are compared


@dataclass(frozen=True)
class Disagreement:
    """What float32 makes of log p, against float64.

    Attributes:
        num_rows: how many rows were compared.
        mean: of the differences, in nats a row.
        largest: of the differences, in nats.
        num_overflown: how many rows more are so far out that log p is a number in float64 alone.
    """

    num_rows: int
    mean: float
    largest: float
    num_overflown: int = 0


def disagreement(model: Distribution, split: Split, seed: int = 0) -> Disagreement | None:
    """How far log p in float32 lies from that in float64, for 1,000 rows spread over all, or 250 of images.

    Where the model draws noise, both draw the same.

    Args:
        model: a distribution.
        split: rows and their context.
        seed: of the noise.

    Returns:
        The differences; None for a model that is in float64 already, or where no row lies in its support.

    Raises:
        ValueError: for a model whose draws of noise cannot be repeated.
        FloatingPointError: where log p of a row is not finite.
    """
    like = next(model.parameters(), None)
    if like is None or like.dtype == torch.float64:
        return None
    most = min(MOST_ROWS, rows_at_once(model))
    some = spread_rows(len(split.x), most)
    x, context, _ = split.take(some)
    context = None if model.context_optional else context
    with torch.no_grad(), evaluation_mode(model):
        with seeded(seed):
            eps = draw_noise(model.noise(x, context))
            before = _random_state()
            single, of_noise = model.log_weight(x, eps, context)
            shown = torch.equal(before, _random_state())
        if not shown:
            raise ValueError(
                "this model draws noise that its `noise` does not show, and other noise in float64 than in float32: "
                "their log p cannot be compared"
            )
        exact = copy.deepcopy(model).double()
        double, of_the_same = exact.log_weight(x, [each.double() for each in eps], context)
    in_single, in_double = (single - of_noise).double(), double - of_the_same
    in_support = ~(in_single.isneginf() & in_double.isneginf())
    overflown = ~in_single.isfinite() & in_double.isfinite()
    apart = (in_single - in_double)[in_support & ~overflown].abs()
    if len(apart) == 0:
        return None
    if not bool(torch.isfinite(apart).all()):
        raise FloatingPointError("log p is finite in float32 and not in float64: the model has diverged")
    return Disagreement(len(apart), float(apart.mean()), float(apart.max()), int(overflown.sum()))


def _random_state() -> torch.Tensor:
    """Where torch's generators stand."""
    return torch.cat([torch.get_rng_state(), *torch.cuda.get_rng_state_all()])
