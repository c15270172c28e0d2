"""The density as a whole: finite, normalised, of the right noise, above its floor, reached by its samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate
from marginflow.base.not_finite import not_finite
from marginflow.base.seeds import seeded
from marginflow.data import Batch
from marginflow.distributions import LogLikelihood, StandardNormal
from marginflow.distributions.log_likelihood import log_likelihood_of
from marginflow.evaluation.check.both_sides import both_sides
from marginflow.evaluation.check.findings import Finding
from marginflow.evaluation.check.integral import HEAVIEST, tail_index
from marginflow.evaluation.check.normalisation import normalised
from marginflow.evaluation.check.parts import Parts
from marginflow.evaluation.evaluate import CONVERGED
from marginflow.evaluation.sample_range import SampleRange, range_by_column, sample_range, share_far

CONTEXTS = "contexts that influence nothing"
DRAWS = 100  # importance samples a row
ERRORS = 4  # standard errors, on either side
WIDEST = 0.5  # nats, that an NLL may be unknown by and still tell that a term of log 2 is not missing


def of_density(
    model: Distribution, x: Tensor, context: Tensor | None, parts: Parts, floor: float | None, seed: int
) -> Iterator[Finding]:
    """What there is to say of a density on rows, and of its samples. floor: the entropy of the data, nats a row."""
    density = model.density
    own_context = None if context is None or density.context_optional else context
    yield finite(model, x, context, own_context, seed)
    yield range_of_samples(model, x, context, seed)
    yield latents(parts)
    if context is not None:
        yield contexts(model, x, context, seed)
    yield from normalised(model, x, own_context, seed, shows_map=parts.transform is not None)
    yield from estimated(model, x, own_context, floor, seed)


@torch.no_grad()
def _draw(model: Distribution, num_samples: int, context: Tensor | None) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is what is looked for
        return model._sample(num_samples, None if context is None else context[:num_samples])


@torch.no_grad()
def finite(model: Distribution, x: Tensor, context: Tensor | None, own: Tensor | None, seed: int) -> Finding:
    """log p of rows and of samples, and samples themselves, are numbers: after preprocessing, which images leave."""
    density = model.density
    with seeded(seed):
        of_rows = ~torch.isfinite(model.log_prob(x, context))
        drawn = _draw(density, len(x), own)
        whole = ~not_finite(drawn.double(), blanks=model.takes_blanks)
        of_samples = ~torch.isfinite(density._log_prob(drawn[whole], None if own is None else own[whole]))
    wrong = int(of_rows.sum()), int((~whole).sum()), int(of_samples.sum())
    return Finding(
        "finite",
        "fail" if any(wrong) else "pass",
        f"log p is not finite at {wrong[0]} of {len(x)} rows and {wrong[2]} of {len(drawn)} samples, of which "
        f"{wrong[1]} are not finite themselves",
        "bound the scales, clip gradients, look at the rows that it happens for" if any(wrong) else "",
    )


def range_of_samples(model: Distribution, x: Tensor, context: Tensor | None, seed: int) -> Finding:
    """How many samples are out of the range of the rows, beside how many rows are out of that of as many others."""
    if model.context_features and not model.context_optional:
        return Finding("samples", "skip", "samples of this model need a context each")
    found = sample_range(model, Batch(x, None), 500, seed)
    if model.schema is not None:
        return _range_by_column(found, range_by_column(x, model.schema))
    half, expected = len(x) // 2, 0.0
    if found.diverged:
        with seeded(seed):
            rows, mixed = model.preprocessing(model._fitting(x, None)[0], None)[0], torch.randperm(len(x))
        one, other = rows[mixed[:half]], rows[mixed[half:]]
        expected = max(share_far(other, one), share_far(one, other))
    # what rows do themselves is known within a few rows: heavy tails are no fault of the model
    allowed = expected + ERRORS * (max(expected, 1 / half) / half) ** 0.5 if expected else 0.0
    status = "pass" if found.diverged <= allowed else "warn" if found.diverged - allowed < 0.05 else "fail"
    beside = f" (of the rows {expected:.1%} are, of half against the other half)" if expected else ""
    said = (
        f"{found.diverged:.1%} of {found.num_samples} are far out of range{beside}, {found.saturated:.2%} of their "
        "values lie outside it"
    )
    remedy = "" if status == "pass" else "bound the scales more tightly, train less long"
    return Finding("samples", status, said, remedy)


def _range_by_column(found: SampleRange, rows: SampleRange) -> Finding:
    """The same of a table's columns, each of which has a range of its own, known from the training rows."""
    expected = max(rows.diverged, 1 / rows.num_samples)
    allowed = rows.diverged + ERRORS * (expected / rows.num_samples) ** 0.5
    status = "pass" if found.diverged <= allowed else "warn" if found.diverged - allowed < 0.05 else "fail"
    said = (
        f"{found.diverged:.1%} of {found.num_samples} hold a number far out of the range of its column in the training "
        f"rows (of {rows.num_samples} {rows.diverged:.1%} do), {found.saturated:.2%} of their numbers lie outside it"
    )
    remedy = "" if status == "pass" else "give columns the bounds that they have, or train longer"
    return Finding("samples", status, said, remedy)


def latents(parts: Parts) -> Finding:
    """Whether what the map makes of rows looks like N(0, I)."""
    if parts.transform is None or not isinstance(parts.base, StandardNormal):
        return Finding("latents", "skip", "no map, or another base than N(0, I)")
    with torch.no_grad():
        z = parts.transform(parts.rows, parts.context)[0].flatten(1).double()
    mean, deviation = z.mean(0).abs().max(), z.std(0)
    low, high = float(deviation.min()), float(deviation.max())
    found = f"means up to {float(mean):.2f}, deviations {low:.2f} ... {high:.2f}, N(0, I) has 0 and 1"
    if float(mean) < 0.5 and low > 0.5 and high < 2:
        return Finding("latents", "pass", found)
    error = ERRORS / len(z) ** 0.5
    factor = math.exp(error / 2**0.5)
    if float(mean) - error < 0.5 and low * factor > 0.5 and high / factor < 2:
        return Finding("latents", "cannot tell", f"because of {len(z)} rows alone: {found}", "check with more rows")
    return Finding("latents", "warn", found, "the model does not fit these rows yet")


def contexts(model: Distribution, x: Tensor, context: Tensor, seed: int) -> Finding:
    """Whether log p depends on every feature of the context."""
    if model.encodes_context:
        return _columns_of_context(model, x, context, seed)
    if not context.is_floating_point():
        return Finding(CONTEXTS, "skip", "the context is not of real numbers")
    given = context.detach().clone().requires_grad_(True)
    with seeded(seed):
        log_prob = model.log_prob(x, given)
    gradient = None
    if log_prob.requires_grad:
        (gradient,) = torch.autograd.grad(log_prob.sum(), given, allow_unused=True)
    asked = list(range(context.shape[1]))  # those by which no gradient comes, as where a density does not pass any on
    if gradient is not None:
        asked = (gradient.abs().transpose(0, 1).flatten(1).amax(1) == 0).nonzero().flatten().tolist()
    unused = sum(not _moves(model, x, context, log_prob.detach(), feature, seed) for feature in asked)
    status = "pass" if not unused else "fail" if unused == context.shape[1] else "warn"
    remedy = "leave them out, or let the degrees begin at 0 so that the first dimension sees the context too"
    if unused == context.shape[1]:
        remedy = "log p ignores its context: let what makes the density depend on it, or build it without"
    return Finding(CONTEXTS, status, f"{unused} of {context.shape[1]} features", remedy if unused else "")


@torch.no_grad()
def _columns_of_context(model: Distribution, x: Tensor, context: Tensor, seed: int) -> Finding:
    """The same of a table's columns: by the values of other rows alone, as there may be no others."""
    with seeded(seed):
        log_prob = model.log_prob(x, context)
    number, alike = context.shape[1], [bool(_same(row, row[:1].expand_as(row))) for row in context.T]
    asked = [i for i in range(number) if not alike[i]]
    unused = sum(not _moves(model, x, context, log_prob, i, seed) for i in asked)
    if unused:
        status, remedy = "warn", "leave them out of the context, or train longer"
        if unused == number:
            status, remedy = "fail", "log p ignores its context: let what makes the density depend on it"
        return Finding(CONTEXTS, status, f"{unused} of {number} columns", remedy)
    if len(asked) < number:
        why = f"because all rows agree in {number - len(asked)} of {number} columns of the context"
        return Finding(CONTEXTS, "cannot tell", why, "check with rows that differ there")
    return Finding(CONTEXTS, "pass", f"0 of {number} columns")


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, NaN being the same as NaN."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


@torch.no_grad()
def _moves(model: Distribution, x: Tensor, context: Tensor, log_prob: Tensor, feature: int, seed: int) -> bool:
    """Whether log p is another where a feature of the context is that of the next row, or larger where all agree."""
    moved = context.clone()
    moved[:, feature] = context[:, feature].roll(1, 0)
    if not model.encodes_context and torch.equal(moved, context):
        moved[:, feature] += 0.1 * (1 + context[:, feature].abs())
    with seeded(seed):
        return not torch.equal(model.log_prob(x, moved).nan_to_num(), log_prob.nan_to_num())


def estimated(
    model: Distribution, x: Tensor, context: Tensor | None, floor: float | None, seed: int
) -> Iterator[Finding]:
    """The negative log-likelihood, whether it has converged, and whether it can be true."""
    with seeded(seed):
        result = log_likelihood_of(model, *model._fitting(x, context), 1 if model.exact else DRAWS, None)
    if not model.exact:
        yield _converged(result)
        yield both_sides(model.density, context, seed)
    if floor is not None:
        yield _floor(-result.log_prob, floor)


def _converged(result: LogLikelihood) -> Finding:
    """Whether the importance weights of rows are many that count."""
    size = float(result.effective_sample_size.median())
    good = size >= CONVERGED
    below = float((result.effective_sample_size < CONVERGED).double().mean())
    gap = float((result.log_prob - result.bound).mean())
    return Finding(
        "importance weights",
        "pass" if good else "warn",
        f"median effective sample size {size:.1f} of {DRAWS}, below {CONVERGED} at {below:.0%} of {len(result.bound)} "
        f"rows; IW-{DRAWS} lies {gap:.3f} nats above the bound",
        "" if good else "not converged: the estimate is a bound, take more draws, learn q(eps | x), or anneal",
    )


def _floor(nll: Tensor, floor: float) -> Finding:
    """Whether the mean of -log p, as far as it is known, lies below the entropy of the data, in nats."""
    moments = Estimate.of(nll)
    half = ERRORS * moments.standard_error
    found = f"NLL {moments.value:.3f} ± {half:.3f} nats ({ERRORS} errors); the entropy of the data is {floor:.3f}"
    index = tail_index(nll - nll.max() if not torch.isfinite(nll).all() else nll.clamp_min(1e-300).log())
    if moments.value - half > floor:
        return Finding("floor", "pass", found)
    if index > HEAVIEST:
        why = f"because the largest of -log p have no error (tail index {index:.2f}, at most {HEAVIEST}): {found}"
        return Finding("floor", "cannot tell", why, "give more rows")
    if moments.value + half <= floor:
        remedy = "no density averages below the entropy: log_prob is not normalised, or rows leak"
        return Finding("floor", "fail", found, remedy)
    if half > WIDEST:
        return Finding("floor", "cannot tell", f"because {len(nll)} rows are too few: {found}", "give more rows")
    return Finding("floor", "pass", found)
