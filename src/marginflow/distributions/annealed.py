"""Weights of annealed importance sampling, by as many temperatures as it takes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypeVar

import torch
from torch import Tensor

from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate
from marginflow.distributions.annealing import Path, Pilot, repeated
from marginflow.distributions.hamiltonian import NoiseSpace, frozen
from marginflow.distributions.importance_weights import ImportanceWeights

FIRST, MOST = 10, 1280  # temperatures, where their number is not given
WITH_GRADIENTS = 4  # as much memory does a row take whose gradient is wanted
COUNTING = 0.25  # the median effective sample size, as a share of the chains, from which on an error is believed
SELDOM = 0.01  # of moves that are accepted, below which it is said

T = TypeVar("T")
Through = Callable[[str, int, Callable[[], tuple[Tensor, ...]]], tuple[Tensor, ...]]


def at_once(way: str, first: int, walk: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Walk a part of the rows, told by its way and its first row; others keep what was walked before."""
    return walk()


@dataclass(frozen=True)
class AnnealedWeights:
    """Weights w of K annealed chains for each of N rows, E[w] = p(x).

    Attributes:
        log_w: (K, N), float64.
        num_temperatures: T.
        accepted: the share of moves that chains have accepted.
        change: of the mean over rows of log p from half as many temperatures to these; None where none were walked.
    """

    log_w: Tensor
    num_temperatures: int
    accepted: float
    change: float | None = None

    @classmethod
    def of(cls, parts: Iterable[tuple[Tensor, Tensor]], num_temperatures: int) -> Self:
        """From those of parts of the rows, see `forward_weights`."""
        log_w, accepted = zip(*parts, strict=True)
        return cls(torch.cat(log_w, 1), num_temperatures, float(torch.cat(accepted, 1).mean()))

    def sums(self) -> ImportanceWeights:
        """Their sums over the chains of a row."""
        weights = ImportanceWeights(self.log_w.shape[1], self.log_w.device)
        weights.add(self.log_w, torch.zeros_like(self.log_w))
        return weights

    def mean(self) -> Estimate:
        """The mean over rows of log p, where it is finite, with the error that the chains of each row tell."""
        log_prob, _, error, _, _ = self.sums().result()
        inside = log_prob.isfinite()
        if len(self.log_w) < 2 or not bool(inside.any()):
            return Estimate(float(log_prob.mean()), math.inf)
        return Estimate(float(log_prob[inside].mean()), float(error[inside].square().sum().sqrt()) / int(inside.sum()))

    def has_settled(self, before: AnnealedWeights) -> bool:
        """Whether twice as many temperatures have moved the mean by less than its error, and many chains count."""
        now = self.mean()
        _, _, _, ess, _ = self.sums().result()
        counts = float(ess.median()) >= COUNTING * len(self.log_w)
        return counts and abs(now.value - before.mean().value) < now.standard_error


def annealed_weights(
    model: Distribution,
    x: Tensor,
    context: Tensor | None,
    *,
    num_samples: int,
    num_temperatures: int | None,
    halved: bool = False,
    chunk: int | None = None,
    through: Through = at_once,
) -> AnnealedWeights:
    """Weights of rows and contexts that fit a density that draws noise; see `log_likelihood`.

    Args:
        model: the density.
        x: rows (N, *event).
        context: (N, ...); None where there is none.
        num_samples: K, chains a row.
        num_temperatures: T; None doubles it until the mean over the rows settles.
        halved: whether half as many are walked, too, where T is given.
        chunk: chains at once.
        through: by which each part of the rows is walked.

    Returns:
        The weights.

    Raises:
        ValueError: where the noise is discrete or log p(x, eps) has no gradient, or one chain is to tell when to stop.
        FloatingPointError: where log p(x, eps) or its gradient is not finite, with the row.
    """

    with evaluation_mode(model), frozen(model):
        pilot = Pilot.of(model, x, context)

        def at(number: int) -> AnnealedWeights:
            parts = forward_weights(model, pilot.path(number), x, context, num_samples, chunk, through)
            return AnnealedWeights.of(parts, number)

        before = at(max(1, num_temperatures // 2)) if halved and num_temperatures is not None else None
        found, fewer = settled(at, AnnealedWeights.has_settled, num_temperatures, num_samples)
    warn_of_rejections(found.accepted, pilot)
    before = before or fewer
    return found if before is None else replace(found, change=found.mean().value - before.mean().value)


def forward_weights(
    model: Distribution,
    path: Path,
    x: Tensor,
    context: Tensor | None,
    num_samples: int,
    chunk: int | None = None,
    through: Through = at_once,
) -> Iterator[tuple[Tensor, Tensor]]:
    """log w and the share of accepted moves, (K, rows) each, of parts of the rows, in their order.

    The model is in evaluation mode, and its weights are frozen. through: by which each part is walked.
    """
    for part in parts_of_rows(model, len(x), num_samples, chunk):
        space = chains_at(model, x, context, part, num_samples)
        walk = partial(path.forward, space)
        log_w, accepted = through(f"forward {path.num_temperatures}", part.start, walk)
        yield log_w.view(num_samples, -1), accepted.view(num_samples, -1)


def chains_at(model: Distribution, x: Tensor, context: Tensor | None, part: slice, num_samples: int) -> NoiseSpace:
    """Where the chains of a part of the rows walk, as (K, rows) flattened."""
    many = repeated(x[part], None if context is None else context[part], num_samples)
    return NoiseSpace(model, *many, numbers=range(part.start, part.stop))


def parts_of_rows(model: Distribution, num_rows: int, num_samples: int, chunk: int | None) -> Iterator[slice]:
    """Parts of the rows, all chains of which walk at once; by default a quarter of `rows_at_once`."""
    chunk = max(1, rows_at_once(model) // WITH_GRADIENTS) if chunk is None else chunk
    size = max(1, chunk // num_samples)
    yield from (slice(first, min(first + size, num_rows)) for first in range(0, num_rows, size))


def settled(
    at: Callable[[int], T], has_settled: Callable[[T, T], bool], num_temperatures: int | None, num_samples: int
) -> tuple[T, T | None]:
    """What a number of temperatures gives, and half as many.

    Args:
        at: what so many temperatures give.
        has_settled: whether that is enough, beside what half as many gave.
        num_temperatures: T; None doubles it, from 10 to 1,280 at most.
        num_samples: K, chains a row, of which two or more tell an error.

    Returns:
        The result, and that of half as many temperatures; None where the number was given.

    Raises:
        ValueError: where the number is to be found by one chain a row.
    """
    if num_temperatures is not None:
        return at(num_temperatures), None
    if num_samples < 2:
        raise ValueError("one chain a row cannot tell when to stop: give num_samples=8, or num_temperatures=100")
    number, before, now = 2 * FIRST, at(FIRST), at(2 * FIRST)
    while number < MOST and not has_settled(now, before):
        number *= 2
        before, now = now, at(number)
    return now, before


def warn_of_rejections(accepted: float, pilot: Pilot) -> None:
    """Say where chains have accepted hardly any move, and at which steps."""
    if accepted < SELDOM:
        steps = [each.step for each in pilot.moves]
        warnings.warn(
            f"chains have accepted {accepted:.2%} of their moves, with steps of {min(steps):.2g} to {max(steps):.2g} "
            "standard deviations: log p is a lower bound still, but hardly better than by importance samples; the "
            "joint density may be too narrow, or not continuous, in the noise",
            RuntimeWarning,
            stacklevel=5,
        )
