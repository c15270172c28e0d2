"""A density that can be drawn from and lies where a model does: fitted to its samples, with a defensive tail."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from marginflow.evaluation.check.mixture import fit_mixture, squares

COMPONENTS = (1, 4, 16, 48, 128)  # tried in turn
ENOUGH, PILOT = 0.25, 1000  # share of so many draws that is effective: no more components are tried
WIDENED = 1.15  # variances, over those of the samples: what is too wide costs draws, what is too narrow hides errors
TAIL = 0.05  # weight of each of the two tails
CENTRAL = 0.9  # share of the samples that gives the coordinates
FARTHEST = 1000.0  # in these coordinates; samples beyond are left to the tails


class Drawable(Protocol):
    """A density that can be drawn from, flat rows in float64."""

    def sample(self, num_samples: int) -> Tensor: ...
    def log_prob(self, x: Tensor) -> Tensor: ...


Q = TypeVar("Q", bound=Drawable)


@dataclass(frozen=True)
class Proposal:
    """A mixture of normals of full covariances and Cauchy tails, in coordinates y with x = centre + factor y.

    Attributes:
        centre: (D,).
        factor: (D, D), lower triangular.
        log_weights: (K,).
        means: (K, D), in y.
        factors: (K, D, D), lower triangular, in y.
        heavy: (K,), which components are multivariate Cauchy.
    """

    centre: Tensor
    factor: Tensor
    log_weights: Tensor
    means: Tensor
    factors: Tensor
    heavy: Tensor

    def sample(self, num_samples: int) -> Tensor:
        """Independent samples, (num_samples, D); draws come from torch's global generator."""
        which = torch.multinomial(self.log_weights.exp(), num_samples, replacement=True)
        noise = torch.randn(num_samples, self.means.shape[1], dtype=torch.float64)
        scale = torch.where(self.heavy[which], torch.randn(num_samples, dtype=torch.float64).abs(), 1.0)
        noise = noise / scale.clamp_min(1e-12)[:, None]
        y = self.means[which] + torch.einsum("nij,nj->ni", self.factors[which], noise)
        return self.centre + y @ self.factor.T

    def log_prob(self, x: Tensor, chunk: int = 2000) -> Tensor:
        """log q(x), (N,), of rows (N, D) in float64."""
        features = x.shape[1]
        volume = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        precisions = torch.cholesky_inverse(self.factors)
        cauchy = math.lgamma((features + 1) / 2) - (features + 1) / 2 * math.log(math.pi)
        parts = []
        for y in whitened(x, self.centre, self.factor).split(chunk):
            apart = squares(y, self.means, precisions)
            normal = -0.5 * apart - features / 2 * math.log(2 * math.pi)
            tail = cauchy - (features + 1) / 2 * torch.log1p(apart)
            parts.append(torch.logsumexp(torch.where(self.heavy, tail, normal) - volume + self.log_weights, 1))
        return torch.cat(parts) - self.factor.diagonal().log().sum()


def whitened(x: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    """y of x = centre + factor y."""
    return torch.linalg.solve_triangular(factor, (x - centre).T, upper=False).T


def coordinates(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and Cholesky factor of the central part of samples (N, D), which outliers of heavy tails do not move.

    Raises:
        ValueError: where the samples do not vary in a dimension, or one is a function of others to rounding.
    """
    middle = samples.median(0).values
    apart = (samples - middle).abs()
    spread = apart.quantile(0.75, 0)
    spread = torch.where(spread > 0, spread, apart.mean(0))
    if not bool((spread > 0).all()):
        raise ValueError(f"samples do not vary in dimension {int(spread.argmin())}")
    distance = (apart / spread).amax(1)
    central = samples[distance <= distance.quantile(CENTRAL)]
    covariance = torch.cov(central.T).reshape(len(middle), -1)
    scale = covariance.diagonal().clamp_min(0).sqrt()
    if not bool((scale > 0).all()):
        raise ValueError(f"most samples are the same in dimension {int(scale.argmin())}")
    correlation = covariance / torch.outer(scale, scale)
    factor, failed = torch.linalg.cholesky_ex(correlation + 1e-13 * torch.eye(len(scale), dtype=torch.float64))
    if int(failed) or float(factor.diagonal().min()) < 1e-6:
        raise ValueError("one dimension of the samples is a function of the others, so that there is no density")
    return central.mean(0), scale[:, None] * factor


def fitted(samples: Tensor, rows: Tensor, components: int, generator: torch.Generator) -> Proposal:
    """A proposal of so many normals for samples (N, D), with a tail around them and one around rows (M, D)."""
    centre, factor = coordinates(samples)
    y, at_rows = (_near(whitened(each, centre, factor)) for each in (samples, rows))
    weights, means, covariances = fit_mixture(y, components, generator)
    unit = torch.eye(y.shape[1], dtype=torch.float64)
    tails = [(0 * y[:1], 2 * unit[None])]
    if len(at_rows) > 1:
        covariance = torch.cov(at_rows.T).reshape(unit.shape)
        tails.append((at_rows.mean(0, keepdim=True), covariance[None] + 0.1 * unit))
    factors = torch.linalg.cholesky(torch.cat([covariances * WIDENED, *[covariance for _, covariance in tails]]))
    return Proposal(
        centre,
        factor,
        torch.cat([weights * (1 - TAIL * len(tails)), torch.full((len(tails),), TAIL, dtype=torch.float64)]).log(),
        torch.cat([means, *[mean for mean, _ in tails]]),
        factors,
        torch.arange(len(factors)) >= len(means),
    )


def _near(y: Tensor) -> Tensor:
    return y[y.abs().amax(1) <= FARTHEST]


def proposal_for(
    samples: Tensor,
    log_prob: Callable[[Tensor], Tensor],
    log_p: Tensor,
    rows: Tensor,
    generator: torch.Generator,
    most: int = COMPONENTS[-1],
) -> Proposal:
    """The proposal for a density p: fitted to one half of its samples, chosen by the other.

    Components are added until enough draws are effective, on two counts: among some draws from q; and by E p / q over
    samples, which is large where q lies too low, as at a mode that it misses. Else the q of the highest mean log q over
    samples is taken.

    Args:
        samples: (N, D) of the model, float64, finite.
        log_prob: log p of rows.
        log_p: of the second half of the samples, (N - N // 2,).
        rows: (M, D), where the density is asked as well.
        generator: of the draws of the fit.
        most: components.

    Returns:
        The proposal.

    Raises:
        ValueError: where samples lie in a subspace.

    References:
        Hesterberg, Weighted Average Importance Sampling and Defensive Mixture Distributions, 1995.
        Owen and Zhou, Safe and Effective Importance Sampling, 2000.
    """
    half, features = len(samples) // 2, samples.shape[1]
    numbers = features * (features + 3) // 2  # of a component, which samples must tell
    tried = [each for each in COMPONENTS[1:] if each <= most and each * numbers <= half]
    candidates = (fitted(samples[:half], rows, each, generator) for each in [COMPONENTS[0], *tried])
    return chosen(candidates, log_prob, samples[half:], log_p)


def chosen(candidates: Iterable[Q], log_prob: Callable[[Tensor], Tensor], second: Tensor, log_p: Tensor) -> Q:
    """The first candidate of which enough draws are effective; else that of the highest mean log q over samples.

    Args:
        candidates: proposals, one after the other.
        log_prob: log p of rows.
        second: samples that no candidate was fitted to.
        log_p: of these.

    Returns:
        A candidate.
    """
    best, highest = None, -math.inf
    for proposal in candidates:
        log_q = proposal.log_prob(second)
        mean = float(log_q.mean())
        if mean < highest:
            break
        best, highest = proposal, mean
        pilot = proposal.sample(PILOT)
        log_w = log_prob(pilot) - proposal.log_prob(pilot)
        log_w = log_w.nan_to_num(-math.inf, math.inf, -math.inf)
        of_draws = 2 * _log_mean(log_w) - _log_mean(2 * log_w)
        of_samples = _log_mean(log_w) - _log_mean((log_p - log_q).nan_to_num(0, 0, 0))
        if min(float(of_draws), float(of_samples)) >= math.log(ENOUGH):
            return proposal
    assert best is not None
    return best


def _log_mean(a: Tensor) -> Tensor:
    return torch.logsumexp(a, 0) - math.log(len(a))
