"""What a validation comes to: its mean, a mean that few rows cannot move, and the rows that weigh most."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from marginflow.base.weighted_mean import mean_of

LEAST_ROWS = 20  # of which one can be told to stand out
SPREADS = 10.0  # by which a row that weighs most stands above the rest,
SHARE = 0.1  # and of a spread that such rows add to the mean
NAMED = 5


class Recorded:
    """A log density that also keeps what it gave, row after row.

    weight: of the rows (N,); None where all count the same.
    """

    def __init__(self, log_prob: Callable[..., Tensor], weight: Tensor | None = None) -> None:
        self.log_prob = log_prob
        self.weight = None if weight is None else weight.double().cpu()
        self.parts: list[Tensor] = []

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        log_prob = self.log_prob(x, context)
        self.parts.append(log_prob.detach().double().cpu())
        return log_prob

    @property
    def nll(self) -> Tensor:
        """-log p of all rows so far, (N,), in nats."""
        return -torch.cat(self.parts) if self.parts else torch.zeros(0, dtype=torch.float64)

    @property
    def robust_mean(self) -> float | None:
        """See the function of that name; None without rows."""
        return robust_mean(self.nll, self.weight) if self.parts else None


def robust_mean(nll: Tensor, weight: Tensor | None = None) -> float:
    """The mean of (N,) values, the ceil(N / 100) largest of which count as the largest of the others.

    1/N sum_i min(nll_i, c),  c = the (ceil(N / 100) + 1)-th largest; weighted where rows have weights
    """
    return float(mean_of(_capped(nll), weight))


def heaviest(nll: Tensor) -> tuple[int, ...]:
    """The numbers of the rows that dominate a mean, at most five; none where no few rows do.

    They lie 10 standard deviations of the capped values, see `robust_mean`, or more above the cap, and all above it
    add more than a tenth of one to the mean.
    """
    if len(nll) < LEAST_ROWS:
        return ()
    capped = _capped(nll)
    above, spread = nll - capped, float(capped.std())
    if float(above.mean()) <= SHARE * spread:
        return ()
    order = above.argsort(descending=True)[:NAMED]
    return tuple(int(row) for row in order if float(above[row]) > SPREADS * spread)


def _capped(nll: Tensor) -> Tensor:
    cap = nll.topk(min(math.ceil(len(nll) / 100) + 1, len(nll))).values[-1]
    return nll.clamp(max=cap)


def not_finite(log_prob: Tensor, rows: Tensor, name: str) -> str:
    """Which rows have no finite log p, in words; nothing where all have.

    rows: their numbers. name: of their split.
    """
    log_prob = log_prob.detach().cpu()
    outside, nan = rows[log_prob.isinf()], rows[log_prob.isnan()]
    if len(outside):
        return (
            f"log p is infinite for {len(outside)} of {len(rows)} rows, {name} {named(outside)}, which lie outside the "
            "support or too far out; "
        )
    if len(nan):
        which = "all" if len(nan) == len(rows) else f"{len(nan)} of"
        where = "" if len(nan) == len(rows) else f", {name} {named(nan)}"
        return f"log p is NaN for {which} {len(rows)} rows{where}; "
    return ""


def named(rows: Tensor) -> str:
    """Numbers of rows in words, the first five."""
    shown = ", ".join(str(int(row)) for row in rows[:NAMED])
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{', ...' if len(rows) > NAMED else ''} (counted from 0)"
