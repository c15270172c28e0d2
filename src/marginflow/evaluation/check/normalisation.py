"""Whether a density integrates to 1, and whether its samples follow it; or why that cannot be told."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.evaluation.check import integral as integrals
from marginflow.evaluation.check.agreement import Agreement
from marginflow.evaluation.check.findings import Finding
from marginflow.evaluation.check.integral import BEYOND, ERRORS, OF_MODEL, OF_NOISE, WITHIN, Asked, Integral
from marginflow.evaluation.check.pixels import remedy_of, with_open_ends
from marginflow.evaluation.check.proposal import COMPONENTS, proposal_for
from marginflow.evaluation.check.table_rows import of_table_rows

NAME, SAMPLES = "normalisation", "samples against the density"
MOST_FEATURES = 20  # in which a proposal is tried
CONTEXTS = 3  # rows of the context at which the density is asked
FEW = 16  # components of a proposal that samples alone are set against
EVALUATED = 100_000  # draws of the noise, shared by all values of pixels, 4096 of each at most


@torch.no_grad()
def normalised(
    model: Distribution, x: Tensor, context: Tensor | None, seed: int, *, shows_map: bool = True
) -> Iterator[Finding]:
    """Two findings: what the density integrates to, and whether its samples follow it.

    Pixels of few values are summed over, and rows of a table of which few are possible; others are drawn from a mixture
    of independent columns. In up to three dimensions an exact density is integrated by cells. In up to
    twenty it is integrated by draws from a proposal, which are then set against the samples.

    Args:
        model: any density.
        x: rows (N, *event).
        context: (N, ...), or None; some rows of it are asked, one by one.
        seed: of all draws.
        shows_map: whether the map from rows to noise was checked.

    Yields:
        Findings that pass or fail on evidence alone, and otherwise say why nothing can be told.
    """
    if not model.takes_pixels and _is_discrete(model):
        why = "its support is whole numbers (Distribution.support), so that it has probabilities and no density"
        yield from (Finding(name, "skip", why) for name in (NAME, SAMPLES))
        return
    some = [] if context is None else list(context[:: max(1, len(context) // CONTEXTS)][:CONTEXTS])
    given = [row[None] for row in some] or [None]
    found: list[Integral] = []
    agreed: list[Agreement] = []
    for i, row in enumerate(given):
        with seeded(seed + i):
            try:
                integral, agreement = _at(model, x, row, seed)
            except ValueError as error:  # as of a density that refuses rows outside its support
                integral, agreement = Integral.unknown(str(error)), Agreement.unknown(str(error))
        found.append(integral)
        agreed.append(agreement)
    yield _normalisation(model, found, agreed, shows_map)
    yield _samples(agreed, "map" if model.schema is None else "columns")


def _is_discrete(model: Distribution) -> bool:
    try:
        return bool(model.support.is_discrete)
    except NotImplementedError:  # of a support that depends on what is not known
        return False


def _at(model: Distribution, x: Tensor, context: Tensor | None, seed: int) -> tuple[Integral, Agreement]:
    """What there is to say without a context, or at one row of it."""
    shape = x.shape[1:]
    if model.schema is not None:
        return of_table_rows(model, model.schema, context, seed)
    if model.takes_pixels:
        values = integrals.num_values(model, shape)
        if values <= integrals.MOST_VALUES:
            draws = min(4096, max(OF_NOISE, int(EVALUATED / values)))
            why = "asked of densities over real numbers"
            found = with_open_ends(integrals.by_sum(model, context, shape, draws), model, context)
            return found, Agreement.unknown(why, applies=False)
        why = f"there are {values:.3g} different rows of pixels, and {integrals.MOST_VALUES:,} can be summed over"
        return Integral.unknown(why), Agreement.unknown(why)
    if shape.numel() > MOST_FEATURES:
        why = f"it has {shape.numel()} dimensions, and proposals are tried in up to {MOST_FEATURES}"
        return Integral.unknown(why), Agreement.unknown(why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of samples that are not finite, which are counted
        drawn = model._sample(OF_MODEL, None if context is None else context.expand(OF_MODEL, *context.shape[1:]))
    samples = drawn.flatten(1).double().cpu()
    broken = int((~torch.isfinite(samples)).any(1).sum())
    if broken:
        why = f"{broken} of {len(samples)} samples are not finite"
        return Integral.unknown(why), Agreement.unknown(why)
    return _by_samples(Asked(model, context, drawn[0]), samples, x.flatten(1).double().cpu(), seed)


def _by_samples(asked: Asked, samples: Tensor, rows: Tensor, seed: int) -> tuple[Integral, Agreement]:
    """What there is to say of a density with samples (N, D)."""
    cells = None
    if asked.model.exact and samples.shape[1] <= integrals.CELLS_DIMENSIONS:
        cells = integrals.by_cells(asked, samples)
    decided = cells is not None and (cells.right or cells.wrong)
    second = samples[len(samples) // 2 :]
    log_p = asked.log_prob(second)
    generator = torch.Generator().manual_seed(seed)
    most = FEW if decided else COMPONENTS[-1]
    proposal = proposal_for(samples, asked.log_prob, log_p, rows, generator, most)
    drawn, draws, log_w = integrals.by_draws(asked, proposal, log_p - proposal.log_prob(second))
    log_p_draws = log_w + proposal.log_prob(draws) if asked.model.exact else None
    agreement = Agreement.of(second, log_p, draws, log_w, log_p_draws)
    if cells is None or not decided:
        return drawn, agreement
    if (cells.right and drawn.wrong) or (cells.wrong and drawn.right):
        return Integral.unknown(f"two ways contradict each other: {cells}; {drawn}"), agreement
    return cells, agreement


def _normalisation(
    model: Distribution, found: Sequence[Integral], agreed: Sequence[Agreement], shows_map: bool
) -> Finding:
    """The verdict on all rows of the context that were asked: the worst of them."""
    worst = max(found, key=lambda each: (each.wrong, each.open, not each.right, abs(each.value)))
    where = "" if len(found) == 1 else f", at the worst of {len(found)} rows of the context"
    limits = f"passes where all of the interval of {ERRORS} errors lies within {WITHIN:g}, fails where it lies beyond "
    said = f"the log of its integral is {worst}{where}; 0 for a density ({limits}{BEYOND:g} on one side)"
    if worst.right:
        return Finding(NAME, "pass", said)
    if worst.open:
        return Finding(NAME, "warn", said, f"exp(log_prob) sums to {math.exp(worst.value):.3g}: {remedy_of(model)}")
    if worst.wrong:
        follow = all(each.status == "pass" for each in agreed)
        share = math.exp(min(worst.least if worst.doubt else worst.value, 700.0))
        missing = "the slope of a warp" if model.schema is not None else "a term of log_det"
        remedy = (
            f"exp(log_prob) integrates to {share:.3g}: {missing} or a constant is missing, or noise dimensions "
            f"are counted as data{'; samples follow it otherwise, so that a constant is off' if follow else ''}"
        )
        return Finding(NAME, "fail", said, remedy)
    why = worst.doubt or (
        f"the log of its integral is {worst}{where}, too wide to tell 0 from {WITHIN:g} nats ({ERRORS} standard errors)"
    )
    trust = "trust log_det and round trips, which are checked row by row"
    if not shows_map:
        trust = "this density shows no map to check either: compare log_prob with values that are known"
    return Finding(NAME, "cannot tell", f"because {why}", trust)


def _samples(agreed: Sequence[Agreement], of: str) -> Finding:
    order = ["skip", "pass", "cannot tell", "fail"]
    worst = max(agreed, key=lambda each: order.index(each.status))
    differ = {"map": "inverse and forward disagree", "columns": "they differ in a column's factor or its parameters"}
    remedy = f"sample and log_prob are of two densities: {differ[of]}, or one of them lacks a part"
    return Finding(SAMPLES, worst.status, worst.found, remedy if worst.status == "fail" else "")
