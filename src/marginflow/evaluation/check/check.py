"""Whether a model can be believed: its map, its density, its samples, asked one by one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

from marginflow.base.arguments import Values
from marginflow.base.devices import evaluation_mode, like_of, require_weights, with_gradients
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import require_seed
from marginflow.base.settings import as_real
from marginflow.data import Batch, Split
from marginflow.data.dataset import as_split, spread_rows
from marginflow.data.require import bring_to, fitting
from marginflow.evaluation.check.densities import estimated, of_density
from marginflow.evaluation.check.findings import Finding, Findings
from marginflow.evaluation.check.maps import of_map
from marginflow.evaluation.check.parts import parts_of
from marginflow.evaluation.check.statistics import of_batch_norm
from marginflow.evaluation.check.weights import hidden_weights, not_finite_weights

MOST_ROWS = 1000  # that most checks use


def check(
    model: Distribution,
    x: Values | Split,
    context: Values | None = None,
    *,
    floor: float | None = None,
    seed: int = 0,
) -> Findings:
    """Check a trained model: its map, its density and its samples.

    That weights are numbers, and 0 where masks hide them; round trips both ways in the model's precision and in
    float64; the log-determinant against autograd's Jacobian, by random
    projections where it is large; that masked layers are triangular and cut no input off; how far scales reach;
    batch norm's statistics against those of the rows; that log p is finite on rows and on samples, which stay in the
    range of the rows; what z looks like; contexts that nothing uses; that the density integrates to 1, counts no noise
    as data, and that samples follow it; whether importance weights have converged, and how near both sides of log p
    come on rows that are drawn; and that the NLL does not lie below
    the entropy.

    What is estimated passes or fails on evidence alone, an interval around the estimate; otherwise it "cannot tell",
    and says why. The log of the integral passes where its interval lies within 0.1 nats of 0, and fails where it lies
    beyond 0.02 on one side. It is found by cells in up to three dimensions, by draws from a proposal that is fitted to
    samples in up to twenty, and by a sum over pixels of up to 20,000 different values.

    Args:
        model: any `Distribution`, also one of another library behind its adapter; left as it is.
        x: rows of the training set (N, *event), at least 20; or a `Split` of rows and their context.
        context: (N, ...), where the model takes one and x is no `Split`.
        floor: the entropy of the data in nats a row, where it is known; then let x be rows that the model has not
            seen.
        seed: of all draws.

    Returns:
        `Findings`: each passes, warns, fails, cannot tell or is skipped, with a figure and what to do. `findings.ok` is
            False where one failed.

    Raises:
        ValueError: where rows and model do not fit, there are fewer than 20 rows, the floor is no finite number, or the
            model lies on the meta device.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> findings = check(models.maf(2, hidden=[16], blocks=2), torch.randn(100, 2))
        >>> findings.ok, findings.of("log-determinant").status
        (True, 'pass')
    """
    if isinstance(model, Distribution):
        require_weights(model)
    split = fitting(model, as_split(x if context is None or isinstance(x, Split) else (x, context)))
    seed = require_seed(seed)
    floor = None if floor is None else as_real(floor, "floor")
    if len(split.x) < 20:
        raise ValueError(f"a check needs at least 20 rows; got {len(split.x)}")
    with with_gradients(model), evaluation_mode(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*samples are not finite", RuntimeWarning)  # they are counted
        every = _findings(model, bring_to(model, split.take()), floor, seed)
        return Findings([_in_its_precision(model, each) for each in every])


def floor(model: Distribution, split: Split, entropy: float, seed: int = 0) -> Finding:
    """Whether the NLL of rows that the model has not seen lies below the entropy of their distribution."""
    split, entropy = fitting(model, split), as_real(entropy, "the entropy")
    with evaluation_mode(model):
        x, context, _ = bring_to(model, split.take())
        own = None if model.context_optional else context
        return next(each for each in estimated(model, x, own, entropy, seed) if each.check == "floor")


def _findings(model: Distribution, every: Batch, floor: float | None, seed: int) -> Iterator[Finding]:
    broken = not_finite_weights(model)
    if broken is not None:
        yield broken
        return
    try:
        yield from hidden_weights(model)
        yield from of_batch_norm(model, every, seed)
        some = spread_rows(len(every.x), MOST_ROWS)
        x, context = every.x[some], None if every.context is None else every.context[some]
        parts = parts_of(model, x, context, seed)
        yield from of_map(parts, seed)
        yield from of_density(model, x, context, parts, floor, seed)
    except ValueError as error:  # as of layers without statistics: nothing more can be asked
        yield Finding("evaluation", "fail", str(error), "mend this first, then check again")
    except Exception as error:  # whatever a density of others raises
        why = f"the model raises {type(error).__name__}: {error}"
        yield Finding("evaluation", "fail", why, "mend this first, then check again")


def _in_its_precision(model: Distribution, finding: Finding) -> Finding:
    """A finding whose remedy begins with more digits, where the model has few."""
    like = like_of(model)
    if like is None or like.dtype.itemsize > 2 or finding.status not in ("warn", "fail"):
        return finding
    first = f"the model computes in {str(like.dtype).removeprefix('torch.')}: use model.float() and check again; then"
    return replace(finding, remedy=f"{first} {finding.remedy}")
