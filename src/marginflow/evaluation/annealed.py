"""log p of held-out rows by annealed importance sampling, and how near both sides come on rows that a model draws."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate
from marginflow.base.seeds import SEEDS, seeded
from marginflow.data import DataSpec, Split
from marginflow.data.require import bring_to, fitting
from marginflow.distributions.annealed import AnnealedWeights, Through, annealed_weights
from marginflow.distributions.annealing import PILOT_CHAINS, PILOTED, TRIES, Pilot
from marginflow.distributions.hamiltonian import NoiseSpace, frozen, seconds_a_move
from marginflow.distributions.likelihood_gap import LikelihoodGap, OutsideLevelsError, drawn, gap_of
from marginflow.evaluation.evaluate import preprocessed

ROWS, SIMULATED, CHAINS = 200, 100, 8  # held-out rows, the most that are drawn, chains a row, if nothing is said
EXPECTED = 80  # temperatures, by which the time is guessed
TIMED = 64  # rows by which a gradient is timed


@dataclass(frozen=True)
class Annealed:
    """What annealed importance sampling says of a model, in nats a row.

    Attributes:
        log_prob: the mean over held-out rows of log p, preprocessed or as given; each row's is a lower bound on
            average. The error is that of a mean over rows.
        error_of_chains: the part of that error that is owed to the chains; None of one chain a row.
        bound: the mean of log w, a lower bound, too.
        effective_sample_size: the median over rows, between 1 and K.
        change: of log_prob from half as many temperatures to these.
        gap: the mean of upper - lower over rows drawn from the model, with its error; None where dequantisation is
            annealed and draws leave the grey levels, so that their noise is not known.
        log_prob_as_given: of the rows before preprocessing.
        bits_per_dim: of the held-out rows; None unless they are images.
        num_rows: of held-out rows.
        num_simulated: of rows drawn.
        num_samples: K, chains a row.
        num_temperatures: T.
        accepted: the share of moves that chains have accepted.
        dequantisation: whether the noise of dequantisation was annealed, too.
        seed: of all noise.
        seconds: how long it took.
    """

    log_prob: Estimate
    error_of_chains: float | None
    bound: float
    effective_sample_size: float
    change: float
    gap: Estimate | None
    log_prob_as_given: float
    bits_per_dim: Estimate | None
    num_rows: int
    num_simulated: int
    num_samples: int
    num_temperatures: int
    accepted: float
    dequantisation: bool
    seed: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def evaluate_annealed(
    model: Distribution,
    split: Split,
    *,
    spec: DataSpec,
    num_samples: int = CHAINS,
    num_temperatures: int | None = None,
    dequantisation: bool = False,
    seed: int = 0,
    through: Callable[[str], Through] | None = None,
) -> Annealed:
    """Anneal held-out rows, and rows drawn from the model in both directions.

    The preprocessing draws its noise once, from `seed`, as `evaluate` has it for the same rows.

    Args:
        model: a distribution whose density draws noise; taken in evaluation mode.
        split: rows and their context.
        spec: of the data set.
        num_samples: K, chains a row.
        num_temperatures: T, 2 or more; None doubles it until log p settles. Half as many are walked as well.
        dequantisation: whether the noise of dequantisation is annealed, too; log p is then that of the rows as given.
        seed: of all noise.
        through: by which parts of the rows "test" and "drawn" are walked; by default `seeded_walks`.

    Returns:
        An `Annealed`.

    Raises:
        ValueError: where the noise cannot be walked.
        FloatingPointError: where log p of a row is not finite.
    """
    started, through = time.perf_counter(), seeded_walks(seed) if through is None else through
    density = model if dequantisation else model.density
    x, context, log_det = _rows(model, split, dequantisation, seed)
    how = {"num_samples": num_samples, "num_temperatures": num_temperatures}
    with evaluation_mode(density), frozen(density):
        with seeded(seed):
            found = annealed_weights(density, x, context, **how, halved=True, through=through("test"))
        gap = _gap(density, context, found, seed, through("drawn"), min(SIMULATED, len(x)))
    assert found.change is not None
    log_prob, bound, _, ess, _ = found.sums().result()
    as_given = log_prob.cpu() if dequantisation else log_prob.cpu() + log_det.cpu() + spec.log_volume
    return Annealed(
        log_prob=Estimate.of(log_prob),
        error_of_chains=found.mean().standard_error if num_samples > 1 else None,
        bound=float(bound.mean()),
        effective_sample_size=float(ess.median()),
        change=found.change,
        gap=None if gap is None else Estimate(gap.gap, gap.standard_error),
        log_prob_as_given=float(as_given.mean()),
        bits_per_dim=None if spec.levels is None else Estimate.of(-as_given * spec.bits_per_nat),
        num_rows=len(log_prob),
        num_simulated=0 if gap is None else len(gap.lower),
        num_samples=num_samples,
        num_temperatures=found.num_temperatures,
        accepted=found.accepted,
        dequantisation=dequantisation,
        seed=seed,
        seconds=round(time.perf_counter() - started, 1),
    )


def seeded_walks(seed: int) -> Callable[[str], Through]:
    """Walks each part of the rows from a seed of its own, whatever was walked before."""

    def through(rows: str) -> Through:
        def walked(way: str, first: int, walk: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
            name = hashlib.sha256(f"{rows}, {way}, {first}".encode()).digest()[:8]
            with seeded(int(np.random.SeedSequence([seed, *name]).generate_state(1)[0]) % SEEDS):
                return walk()

        return walked

    return through


def seconds_to_anneal(model: Distribution, split: Split, seed: int = 0) -> float:
    """About how long `evaluate_annealed` takes for 200 rows.

    Args:
        model: a distribution whose density draws noise.
        split: rows, of which the first are timed.
        seed: of their noise.

    Returns:
        Seconds, with 80 temperatures found by doubling.
    """
    x, context, _ = _rows(model, Split(*split.take(slice(TIMED))), False, seed)
    density = model.density
    with evaluation_mode(density), frozen(density), seeded(seed):
        each = seconds_a_move(NoiseSpace(density, x, context))
    forward = ROWS * (EXPECTED + EXPECTED // 2 + EXPECTED // 4 + EXPECTED // 8)
    return each * (CHAINS * (forward + 2 * SIMULATED * EXPECTED) + 2 * PILOTED * TRIES * PILOT_CHAINS)


def _rows(model: Distribution, split: Split, as_given: bool, seed: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows as the density takes them, or as given, their context, and the log-determinant of the preprocessing."""
    batch = bring_to(model, fitting(model, split, one_of_several=True).take())
    context = None if model.density.context_optional else batch.context
    if as_given:
        return batch.x, context, torch.zeros(len(batch.x), dtype=torch.float64)
    with seeded(seed):
        x, log_det = preprocessed(model, batch)
    return x, context, log_det


def _gap(
    model: Distribution,
    context: Tensor | None,
    found: AnnealedWeights,
    seed: int,
    through: Through,
    number: int,
) -> LikelihoodGap | None:
    """Both sides, by as many chains and temperatures, on rows drawn for the contexts of the first held-out rows."""
    given = None if context is None else context[:number]
    with seeded(seed):
        try:
            x, eps = drawn(model, number, given)
        except OutsideLevelsError:
            return None
        path = Pilot.of(model, x, given).path(found.num_temperatures)
    return gap_of(model, path, x, eps, given, len(found.log_w), through=through)
