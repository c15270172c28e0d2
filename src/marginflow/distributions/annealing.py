"""Annealed importance sampling over noise: a path from q(eps | x) to p(x, eps), walked in both directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.data.dataset import spread_rows
from marginflow.distributions.hamiltonian import LEAPS, Move, NoiseSpace, Position, start_at

PILOT_ROWS, PILOT_CHAINS = 16, 64  # rows at most, and chains in all at least
PILOTED = 30  # temperatures at which a pilot finds moves
TRIES = 3  # of its moves at each, after each of which the step is mended
ACCEPTED = 0.8  # of moves are to be
SHORTEST = 1e-4  # a step
LONGEST = math.pi / 2 / LEAPS  # likewise: of a normal distribution such a move draws independently
SPREAD = 4.0  # of the temperatures: they are those of a sigmoid from -SPREAD to SPREAD
KNOWN = 10  # degrees of freedom with which scales are drawn to those of the temperature before


def temperatures(number: int) -> list[float]:
    """Inverse temperatures from 0, q(eps | x), to 1, p(eps | x), close together at both ends.

    >>> [round(each, 3) for each in temperatures(4)]
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    logits = torch.linspace(-SPREAD, SPREAD, number + 1, dtype=torch.float64, device="cpu")
    found = torch.sigmoid(logits)
    return ((found - found[0]) / (found[-1] - found[0])).tolist()


@dataclass(frozen=True)
class Path:
    """Moves at temperatures between q(eps | x) and p(x, eps).

    They are found on pilot chains, and do not depend on the chains that walk the path, which are the same moves in both
    directions: only then is the mean of the weights p(x), and that of their inverses 1 / p(x).

    Attributes:
        betas: inverse temperatures, from 0 to 1, T + 1 of them.
        moves: at each but the first and the last, T - 1.

    References:
        Neal, Annealed Importance Sampling, 2001 (arXiv physics/9803008).
        Grosse, Ghahramani and Adams, Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, 2015
            (arXiv 1511.02543).
    """

    betas: tuple[float, ...]
    moves: tuple[Move, ...]

    @property
    def num_temperatures(self) -> int:
        """T."""
        return len(self.betas) - 1

    def forward(self, space: NoiseSpace) -> tuple[Tensor, Tensor]:
        """log w of chains that start at eps ~ q(eps | x), and the share of moves that each has accepted: (N,) each.

        E[w] = p(x).
        """
        here = start_at(space, space.draw())
        log_w, accepted = _gain(here, self.betas[0], self.betas[1]), torch.zeros_like(here.log_p)
        for move, (low, high) in zip(self.moves, self._steps()[1:], strict=True):
            here, taken = move(space, here)
            accepted += taken
            log_w += _gain(here, low, high)
        return log_w, accepted / len(self.moves) if self.moves else torch.ones_like(accepted)

    def back(self, space: NoiseSpace, v: Tensor) -> Tensor:
        """log w of chains that start at draws v of eps ~ p(eps | x) and walk the same moves back: (N,).

        E[1 / w] = 1 / p(x).
        """
        here = start_at(space, v)
        log_w = _gain(here, *self._steps()[-1])
        for move, (low, high) in zip(reversed(self.moves), reversed(self._steps()[:-1]), strict=True):
            here, _ = move(space, here)
            log_w += _gain(here, low, high)
        return log_w

    def _steps(self) -> list[tuple[float, float]]:
        return list(zip(self.betas, self.betas[1:], strict=False))


@dataclass(frozen=True)
class Pilot:
    """What chains that are thrown away tell of the way from q(eps | x) to p(x, eps): the moves that suit it.

    Attributes:
        betas: inverse temperatures, from 0 to 1.
        moves: at each but the first.
        spreads: at each, the standard deviation of log p(x, eps) - log q(eps | x) over the chains of a row.
    """

    betas: list[float]
    moves: list[Move]
    spreads: list[float]

    @classmethod
    def of(cls, model: Distribution, x: Tensor, context: Tensor | None, number: int = PILOTED) -> Self:
        """From chains at some of the rows, past so many temperatures.

        The model is in evaluation mode, and its weights are frozen.
        """
        some = spread_rows(len(x), PILOT_ROWS)
        x, context = x[some], None if context is None else context[some]
        chains = max(4, math.ceil(PILOT_CHAINS / len(x)))
        space = NoiseSpace(model, *repeated(x, context, chains), numbers=some.tolist())
        here = start_at(space, space.draw())
        scale, step = _deviation(here.v, chains), LONGEST
        betas, moves, spreads = temperatures(number), [], [_spread(here, chains)]
        for beta in betas[1:]:
            for _ in range(TRIES):
                here, accepted = Move(beta, step, scale)(space, here)
                step *= math.exp(float(accepted.double().mean()) - ACCEPTED)
                step = min(max(step, SHORTEST), LONGEST)
            moves.append(Move(beta, step, scale))
            spreads.append(_spread(here, chains))
            freedom = len(x) * (chains - 1)
            found = freedom * _deviation(here.v, chains).square() + KNOWN * scale.square()
            scale = (found / (freedom + KNOWN)).sqrt()
        return cls(betas, moves, spreads)

    def path(self, number: int) -> Path:
        """A path of so many temperatures, dense where log p(x, eps) - log q(eps | x) varies, so that all weigh alike.

        Args:
            number: T, of which each adds as much to the variance of log w as any other.
        """
        x, y = np.array(self.betas), np.maximum(self.spreads, 1e-12)
        passed = np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
        betas = np.interp(np.linspace(0, passed[-1], number + 1), passed, x)[1:-1].tolist()
        return Path((0.0, *betas, 1.0), tuple(map(self._move, betas)))

    def _move(self, beta: float) -> Move:
        """The move at a temperature, between those on both sides."""
        after = next((i for i, each in enumerate(self.moves) if each.beta >= beta), len(self.moves) - 1)
        high, low = self.moves[after], self.moves[max(after - 1, 0)]
        share = 1.0 if after == 0 else (beta - low.beta) / (high.beta - low.beta)
        return Move(beta, low.step ** (1 - share) * high.step**share, torch.lerp(low.scale, high.scale, share))


def _gain(here: Position, low: float, high: float) -> Tensor:
    """What a temperature adds to log w, (N,), float64."""
    return (high - low) * (here.log_p.double() - here.log_q.double())


def repeated(x: Tensor, context: Tensor | None, chains: int) -> tuple[Tensor, Tensor | None]:
    """Rows and contexts, all of them so many times, as (chains, rows) flattened."""
    many = x.repeat(chains, *[1] * (x.ndim - 1))
    return many, None if context is None else context.repeat(chains, *[1] * (context.ndim - 1))


def _spread(here: Position, chains: int) -> float:
    """The standard deviation of log p(x, eps) - log q(eps | x) over the chains of a row."""
    found = (here.log_p.double() - here.log_q.double()).view(chains, -1)
    finite = found.isfinite()
    count = finite.sum(0)
    mean = found.where(finite, 0.0).sum(0) / count
    variance = (found - mean).square().where(finite, 0.0).sum(0) / (count - 1)
    return float(variance[count > 1].mean().sqrt()) if bool((count > 1).any()) else 0.0


def _deviation(v: Tensor, chains: int) -> Tensor:
    """Of each dimension (M,), over the chains of a row."""
    within = v.view(chains, -1, v.shape[1]).var(0)
    return within.mean(0).sqrt().clamp_min(1e-6)
