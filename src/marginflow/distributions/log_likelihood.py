"""The log-likelihood of a model by K importance samples, or annealed, and its error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from marginflow.base.adapter import as_distribution
from marginflow.base.arguments import Values, as_whole
from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import at_noise
from marginflow.base.settings import as_choice
from marginflow.data.dataset import require_finite
from marginflow.distributions.annealed import annealed_weights
from marginflow.distributions.importance_weights import ImportanceWeights
from marginflow.distributions.marginalising import Marginalising

METHODS = ("importance", "annealed")


@dataclass(frozen=True)
class LogLikelihood:
    """An estimate of log p(x) by K weights w_k, of importance samples or of annealed chains, row by row, in float64.

    For an exact model all samples agree: the standard error is 0 and the effective sample size K. log p is -inf outside
    of the support.

    Attributes:
        log_prob: log 1/K sum w_k, (N,), in nats; on average a lower bound of log p(x), which tightens as K grows.
        bound: 1/K sum log w_k, (N,), in nats, on average a lower bound, too: of importance samples the evidence lower
            bound (ELBO).
        standard_error: of log_prob, (N,), in nats, by the delta method; None at K = 1 unless the model is exact.
        effective_sample_size: (sum w)^2 / sum w^2, (N,), between 1 and K; with a median under 10 the estimate has not
            converged.
        noise_entropy: 1/K sum -log q(eps_k | x), (N,), in nats; None where the model is not itself a `Marginalising`,
            or annealed.
        num_temperatures: T, where annealed.
        accepted: the share of moves that chains have accepted, where annealed.
        change: of the mean over rows of log_prob from half as many temperatures to these, in nats; None where their
            number was given.

    Examples:
        >>> from marginflow.distributions import StandardNormal
        >>> result = log_likelihood(StandardNormal(2), torch.zeros(1, 2), num_samples=10)
        >>> result.standard_error, result.effective_sample_size
        (tensor([0.], dtype=torch.float64), tensor([10.], dtype=torch.float64))
    """

    log_prob: Tensor
    bound: Tensor
    standard_error: Tensor | None
    effective_sample_size: Tensor
    noise_entropy: Tensor | None = None
    num_temperatures: int | None = None
    accepted: float | None = None
    change: float | None = None


def _chunks(num_rows: int, num_samples: int, chunk: int) -> Iterator[tuple[slice, list[int]]]:
    """Slices of rows, each with the numbers of samples to take at once, none above `chunk` rows x samples."""
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
    method: str = "importance",
    num_temperatures: SupportsIndex | None = None,
    chunk: SupportsIndex | None = None,
) -> LogLikelihood:
    """Estimate log p(x) by importance samples, or by annealing these, and say how far to trust it.

    log p(x) ~ log 1/K sum_k w_k,  w_k = p(x, eps_k) / q(eps_k | x),  eps_k ~ q(eps | x)

    Annealed importance sampling takes each eps_k on a way from q(eps | x) to p(eps | x), past T temperatures b_t from 0
    to 1, by Hamiltonian moves that leave q^(1 - b_t) p^b_t as it is:

    log w_k = sum_t (b_t - b_(t-1)) (log p(x, eps_t-1) - log q(eps_t-1 | x)),  E[w_k] = p(x)

    It reaches log p(x) where the weights of importance samples do not converge, for the price of 5 T gradients. The
    steps of the moves are found on other chains before, and then frozen. All noise is annealed, the noise of
    dequantisation among it where rows are pixels: take `model.density` and preprocessed rows to leave it out.

    The noise comes from torch's global generator, on which the result depends. No gradients are recorded.

    Args:
        model: any density, taken in evaluation mode; one that is exact is evaluated once.
        x: rows (N, *event), as `Distribution` takes them.
        context: (N, ...) where the model uses one, or one row for all.
        num_samples: number of importance samples K, or of chains, at least 1; for chains 8 are a good start.
        method: "importance" or "annealed".
        num_temperatures: T, of "annealed"; None doubles it, from 10 on, until the mean over the rows moves by less than
            its standard error, with a median effective sample size of K/4 or more, up to 1,280.
        chunk: rows x samples evaluated at once, which bounds the memory; by default that of `rows_at_once`, such as
            4096, or 250 where networks convolve. Annealed it is a quarter of that, and at least all chains of a row.
            Another chunk means other samples of the same distribution.

    Returns:
        A `LogLikelihood` with the estimate, the ELBO, the standard error and the effective sample size of each row.

    Raises:
        ValueError: where num_samples, num_temperatures or chunk is below 1, x has no rows, a row holds NaN or infinity,
            or rows or context do not fit the model; where annealed, also for discrete noise, a log p(x, eps) without
            a gradient, and one chain that is to tell how many temperatures it takes.
        FloatingPointError: where log p of a row is NaN or +inf, with its number.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016 (arXiv 1509.00519).
        Neal, Annealed Importance Sampling, 2001 (arXiv physics/9803008).
        Wu, Burda, Salakhutdinov and Grosse, On the Quantitative Analysis of Decoder-Based Generative Models, 2017
            (arXiv 1611.04273).

    Examples:
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
    require_finite(x, "x", blanks=model.takes_blanks)
    if context is not None:
        require_finite(context, "context", blanks=model.encodes_context)
    if as_choice(method, METHODS, "method") == "importance" and num_temperatures is not None:
        raise ValueError("num_temperatures is of annealing: give method='annealed'")
    if method == "annealed":
        found = _annealed(model, x, context, num_samples, num_temperatures, chunk)
    else:
        found = log_likelihood_of(model, x, context, num_samples, chunk)
    require_number(found.log_prob, 0)
    return found


def _annealed(
    model: Distribution,
    x: Tensor,
    context: Tensor | None,
    num_samples: SupportsIndex,
    num_temperatures: SupportsIndex | None,
    chunk: SupportsIndex | None,
) -> LogLikelihood:
    """By annealed importance sampling; an exact density is evaluated once, with a warning."""
    number = None if num_temperatures is None else as_whole(num_temperatures, "num_temperatures", least=1)
    at_once = None if chunk is None else as_whole(chunk, "chunk", least=1)
    chains = as_whole(num_samples, "num_samples", least=1)
    if model.exact:
        warnings.warn("the density is exact: it was evaluated once, nothing was annealed", RuntimeWarning, stacklevel=4)
        return log_likelihood_of(model, x, context, chains, at_once)
    weights = annealed_weights(model, x, context, num_samples=chains, num_temperatures=number, chunk=at_once)
    log_prob, bound, error, ess, _ = weights.sums().result()
    return LogLikelihood(
        log_prob=log_prob,
        bound=bound,
        standard_error=error if chains > 1 else None,
        effective_sample_size=ess,
        num_temperatures=weights.num_temperatures,
        accepted=weights.accepted,
        change=weights.change,
    )


def require_number(log_prob: Tensor, first: int) -> None:
    """FloatingPointError where a log-likelihood is none, which names the row: no density has NaN or +inf."""
    broken = (log_prob.isnan() | log_prob.isposinf()).nonzero().flatten()
    if len(broken):
        raise FloatingPointError(
            f"log p is {float(log_prob[broken[0]])} at row {first + int(broken[0])} (counted from 0), and not finite "
            f"at {len(broken)} of {len(log_prob)} rows: the model has diverged, or the row is far out; leave such rows "
            "out, or train with a lower lr or another preprocessing"
        )


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
                repeated_context = None if context is None else context[rows].repeat(size, *[1] * (context.ndim - 1))
                log_joint, log_q = at_noise(model._noise(repeated, repeated_context), lambda site: site.draw())
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
    """The log density of an exact model, of which every sample would be the same."""
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
