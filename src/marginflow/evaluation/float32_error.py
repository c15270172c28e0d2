"""How far float32 lies from float64: the same rows and the same noise, through the same model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Distribution, optional
from marginflow.base.seeds import seeded
from marginflow.data import Batch, Split
from marginflow.data.require import bring_to

MOST_ROWS = 1000  # that are looked at
_DRAWING = {torch.randn, torch.rand, torch.randn_like, torch.rand_like, torch.randint, torch.normal, torch.multinomial}


@dataclass(frozen=True)
class Disagreement:
    """What float32 makes of log p, against float64, in nats a row: the mean and the largest of the differences."""

    num_rows: int
    mean: float
    largest: float


class _Remembered(TorchFunctionMode):
    """Remembers what is drawn at random."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Tensor] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _DRAWING:
            self.draws.append(result)
        return result


class _Again(TorchFunctionMode):
    """Gives what was drawn before, in the precision that is asked for."""

    def __init__(self, draws: list[Tensor]) -> None:
        super().__init__()
        self.draws: Iterator[Tensor] = iter(draws)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in _DRAWING:
            return result
        draw = next(self.draws, None)
        if draw is None or draw.shape != result.shape:
            raise ValueError("this model draws other noise in float64 than in float32: their log p cannot be compared")
        return draw.to(result)


def disagreement(model: Distribution, split: Split, seed: int = 0) -> Disagreement | None:
    """How far log p in float32 lies from that in float64, for 1,000 rows spread over all, or 250 of images.

    Where the model draws noise, both draw the same. None for a model that is in float64 already.
    """
    like = next(model.parameters(), None)
    if like is None or like.dtype == torch.float64:
        return None
    most = min(MOST_ROWS, rows_at_once(model))
    some = torch.linspace(0, len(split.x) - 1, min(len(split.x), most)).long()
    x, context = split.take(some)
    given = Batch(x, None if model.context_optional else context)
    with torch.no_grad(), evaluation_mode(model):
        x, context = bring_to(model, given)
        with seeded(seed), _Remembered() as first:
            single = model.log_prob(x, *optional(context))
        exact = copy.deepcopy(model).double()
        x, context = bring_to(exact, given)  # not those of above, which float32 may have rounded
        with seeded(seed), _Again(first.draws):
            double = exact.log_prob(x, *optional(context))
    apart = (single.double() - double).abs()
    if not bool(torch.isfinite(apart).all()):
        raise FloatingPointError(
            "log p is finite in float32 and not in float64, or the other way: the model has diverged"
        )
    return Disagreement(len(x), float(apart.mean()), float(apart.max()))
