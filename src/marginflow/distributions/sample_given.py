"""Rows drawn where some columns are given."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.arguments import as_whole
from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.distributions.by_columns import ByColumns, fitting_given, repeated
from marginflow.distributions.importance_weights import effective_sample_size

SECONDS = 60.0  # for which draws are weighed, unless said
FIRST, AT_ONCE = 256, 2**16  # draws for a row to begin with; of several rows together
NUMBERS = 2**26  # of draws that are kept
FEWEST = 20  # draws that must count
SHARE = 0.1  # of the rows asked for, that must count


@dataclass(frozen=True)
class GivenSamples:
    """Rows drawn given some of their columns.

    Attributes:
        x: (num_samples, D), float64, with the given values in their columns.
        exact: whether they are independent draws from the density given these.
        distinct: how many different draws they come from: all, where exact.
        effective_sample_size: the least over the given rows of (sum w)^2 / sum w^2 of the weighted draws that rows are
            taken from; infinite where exact.
        num_draws: how many were weighed.

    Examples:
        >>> from marginflow.distributions import GaussianMixture
        >>> found = sample_given(GaussianMixture(2), 3, torch.zeros(1, 2), [True, False])
        >>> found.exact, found.distinct, found.effective_sample_size
        (True, 3, inf)
    """

    x: Tensor
    exact: bool
    distinct: int
    effective_sample_size: float
    num_draws: int


class TooFewError(ValueError):
    """So few weighted draws count that rows given these columns would be copies of some.

    given: which columns are given.
    """

    def __init__(self, message: str, given: Sequence[bool]) -> None:
        super().__init__(message)
        self.given = list(given)


@torch.no_grad()
def sample_given(
    model: Distribution,
    num_samples: int,
    x: Tensor,
    given: Sequence[bool] | Tensor,
    context: Tensor | None = None,
    *,
    seconds: float = SECONDS,
) -> GivenSamples:
    """Draw rows with the values that some columns are given.

    Where these come first in the order of the density the draws are exact, of mixtures always. Otherwise what is not
    given is drawn in order and weighted, w the product of the factors of given columns, until the effective sample
    size reaches the number of rows or the time is over; rows are taken from them by systematic resampling, and columns
    behind the last one given are drawn for each anew.

    Args:
        model: a density with a factor for each column, `Mixed`, or a mixture, perhaps behind preprocessing.
        num_samples: how many rows.
        x: (M, D), rows whose given columns are taken, in turn; other columns may hold anything.
        given: which columns are given, (D,).
        context: (M, C), where the model takes one.
        seconds: how long draws are weighed.

    Returns:
        `GivenSamples`.

    Raises:
        ValueError: where the model has no factor for each column (a `NoFactorsError`), no row has the given values, or
            fewer than 20 draws count, or than a tenth of the rows asked for (a `TooFewError`).

    References:
        Kitagawa, Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models, 1996.

    Examples:
        >>> from marginflow.distributions import GaussianMixture
        >>> sample_given(GaussianMixture(2), 3, torch.tensor([[1.0, 0.0]]), [True, False]).x[:, 0]
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    number = as_whole(num_samples, "num_samples", least=1)
    density, x, mask, context = fitting_given(model, x, given, context)
    x, context = x[:number], None if context is None else context[:number]
    _require_values(model, x, mask)
    with evaluation_mode(model):
        turn = torch.arange(number, device=x.device) % len(x)
        if density.is_exact(mask):
            found, log_w = density.propose(x[turn], mask, None if context is None else context[turn])
            _require_possible(log_w.isneginf())
            return GivenSamples(found, True, number, math.inf, number)
        return _weighted(density, x, mask, context, torch.bincount(turn, minlength=len(x)), seconds)


def _require_values(model: Distribution, x: Tensor, given: Tensor) -> None:
    """Refuse a blank in a column that cannot be: ValueError."""
    blank = [False] * x.shape[1] if model.schema is None else [each.blank for each in model.schema.modelled]
    wrong = x.isnan().any(0) & given & ~torch.tensor(blank, device=x.device)
    if bool(wrong.any()):
        raise ValueError(f"column {int(wrong.nonzero()[0])} (counted from 0) is NaN, and cannot be blank: give a value")


def _require_possible(never: Tensor) -> None:
    if bool(never.any()):
        raise ValueError(
            f"the given values have no probability together, row {int(never.nonzero()[0])} of what is given (counted "
            "from 0): give others"
        )


def _weighted(
    density: ByColumns, x: Tensor, given: Tensor, context: Tensor | None, counts: Tensor, seconds: float
) -> GivenSamples:
    """Rows by weighted draws: of each row of x so many as counts say, in turn."""
    until, kept, distinct, least, total = time.monotonic() + seconds, [], 0, math.inf, 0
    for first in range(0, len(x), AT_ONCE // FIRST):
        rows = slice(first, first + AT_ONCE // FIRST)
        own = None if context is None else context[rows]
        for draws, log_w, count in _draws(density, x[rows], given, own, counts[rows].tolist(), until):
            chosen = resampled(log_w, count)
            distinct += len(chosen.unique())
            least, total = min(least, float(effective_sample_size(log_w))), total + len(log_w)
            kept.append(draws[chosen])
    found = _in_turn(kept)
    turn = torch.arange(len(found), device=x.device) % len(x)
    if not bool((weighed := density.weighed(given)).all()):
        found, _ = density.propose(found, weighed, None if context is None else context[turn])
    return GivenSamples(found, False, distinct, least, total)


def _draws(
    density: ByColumns, x: Tensor, given: Tensor, context: Tensor | None, counts: list[int], until: float
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Of each row weighted draws, log w of each, and how many rows are asked for."""
    drawn: list[list[Tensor]] = [[] for _ in counts]
    logs: list[list[Tensor]] = [[] for _ in counts]
    left, times = list(range(len(counts))), FIRST
    while left:
        at_once = max(1, AT_ONCE // times)
        for some in (left[i : i + at_once] for i in range(0, len(left), at_once)):
            found, log_w = density.propose(*repeated(x[some], given, None if context is None else context[some], times))
            for i, own, log_own in zip(some, found.split(times), log_w.split(times), strict=True):
                drawn[i].append(own)
                logs[i].append(log_own)
        done = sum(map(len, logs[left[0]]))
        over = time.monotonic() > until or done * len(left) * x.shape[1] >= NUMBERS
        left = [] if over else [i for i in left if effective_sample_size(torch.cat(logs[i])) < max(counts[i], FEWEST)]
        times = min(done, AT_ONCE)  # twice as many in all
    for i, count in enumerate(counts):
        log_w = torch.cat(logs[i])
        _require_enough(log_w, count, given)
        yield torch.cat(drawn[i]), log_w, count


def _require_enough(log_w: Tensor, count: int, given: Tensor) -> None:
    ess = float(effective_sample_size(log_w))
    if ess < max(FEWEST, SHARE * count):
        raise TooFewError(
            f"of {len(log_w):,} draws as few as {ess:.0f} count for {count:,} rows with the given values, and at least "
            f"{max(FEWEST, math.ceil(SHARE * count)):,} must: they lie where the columns before them hardly ever lead",
            given.tolist(),
        )


def resampled(log_w: Tensor, number: int) -> Tensor:
    """Systematic resampling: places (number,) of draws, each as often on average as its weight says, in any order.

    >>> resampled(torch.tensor([0.0, -torch.inf]), 3)
    tensor([0, 0, 0])
    """
    upto = (log_w - log_w.max()).exp().cumsum(0)
    at = (torch.arange(number, dtype=upto.dtype, device=upto.device) + torch.rand(1).to(upto)) / number
    places = torch.searchsorted(upto, at * upto[-1], right=True).clamp_max(len(log_w) - 1)
    return places[torch.randperm(number)]


def _in_turn(parts: Sequence[Tensor]) -> Tensor:
    """The first of each part, then the second of each, ..."""
    order = [(i, part) for part, rows in enumerate(parts) for i in range(len(rows))]
    places = sorted(range(len(order)), key=order.__getitem__)
    return torch.cat(list(parts))[places]
