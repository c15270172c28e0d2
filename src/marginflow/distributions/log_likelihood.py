"""What K importance samples say of log p(x), and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from marginflow.base.adapter import as_distribution
from marginflow.base.arguments import Values, as_whole
from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise import at_noise
from marginflow.distributions.marginalising import Marginalising


@dataclass(frozen=True)
class LogLikelihood:
    """What K draws say of log p(x), each field (N,) in nats, float64.

    log_prob               log 1/K sum w_k, tightens to log p(x) from below as K grows
    bound                  1/K sum log w_k, the evidence lower bound (ELBO)
    standard_error         of log_prob, by the delta method; None at K = 1
    effective_sample_size  (sum w)^2 / sum w^2, between 1 and K; a median under 10 is not converged
    noise_entropy          1/K sum -log q(eps_k | x); None where the model is not itself a `Marginalising`

    For an exact model all draws agree: the standard error is 0 and the effective sample size K.
    """

    log_prob: Tensor
    bound: Tensor
    standard_error: Tensor | None
    effective_sample_size: Tensor
    noise_entropy: Tensor | None = None


class ImportanceWeights:
    """Running sums over draws of importance weights of some rows, in float64."""

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self.count = 0
        self.log_sum = torch.full((num_rows,), -math.inf, dtype=torch.float64, device=device)
        self.log_sum_of_squares = self.log_sum.clone()
        self.sum_of_logs = torch.zeros_like(self.log_sum)
        self.sum_of_entropies = torch.zeros_like(self.log_sum)

    def add(self, log_w: Tensor, log_q: Tensor) -> None:
        """Take in (draws, rows) log weights and log q."""
        log_w = log_w.double()
        self.count += len(log_w)
        self.log_sum = torch.logaddexp(self.log_sum, log_w.logsumexp(0))
        self.log_sum_of_squares = torch.logaddexp(self.log_sum_of_squares, (2 * log_w).logsumexp(0))
        self.sum_of_logs += log_w.sum(0)
        self.sum_of_entropies -= log_q.double().sum(0)

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """log_prob, bound, standard_error, effective_sample_size and noise_entropy of a `LogLikelihood`."""
        k = self.count
        ess = torch.exp(2 * self.log_sum - self.log_sum_of_squares).nan_to_num(1).clamp(1, k)  # 1: no weight at all
        # Var(mean w) / (mean w)^2 = (K / ESS - 1) / (K - 1); its root is the error of the logarithm
        error = torch.sqrt((k / ess - 1).clamp_min(0) / max(k - 1, 1))
        return self.log_sum - math.log(k), self.sum_of_logs / k, error, ess, self.sum_of_entropies / k


def _chunks(num_rows: int, num_samples: int, chunk: int) -> Iterator[tuple[slice, list[int]]]:
    """Slices of rows, each with the numbers of draws to take at once, none above `chunk` rows x draws."""
    for start in range(0, num_rows, chunk):
        rows = slice(start, min(start + chunk, num_rows))
        at_once = max(1, chunk // (rows.stop - rows.start))
        yield rows, [min(at_once, num_samples - done) for done in range(0, num_samples, at_once)]


@torch.no_grad()
def log_likelihood(
    model: Density,
    x: Values,
    context: Values | None = None,
    *,
    num_samples: SupportsIndex = 1,
    chunk: SupportsIndex | None = None,
) -> LogLikelihood:
    """Estimate log p(x) with K importance samples, and say how far to trust it.

    log p(x) ~ log 1/K sum_k w_k,  w_k = p(x, eps_k) / q(eps_k | x),  eps_k ~ q(eps | x)

    model: any density, taken in evaluation mode; one that is exact is evaluated once.
    x: (N, *event); context: (N, ...) where the model uses one, or one row for all; as `Distribution` takes them.
    num_samples: K, at least 1.
    chunk: rows x draws evaluated at once; bounds the memory; by default 4096, or 250 where networks convolve. Another
        chunk means other draws of the same kind.

    Returns a `LogLikelihood`. Draws come from torch's global generator, on which the result depends.
    The gradient is not tracked. ValueError for K < 1, a chunk < 1 or no rows.

    Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016 (arXiv 1509.00519).

    >>> import torch
    >>> from marginflow import models
    >>> from marginflow.distributions import StandardNormal
    >>> model = Marginalising(models.planar(3), noise=StandardNormal(1))
    >>> result = log_likelihood(model, torch.zeros(5, 2), num_samples=100)
    >>> bool((result.bound <= result.log_prob).all())
    True
    """
    model = as_distribution(model)
    x, context = model._fitting(x, context)
    if len(x) == 0:
        raise ValueError("x has no rows: give at least one")
    return log_likelihood_of(model, x, context, num_samples, chunk)


@torch.no_grad()
def log_likelihood_of(
    model: Distribution, x: Tensor, context: Tensor | None, num_samples: SupportsIndex, chunk: SupportsIndex | None
) -> LogLikelihood:
    """`log_likelihood` of rows and contexts that fit."""
    num_samples = as_whole(num_samples, "num_samples", least=1)
    chunk = rows_at_once(model) if chunk is None else as_whole(chunk, "chunk", least=1)
    if model.exact:
        return _exactly(model, x, context, num_samples, chunk)
    parts = []
    with evaluation_mode(model):
        for rows, sizes in _chunks(len(x), num_samples, chunk):
            weights = ImportanceWeights(rows.stop - rows.start, x.device)
            for size in sizes:
                repeated = x[rows].repeat(size, *[1] * (x.ndim - 1))
                given = None if context is None else context[rows].repeat(size, *[1] * (context.ndim - 1))
                log_joint, log_q = at_noise(model._noise(repeated, given), lambda site: site.draw())
                weights.add((log_joint - log_q).view(size, -1), log_q.view(size, -1))
            parts.append(weights.result())
    log_prob, bound, error, ess, entropy = (torch.cat(part) for part in zip(*parts, strict=True))
    return LogLikelihood(
        log_prob=log_prob,
        bound=bound,
        standard_error=error if num_samples > 1 else None,
        effective_sample_size=ess,
        noise_entropy=entropy if isinstance(model, Marginalising) else None,
    )


def _exactly(model: Distribution, x: Tensor, context: Tensor | None, num_samples: int, chunk: int) -> LogLikelihood:
    """The log density of an exact model, of which every draw would be the same."""
    with evaluation_mode(model):
        parts = [
            model._log_prob(x[rows], None if context is None else context[rows])
            for rows, _ in _chunks(len(x), 1, chunk)
        ]
    log_prob = torch.cat(parts).double()
    return LogLikelihood(
        log_prob=log_prob,
        bound=log_prob,
        standard_error=torch.zeros_like(log_prob),
        effective_sample_size=torch.full_like(log_prob, num_samples),
    )
