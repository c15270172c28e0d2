"""What a density integrates to, with an error that is known: by draws, by cells, or by a sum over all values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.devices import rows_at_once, to_like
from marginflow.base.distribution import Distribution
from marginflow.distributions import Flow
from marginflow.distributions.importance_weights import ImportanceWeights
from marginflow.distributions.log_likelihood import log_likelihood_of
from marginflow.evaluation.check import cubature
from marginflow.evaluation.check.proposal import Drawable
from marginflow.transforms import Dequantise

DRAWS, AT_ONCE = 20_000, 5000  # at most, and until they are looked at
OF_MODEL = 10_000  # samples: one half for a proposal, the other to choose it
OF_NOISE = 8  # importance samples a row, of a density that draws noise; their mean is unbiased, whatever their number
ERRORS = 3  # standard errors, on either side
WITHIN = 0.1  # nats: log of the integral of a density passes where all of its interval lies as near to 0
BEYOND = 0.02  # nats: it fails where none of its interval lies as near to 0
EFFECTIVE = 400  # draws, from which a standard error is believed
TIED = 1e-6  # of the largest excess of a weight: those of rows of few values are often the same
HEAVIEST = 0.7  # tail index of weights, up to which a standard error is believed
FINITE, UNSURE = 0.5, 2.0  # tail index without a variance; of a density that is estimated the error is then wider
MOST_VALUES = 20_000  # of pixels, or rows of a table, over which is summed
CELLS_DIMENSIONS = 3


@dataclass(frozen=True)
class Integral:
    """The log of what a density integrates to.

    Attributes:
        value: in nats, 0 for a density.
        half: of the interval around it that is believed, in nats.
        how: it was found, in words.
        doubt: why the interval is not believed; "" where it is.
        least: a lower bound of the value that is believed in any case.
        open: whether what is missing lies where there are no values, as beyond grey levels.
    """

    value: float
    half: float
    how: str
    doubt: str = ""
    least: float = -math.inf
    open: bool = False

    @classmethod
    def unknown(cls, why: str) -> Integral:
        """Without a value."""
        return cls(math.nan, math.inf, "", why)

    @property
    def wrong(self) -> bool:
        """Whether the whole interval lies away from 0, or what is known to lie below."""
        return not self.open and (self.least > BEYOND or (not self.doubt and abs(self.value) - self.half > BEYOND))

    @property
    def right(self) -> bool:
        """Whether the whole interval lies around 0."""
        return not self.doubt and not self.open and not self.wrong and abs(self.value) + self.half <= WITHIN

    def __str__(self) -> str:
        if self.doubt and self.wrong:
            return f"at least {self.least:+.3f} by {self.how}"
        return f"{self.value:+.3f} ± {self.half:.3f} by {self.how}"


class Asked:
    """A density as it is asked here: rows and answers flat, in float64; not a number counts as no density at all.

    Args:
        model: the density.
        context: one row (1, ...), or None.
        like: a sample of it, which tells shape and precision.
    """

    def __init__(self, model: Distribution, context: Tensor | None, like: Tensor) -> None:
        self.model, self.context, self.like = model, context, like
        self.not_numbers = 0

    def rounded(self, rows: Tensor) -> Tensor:
        """Rows (N, D) to the precision in which the density is given them."""
        return rows.to(self.like.dtype).double()

    def log_prob(self, rows: Tensor) -> Tensor:
        """log p, or an estimate of it where the mean over noise of p is unbiased: (N,)."""
        x = to_like(rows.to(self.like).view(-1, *self.like.shape), self.like)
        context = None if self.context is None else self.context.expand(len(x), *self.context.shape[1:])
        result = log_likelihood_of(
            self.model, *self.model._fitting(x, context), 1 if self.model.exact else OF_NOISE, None
        )
        found = result.log_prob.double().cpu()
        self.not_numbers += int(found.isnan().sum())
        return found.nan_to_num(-math.inf, posinf=math.inf, neginf=-math.inf)


def tail_index(log_weights: Tensor) -> float:
    """k of the generalised Pareto distribution of the largest weights: from 1/2 on no variance, from 1 on no mean.

    References:
        Zhang and Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution, 2009.
        Vehtari, Simpson, Gelman, Yao and Gabry, Pareto Smoothed Importance Sampling, 2015 (arXiv 1507.02646): that an
            estimate can be believed up to 0.7, and the prior of ten observations of k = 1/2.
    """
    weights = (log_weights - log_weights.max()).exp().sort().values
    number = tail_size(weights)
    above = (weights[-number:] - weights[-number - 1]).clamp_min(1e-300)
    if float(above[-1]) <= 1e-9:  # all are alike
        return 0.0
    above = above[above > TIED * above[-1]]
    number = len(above)
    grid = 30 + int(number**0.5)
    j = torch.arange(1, grid + 1, dtype=torch.float64)
    b = 1 / above[-1] + (1 - (grid / (j - 0.5)).sqrt()) / (3 * above[(number - 1) // 4])
    k = torch.log1p(-b[:, None] * above).mean(1)
    likelihood = number * ((-b / k).log() - k - 1)
    best = float((b * likelihood.softmax(0)).sum())
    found = float(torch.log1p(-best * above).mean())
    return (number * found + 10 * 0.5) / (number + 10)


def tail_size(weights: Tensor) -> int:
    """How many weights make up their tail."""
    return min(len(weights) // 5, int(3 * len(weights) ** 0.5))


def by_draws(asked: Asked, proposal: Drawable, log_ratio: Tensor) -> tuple[Integral, Tensor, Tensor]:
    """E over q of p / q, its error from the spread of the weights; also the draws and their log weights.

    Draws are added until the interval decides, or there are 20,000.

    Args:
        asked: p.
        proposal: q.
        log_ratio: log p - log q at samples of the model, which tells where q lies too low.

    Returns:
        The integral, the draws (M, D) and their log weights (M,).
    """
    weights, rows, log_weights = ImportanceWeights(1, torch.device("cpu")), [], []
    found = Integral.unknown("nothing was drawn")
    while weights.count < DRAWS and not (found.wrong or found.right):
        x = asked.rounded(proposal.sample(AT_ONCE))
        log_q = proposal.log_prob(x)
        lost = log_q.isneginf()  # by rounding, as at a bound: draws that q holds impossible itself
        log_w = torch.where(lost, -math.inf, asked.log_prob(x) - log_q)
        weights.add(log_w[:, None], log_q[:, None])
        rows.append(x)
        log_weights.append(log_w)
        found = _of_weights(weights, torch.cat(log_weights), log_ratio, asked.model.exact)
    return found, torch.cat(rows), torch.cat(log_weights)


def _of_weights(weights: ImportanceWeights, log_weights: Tensor, log_ratio: Tensor, exact: bool) -> Integral:
    value, _, error, size, _ = (float(each) for each in weights.result())
    count = weights.count
    how = f"{count:,} draws from a proposal, of which {size:,.0f} are effective"
    if not math.isfinite(value):
        some = "infinite at some" if value > 0 else "0 at all"
        return Integral(value, math.inf, how, f"the density is {some} of {count:,} draws from a proposal")
    usable = log_ratio[torch.isfinite(log_ratio)]
    expected = count * math.exp(min(0.0, value - float(torch.logsumexp(usable, 0)) + math.log(max(1, len(usable)))))
    index, doubt = tail_index(log_weights), ""
    if min(size, expected) < EFFECTIVE:
        doubt = (
            f"{min(size, expected):,.0f} of {count:,} draws from a proposal that was fitted to samples are effective, "
            f"and {EFFECTIVE} are needed"
        )
    elif index > HEAVIEST:
        doubt = f"the largest weights of {count:,} draws from a proposal have no error (tail index {index:.2f})"
    if not exact and index > FINITE:  # weights of noise, the largest of which are seldom drawn
        error *= UNSURE
    return Integral(value, ERRORS * error, how, doubt, _least(log_weights))


def _least(log_weights: Tensor) -> float:
    """A lower bound of the log of their mean, however heavy their tail is: of weights that are cut off, with an error.

    References:
        Ionides, Truncated Importance Sampling, 2008.
    """
    cut = log_weights.sort().values[-tail_size(log_weights)]
    weights = (log_weights - cut).clamp_max(0).exp()
    lower = float(weights.mean() - ERRORS * weights.std() / len(weights) ** 0.5)
    return float(cut) + math.log(lower) if lower > 0 else -math.inf


def by_cells(asked: Asked, samples: Tensor) -> Integral:
    """By adaptive cubature over the whole space."""
    whole, error = cubature.integral(asked.log_prob, samples[: cubature.SAMPLES])
    if not math.isfinite(whole) or whole <= 0 or error > 2 * cubature.WANTED * whole:
        return Integral(math.nan, math.inf, "cells", "the cells into which space was split are not fine enough")
    return Integral(math.log(whole), ERRORS * error / whole, "cells that were split where needed")


def levels_of(model: Distribution) -> int | None:
    """How many values a pixel has; None where the model does not say."""
    if not isinstance(model, Flow):
        return None
    found = [part.levels for part in model.transform.modules() if isinstance(part, Dequantise)]
    return found[0] if found else None


def num_values(model: Distribution, shape: torch.Size) -> float:
    """How many different rows a density over pixels has; infinity where that cannot be known, or written down."""
    levels = levels_of(model)
    return math.inf if levels is None or shape.numel() > 20 else float(levels) ** shape.numel()


def by_sum(model: Distribution, context: Tensor | None, shape: torch.Size, num_samples: int) -> Integral:
    """The sum of p over all values of all pixels, each by `num_samples` draws of the noise."""
    levels = levels_of(model)
    assert levels is not None
    return summed(model, context, _values(levels, shape, rows_at_once(model)), num_samples, "values")[0]


def summed(
    model: Distribution, context: Tensor | None, pieces: Iterable[Tensor], num_samples: int, what: str
) -> tuple[Integral, Tensor]:
    """The sum of p over rows in pieces, which are all of these, each by `num_samples` draws of the noise; and log p."""
    found, square = [], 0.0
    for rows in pieces:
        own = None if context is None else context.expand(len(rows), *context.shape[1:])
        result = log_likelihood_of(model, *model._fitting(rows, own), num_samples, None)
        found.append(result.log_prob.double().cpu())
        if result.standard_error is not None:
            square += float((result.log_prob.exp() * result.standard_error).double().nan_to_num().square().sum())
    log_p = torch.cat(found)
    total = float(log_p.exp().sum())
    if not math.isfinite(total) or total <= 0:
        return Integral(math.nan, math.inf, "a sum", f"the sum over all {what} is {total}"), log_p
    how = f"a sum over all {len(log_p):,} {what}"
    return Integral(math.log(total), ERRORS * math.sqrt(square) / total, how), log_p


def _values(levels: int, shape: torch.Size, chunk: int) -> Iterator[Tensor]:
    every = itertools.product(range(levels), repeat=shape.numel())
    while some := list(itertools.islice(every, chunk)):
        yield torch.tensor(some, dtype=torch.uint8).view(-1, *shape)
