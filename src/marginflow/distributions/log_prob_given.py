"""log p of some columns of rows given others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.arguments import as_whole
from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.distributions.by_columns import ByColumns, fitting_given, repeated
from marginflow.distributions.importance_weights import ImportanceWeights

AT_ONCE = 2**16  # draws of several rows together


@dataclass(frozen=True)
class GivenLogProb:
    """log p(a | b) of columns a given columns b, row by row.

    Attributes:
        log_prob: log p(a, b) - log p(b), (N,), float64, in nats; NaN where p(b) is 0.
        standard_error: (N,), in nats; 0 where both are exact.
        effective_sample_size: (N,), the least of both estimates; infinite where both are exact.
        exact: whether both are.
        high: whether it lies above log p(a | b) on average, as log p(b) alone is estimated, from below.

    Examples:
        >>> from marginflow.distributions import GaussianMixture
        >>> found = log_prob_given(GaussianMixture(2), torch.zeros(1, 2), [True, False])
        >>> found.exact, found.log_prob
        (True, tensor([-0.9189], dtype=torch.float64))
    """

    log_prob: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    exact: bool
    high: bool


@torch.no_grad()
def log_prob_given(
    model: Distribution,
    x: Tensor,
    given: Sequence[bool] | Tensor,
    of: Sequence[bool] | Tensor | None = None,
    context: Tensor | None = None,
    *,
    num_samples: int = 1000,
) -> GivenLogProb:
    """log p of some columns given others.

    log p(a | b) = log p(a, b) - log p(b)

    Each of both is exact where its columns come first in the order of the density, of mixtures always; otherwise it is
    estimated from below, log 1/K sum w, by K weighted draws of what comes before.

    Args:
        model: as of `sample_given`.
        x: rows (N, D).
        given: which columns are b, (D,).
        of: which are a; by default all others.
        context: (N, C), where the model takes one.
        num_samples: K.

    Returns:
        `GivenLogProb`.

    Raises:
        ValueError: where the model has no factor for each column (a `NoFactorsError`), or a column is both.

    Examples:
        >>> from marginflow.distributions import GaussianMixture
        >>> log_prob_given(GaussianMixture(3), torch.zeros(1, 3), [True, False, False]).log_prob
        tensor([-1.8379], dtype=torch.float64)
    """
    number = as_whole(num_samples, "num_samples", least=1)
    density, x, b, context = fitting_given(model, x, given, context)
    a = ~b if of is None else torch.as_tensor(of, device=x.device)
    if bool((a & b).any()) or not bool(a.any()):
        raise ValueError("columns whose log p is asked for must be others than the given ones, and at least one")
    with evaluation_mode(model):
        both, alone = (_log_prob_of(density, x, which, context, number) for which in (a | b, b))
    exact = tuple(each is None for _, each, _ in (both, alone))
    errors = [torch.zeros_like(log_p) if error is None else error for log_p, error, _ in (both, alone)]
    return GivenLogProb(
        both[0] - alone[0],
        errors[0].hypot(errors[1]),
        torch.minimum(both[2], alone[2]),
        all(exact),
        exact == (True, False),
    )


def _log_prob_of(
    density: ByColumns, x: Tensor, which: Tensor, context: Tensor | None, number: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """log p of some columns of rows, its standard error where it is estimated, and the effective sample size."""
    if not bool(which.any()) or density.is_exact(which):
        found = density.log_prob_of(x, which, context)
        return found, None, torch.full_like(found, math.inf)
    weights, at_once = ImportanceWeights(len(x), x.device), max(1, AT_ONCE // len(x))
    for first in range(0, number, at_once):
        times = min(at_once, number - first)
        _, log_w = density.propose(*repeated(x, which, context, times))
        log_w = log_w.view(len(x), times).T
        weights.add(log_w, torch.zeros_like(log_w))
    log_p, _, error, ess, _ = weights.result()
    return log_p, error, ess
