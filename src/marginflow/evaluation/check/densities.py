"""The density as a whole: finite, normalised, of the right noise, above its floor, reached by its samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.data import Batch
from marginflow.distributions import StandardNormal, log_likelihood
from marginflow.evaluation.check.findings import Finding
from marginflow.evaluation.check.parts import Parts
from marginflow.evaluation.evaluate import CONVERGED
from marginflow.evaluation.sample_range import sample_range

DRAWS = 100  # importance samples a row
MOST_FEATURES = 3  # in which a kernel density of samples can be compared
KERNELS, PROBES = 1000, 4000  # of which it is made, at which it is compared


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
    yield normalised(model, own_context, seed)
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
        whole = torch.isfinite(drawn.flatten(1).double()).all(1)
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
    """How many samples are out of the range of the rows."""
    if model.context_features and not model.context_optional:
        return Finding("samples", "skip", "samples of this model need a context each")
    found = sample_range(model, Batch(x, None), 500, seed)
    status = "pass" if found.diverged == 0 else "warn" if found.diverged < 0.05 else "fail"
    said = (
        f"{found.diverged:.1%} of {found.num_samples} are far out of range, {found.saturated:.2%} of their values lie "
        "outside it"
    )
    return Finding("samples", status, said, "bound the scales more tightly, train less long" if found.diverged else "")


def latents(parts: Parts) -> Finding:
    """Whether what the map makes of rows looks like N(0, I)."""
    if parts.transform is None or not isinstance(parts.base, StandardNormal):
        return Finding("latents", "skip", "no map, or another base than N(0, I)")
    with torch.no_grad():
        z = parts.transform(parts.rows, parts.context)[0].flatten(1).double()
    mean, deviation = z.mean(0).abs().max(), z.std(0)
    low, high = float(deviation.min()), float(deviation.max())
    good = float(mean) < 0.5 and low > 0.5 and high < 2
    found = f"means up to {float(mean):.2f}, deviations {low:.2f} ... {high:.2f}, N(0, I) has 0 and 1"
    return Finding(
        "latents", "pass" if good else "warn", found, "" if good else "the model does not fit these rows yet"
    )


def contexts(model: Distribution, x: Tensor, context: Tensor, seed: int) -> Finding:
    """Whether log p depends on every feature of the context."""
    name = "contexts that influence nothing"
    if not context.is_floating_point():
        return Finding(name, "skip", "the context is not of real numbers")
    given = context.detach().clone().requires_grad_(True)
    with seeded(seed):
        log_prob = model.log_prob(x, given)
    (gradient,) = torch.autograd.grad(log_prob.sum(), given, allow_unused=True)
    unused = context.shape[1]
    if gradient is not None:
        unused = int((gradient.abs().transpose(0, 1).flatten(1).amax(1) == 0).sum())
    status = "pass" if not unused else "fail" if unused == context.shape[1] else "warn"
    remedy = "leave them out, or let the degrees begin at 0 so that the first dimension sees the context too"
    return Finding(name, status, f"{unused} of {context.shape[1]} features", remedy if unused else "")


@torch.no_grad()
def normalised(model: Distribution, context: Tensor | None, seed: int) -> Finding:
    """Whether the density integrates to 1 where its samples are: E over samples of q(x) / p(x) = 1 for any density q.

    q is a kernel density of other samples, narrow beside them, so that it lies where p does.
    """
    name = "normalisation"
    shape = model.event_shape
    if shape is None or len(shape) != 1 or shape[0] > MOST_FEATURES or context is not None:
        return Finding(name, "skip", f"asked of up to {MOST_FEATURES} features without a context")
    with seeded(seed):
        centres, probes = (_draw(model, count, None).double() for count in (KERNELS, PROBES))
        if not bool(torch.isfinite(torch.cat([centres, probes])).all()):
            return Finding(name, "skip", "there are samples that are not finite")
        log_p = log_likelihood(model, probes, num_samples=1 if model.exact else DRAWS).log_prob
    width = 0.3 * (centres.quantile(0.75, 0) - centres.quantile(0.25, 0)).clamp_min(1e-12)
    distance = ((probes[:, None] - centres) / width).square().sum(2)
    log_q = torch.logsumexp(-0.5 * distance, 1) - math.log(KERNELS) - (width.log() + 0.5 * math.log(2 * math.pi)).sum()
    ratio = (log_q - log_p).clamp_max(50).exp()
    mean, error = float(ratio.mean()), float(ratio.std() / PROBES**0.5)
    good = abs(mean - 1) < 5 * error + 0.1
    remedy = (
        "log_prob is no log density of what sample draws: a term is missing, or noise dimensions are counted as data"
    )
    found = f"E q(x)/p(x) over samples is {mean:.3g} ± {error:.2g}, 1 for a density"
    return Finding(name, "pass" if good else "fail", found, "" if good else remedy)


def estimated(
    model: Distribution, x: Tensor, context: Tensor | None, floor: float | None, seed: int
) -> Iterator[Finding]:
    """The negative log-likelihood, whether it has converged, and whether it can be true."""
    with seeded(seed):
        result = log_likelihood(model, x, context, num_samples=1 if model.exact else DRAWS)
    nll, error = -float(result.log_prob.mean()), float(result.log_prob.std() / len(x) ** 0.5)
    if not model.exact:
        size = float(result.effective_sample_size.median())
        good = size >= CONVERGED
        gap = float((result.log_prob - result.bound).mean())
        yield Finding(
            "importance weights",
            "pass" if good else "warn",
            f"median effective sample size {size:.1f} of {DRAWS}; IW-{DRAWS} lies {gap:.3f} nats above the bound",
            "" if good else "not converged: the estimate is a bound, take more draws, or learn q(eps | x)",
        )
    if floor is not None:
        good = nll > floor - 4 * error
        yield Finding(
            "floor",
            "pass" if good else "fail",
            f"NLL {nll:.3f} ± {error:.3f} nats; the entropy of the data is {floor:.3f}",
            "" if good else "no density averages below the entropy: log_prob is not normalised, or rows leak",
        )
