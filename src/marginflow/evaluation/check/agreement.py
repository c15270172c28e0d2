"""Whether samples of a model follow its log_prob: means of bounded features over both, with their errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.evaluation.check.findings import Status
from marginflow.evaluation.check.integral import EFFECTIVE
from marginflow.evaluation.check.proposal import coordinates, whitened

WAVES = 32  # random directions and lengths
ERRORS = 5  # standard errors, which some hundred features seldom reach
LEAST = 0.02  # difference, of features between -1 and 1, that counts
MOST = 0.2  # errors, of features between -1 and 1, beyond which agreement says nothing
CONSTANT = 1e-3  # difference and error of the means of a feature that hardly varies
Features = Callable[[Tensor, Tensor], Tensor]  # of rows (N, D), the same for all that share a reference: (N, F)


@dataclass(frozen=True)
class Agreement:
    """How far samples and density lie apart.

    Attributes:
        status: "pass" or "fail" on evidence; "cannot tell" or "skip" without.
        found: the figure, or why there is none.
    """

    status: Status
    found: str

    @classmethod
    def unknown(cls, why: str, applies: bool = True) -> Agreement:
        """Without a figure."""
        return cls("cannot tell", f"because {why}") if applies else cls("skip", why)

    @classmethod
    def of(
        cls,
        samples: Tensor,
        log_p: Tensor,
        draws: Tensor,
        log_weights: Tensor,
        log_p_draws: Tensor | None,
        features: Features | None = None,
    ) -> Agreement:
        """Means over samples against weighted means over draws from a proposal.

        The features are tanh of each coordinate and of its square, cosines and sines of random directions as in the
        characteristic function, and tanh of log p where that is exact, all between -1 and 1: of estimates the weights
        of the draws know the noise. What the density integrates to cancels.

        Args:
            samples: (N, D) of the model.
            log_p: of the samples.
            draws: (M, D) from a proposal.
            log_weights: log p - log q of the draws.
            log_p_draws: of the draws; None for a density that is estimated.
            features: bounded ones of rows, in place of those above but for log p, where rows are no vectors.

        Returns:
            The agreement.
        """
        usable = torch.isfinite(log_p)
        weights = (log_weights - log_weights.max()).exp()
        if not bool(torch.isfinite(weights).all()) or int(usable.sum()) < len(samples) // 2:
            return cls.unknown("log p is not finite at too many samples or draws")
        weights /= weights.sum()
        size = 1 / float(weights.square().sum())
        if size < EFFECTIVE:
            return cls.unknown(f"of {len(draws):,} draws from a proposal {size:,.0f} are effective, not {EFFECTIVE}")
        features = features or of_vectors
        one, other = features(samples, samples), features(draws, samples)
        if log_p_draws is not None:
            one = torch.cat([one, _level(log_p, log_p[usable])], 1)
            other = torch.cat([other, _level(log_p_draws, log_p[usable])], 1)
        mean = weights @ other
        return cls._by_means(one, mean, weights.square() @ (other - mean).square())

    @classmethod
    def with_all(cls, samples: Tensor, rows: Tensor, log_p: Tensor, features: Features) -> Agreement:
        """Means over samples against those over all rows that there are.

        Args:
            samples: (N, D) of the model.
            rows: (M, D), each row possible once.
            log_p: of these.
            features: bounded ones of rows.

        Returns:
            The agreement.
        """
        if not bool((log_p < math.inf).all()) or bool(log_p.isneginf().all()):
            return cls.unknown("log p is not a number at some rows, or -inf at all")
        mean = log_p.softmax(0) @ features(rows, samples)
        return cls._by_means(features(samples, samples), mean, torch.zeros_like(mean))

    @classmethod
    def _by_means(cls, one: Tensor, mean: Tensor, variance: Tensor) -> Agreement:
        """By features of samples (N, F), and the means (F,) that these should have, with their variances."""
        apart = (one.mean(0) - mean).abs()
        error = (one.var(0) / len(one) + variance).sqrt()
        beyond = (apart - ERRORS * error).masked_fill(error + apart < CONSTANT, -math.inf)
        worst = int(beyond.argmax())
        said = f"of {len(apart)} means of bounded features the one furthest off differs by {float(apart[worst]):.3f}"
        said += f" ± {float(error[worst]):.3f} (fails from {ERRORS} errors)"
        if float(beyond[worst]) > LEAST:
            return cls("fail", said)
        if ERRORS * float(error.max()) > MOST:
            return cls("cannot tell", f"because {said}, which is too wide")
        return cls("pass", said)


def of_vectors(x: Tensor, reference: Tensor) -> Tensor:
    """Features of rows (N, D), the same for all that share a reference: (N, F)."""
    y = whitened(x, *coordinates(reference))
    return torch.cat([y.tanh(), (y.square() - 1).tanh(), waves(y.clamp(-1e6, 1e6))], 1)


def waves(y: Tensor) -> Tensor:
    """Cosines and sines of vectors (N, D) along random directions, as in the characteristic function: (N, 2 WAVES)."""
    generator = torch.Generator().manual_seed(0)
    along = torch.randn(y.shape[1], WAVES, generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=0) * torch.linspace(0.5, 3, WAVES, dtype=torch.float64)
    phase = y @ along
    return torch.cat([phase.cos(), phase.sin()], 1)


def _level(log_p: Tensor, reference: Tensor) -> Tensor:
    """tanh of log p, in units of its quartiles in a reference: (N, 1)."""
    low, middle, high = reference.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    level = ((log_p - middle) / (high - low).clamp_min(1e-3)).nan_to_num(0.0, math.inf, -math.inf)
    return level.tanh()[:, None]
