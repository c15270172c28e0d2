"""The log-likelihood from both sides, on rows drawn from the model."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import SupportsIndex

import torch
from torch import Tensor

from marginflow.base.adapter import as_distribution
from marginflow.base.arguments import Values, as_whole
from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Density, Distribution
from marginflow.base.moments import Estimate
from marginflow.distributions.annealed import (
    AnnealedWeights,
    Through,
    at_once,
    chains_at,
    forward_weights,
    parts_of_rows,
    settled,
    warn_of_rejections,
)
from marginflow.distributions.annealing import Path, Pilot
from marginflow.distributions.hamiltonian import frozen

REDRAWN = 20  # times at most, where noise of dequantisation leaves the grey levels


class OutsideLevelsError(ValueError):
    """Raised where draws of a model of pixels leave the grey levels, so that their noise is not known."""


@dataclass(frozen=True)
class LikelihoodGap:
    """log p of rows drawn from a model, from both sides.

    Attributes:
        lower: log 1/K sum w, (N,), in nats: on average at most log p(x), of chains from q(eps | x) to p(eps | x).
        upper: -log 1/K sum 1/w, (N,), in nats: on average at least log p(x), of chains back from the noise of which the
            row was made.
        gap: the mean of upper - lower, in nats a row; 0 for an exact density.
        standard_error: of the gap, over the rows.
        num_samples: K, chains a row in each direction.
        num_temperatures: T; None for an exact density.
        change: of the gap from half as many temperatures to these, in nats; None where their number was given.
        accepted: the share of moves that chains have accepted.

    Examples:
        >>> import torch
        >>> LikelihoodGap.of(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.5]), num_samples=8).gap
        0.5
    """

    lower: Tensor
    upper: Tensor
    gap: float
    standard_error: float
    num_samples: int
    num_temperatures: int | None = None
    change: float | None = None
    accepted: float = 1.0

    @classmethod
    def of(
        cls,
        lower: Tensor,
        upper: Tensor,
        *,
        num_samples: int,
        num_temperatures: int | None = None,
        accepted: float = 1.0,
    ) -> LikelihoodGap:
        """From both bounds of each row."""
        gap = Estimate.of(upper.double() - lower.double())
        about = {"num_temperatures": num_temperatures, "accepted": accepted}
        return cls(lower, upper, round(gap.value, 12), gap.standard_error, num_samples, **about)


@torch.no_grad()
def likelihood_gap(
    model: Density,
    num_rows: SupportsIndex,
    *,
    num_samples: SupportsIndex = 8,
    num_temperatures: SupportsIndex | None = None,
    context: Values | None = None,
    chunk: SupportsIndex | None = None,
) -> LikelihoodGap:
    """How far apart a lower and an upper bound of log p(x) lie, on rows that the model draws.

    lower = log 1/K sum_k w_k,  E[w] = p(x);  upper = -log 1/K sum_k 1/w_k,  E[1/w] = 1/p(x)

    The noise eps of which a row was drawn is an exact draw from p(eps | x). Chains that start there walk the path of
    annealed importance sampling back to q(eps | x), and their weights bound log p(x) from above (bidirectional Monte
    Carlo). On rows drawn from the model both sides meet within the gap; rows of a data set may be harder.

    The noise comes from torch's global generator, on which the result depends. No gradients are recorded.

    Args:
        model: any density, taken in evaluation mode; one that is exact is evaluated once.
        num_rows: number of rows N that are drawn, at least 2.
        num_samples: K, chains a row in each direction.
        num_temperatures: T, see `log_likelihood`; None doubles it until the gap moves by less than its standard error.
        context: (N, ...) where the model uses one, or one row for all; None where it uses none.
        chunk: chains at once.

    Returns:
        A `LikelihoodGap`.

    Raises:
        ValueError: where a number is too small, the context does not fit, the noise is discrete, log p(x, eps) has no
            gradient, or draws of a model of pixels leave the grey levels.
        FloatingPointError: where log p(x, eps) or its gradient is not finite, with the row.

    References:
        Grosse, Ghahramani and Adams, Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, 2015
            (arXiv 1511.02543).

    Examples:
        >>> from marginflow import models
        >>> from marginflow.distributions import Marginalising, StandardNormal
        >>> found = likelihood_gap(Marginalising(models.planar(3), StandardNormal(1)), 20, num_temperatures=5)
        >>> found.lower.shape, found.num_temperatures
        (torch.Size([20]), 5)
    """
    model = as_distribution(model)
    number = None if num_temperatures is None else as_whole(num_temperatures, "num_temperatures", least=1)
    chains, size = (
        as_whole(num_samples, "num_samples", least=1),
        None if chunk is None else as_whole(chunk, "chunk", least=1),
    )
    num_rows, given = model._fitting_request(as_whole(num_rows, "num_rows", least=2), context)
    with evaluation_mode(model), frozen(model):
        x, eps = drawn(model, num_rows, given)
        if model.exact:
            warnings.warn("the density is exact: both sides are its log_prob", RuntimeWarning, stacklevel=2)
            log_prob = model._log_prob(x, given).double()
            return LikelihoodGap.of(log_prob, log_prob, num_samples=chains)
        pilot = Pilot.of(model, x, given)
        found, before = settled(
            lambda t: gap_of(model, pilot.path(t), x, eps, given, chains, size),
            lambda now, before: abs(now.gap - before.gap) < now.standard_error,
            number,
            max(chains, 2),
        )
    warn_of_rejections(found.accepted, pilot)
    return found if before is None else replace(found, change=found.gap - before.gap)


def gap_of(
    model: Distribution,
    path: Path,
    x: Tensor,
    eps: list[Tensor],
    context: Tensor | None,
    num_samples: int,
    chunk: int | None = None,
    through: Through = at_once,
) -> LikelihoodGap:
    """The gap on rows and the noise of which they were drawn; the model is in evaluation mode, its weights frozen."""
    forward = AnnealedWeights.of(
        forward_weights(model, path, x, context, num_samples, chunk, through), path.num_temperatures
    )
    back = []
    for part in parts_of_rows(model, len(x), num_samples, chunk):
        space = chains_at(model, x, context, part, num_samples)
        start = space.from_noise([each[part].repeat(num_samples, *[1] * (each.ndim - 1)) for each in eps])
        (log_w,) = through(f"back {path.num_temperatures}", part.start, lambda s=space, v=start: (path.back(s, v),))
        back.append(log_w.view(num_samples, -1))
    upper = math.log(num_samples) - (-torch.cat(back, 1)).logsumexp(0)
    about = {"num_samples": num_samples, "num_temperatures": path.num_temperatures, "accepted": forward.accepted}
    return LikelihoodGap.of(forward.sums().result()[0], upper, **about)


def drawn(model: Distribution, num_rows: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Rows, and the noise of which they were drawn; ValueError where too many leave the grey levels of pixels."""
    x, eps = model._sample_with_noise(num_rows, context)
    for _ in range(REDRAWN + 1):
        outside = torch.stack([each.flatten(1).isnan().any(1) for each in eps]).any(0) if eps else torch.zeros(0)
        if not bool(outside.any()):
            return x, eps
        again, noise = model._sample_with_noise(num_rows, context)
        x = _where(outside, again, x)
        eps = [_where(outside, new, old) for new, old in zip(noise, eps, strict=True)]
    raise OutsideLevelsError(
        f"{int(outside.sum())} of {num_rows} draws leave the range of grey levels, whose noise is then not known: take "  # pyright: ignore
        "the density of preprocessed rows, likelihood_gap(model.density, ...)"
    )


def _where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)
