"""The accounting: what a density is worth on rows it has not seen, and how far each number can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.data.dataset import Batch, DataSpec, Rows, Split, as_split, check_split
from marginflow.distributions import ELEMENTARY, Distribution, evaluation_mode, like_model, optional, rows_at_once
from marginflow.flow import Flow
from marginflow.marginal import LogLikelihood, log_likelihood
from marginflow.randomness import seeded
from marginflow.shapes import check_rows
from marginflow.transforms.augment import Augment
from marginflow.transforms.base import Sequential, Transform
from marginflow.transforms.preprocess import Dequantise

CONVERGED = 10  # a median effective sample size below this is printed as not converged


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    standard_error: of the mean, from the spread over rows. draws_error: the part of it that comes from drawing
    noise, which more draws reduce; None where it is not known, as where the effective sample size is too small to
    tell, 0 where nothing was drawn. Neither holds a bias.
    """

    value: float
    standard_error: float
    draws_error: float | None = None

    @classmethod
    def of(cls, values: Tensor, errors: Tensor | None = None) -> Estimate:
        """The mean of values (N,), whose own standard errors may be known."""
        n = len(values)
        spread = float(values.std(correction=1)) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(values.mean()), spread, None if errors is None else float(errors.square().sum().sqrt()) / n)

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        error = None if self.draws_error is None else self.draws_error * factor
        return Estimate(self.value * factor, self.standard_error * factor, error)


@dataclass(frozen=True)
class Accounting:
    """The accounting of a density, in nats a row at the level of the preprocessed rows.

    joint_nll            -E log p(x, eps), the thesis's column; not comparable between numbers of noise dimensions
    noise_entropy        -E log q(eps | x); this and joint_nll are None unless the density is a `Marginalising`
    bound                joint_nll - noise_entropy, an upper bound of the negative log-likelihood
    importance_weighted  -E log 1/K sum w_k, tightens to the negative log-likelihood as K grows
    draws_bias           how far importance_weighted lies above it still, E[standard error^2] / 2 to first order;
                         None at K = 1 and where not `converged`, where nothing in the draws can tell
    log_det              E of the preprocessing's log-determinant: what leads from these nats to those of the rows
    bits_per_dim, bits_per_dim_bound   of the pixels, from importance_weighted and bound; None unless images
    given_label          -E log p(x | y), by K draws as well; None but for a mixture over labels that are known
    modelled_dequantisation   whether u ~ q(u | x) came from a model. One draw of it is in log_det; so the nats of the
                         preprocessed rows, which hold no q, cannot be compared between such models. Bits/dim can: on
                         average, as with uniform u, they lie above those of the grey levels.

    For an exact density bound and importance_weighted are the negative log-likelihood itself, of preprocessed rows.
    """

    num_rows: int
    features: int
    num_samples: int
    seed: int
    exact: bool
    joint_nll: Estimate | None
    noise_entropy: Estimate | None
    bound: Estimate
    importance_weighted: Estimate
    draws_bias: float | None
    effective_sample_size: float
    log_det: Estimate
    bits_per_dim: Estimate | None
    bits_per_dim_bound: Estimate | None
    given_label: Estimate | None = None
    modelled_dequantisation: bool = False

    @property
    def converged(self) -> bool:
        """Whether the median effective sample size is enough for importance_weighted to be believed."""
        return self.exact or self.effective_sample_size >= CONVERGED

    @property
    def raw_nll(self) -> float:
        """The negative log-likelihood of the rows as given, before preprocessing, in nats."""
        return self.importance_weighted.value - self.log_det.value

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {**asdict(self), "converged": self.converged, "raw_nll": self.raw_nll}


def levels_of(model: Distribution) -> tuple[Transform, Distribution]:
    """Preprocessing and density of a model: Flow(preprocessing, base=density), or all of it density.

    A transform that augments is no preprocessing: its noise belongs to the density. Nor is one over an elementary base.
    """
    if isinstance(model, Flow) and isinstance(model.base, Distribution) and not isinstance(model.base, ELEMENTARY):
        augments = any(isinstance(part, Augment) for part in model.transform.modules())
        if not augments:
            return model.transform, model.base
    return Sequential(), model


def check_fits(model: Distribution, split: Split | Batch) -> None:
    """Refuse rows of another shape than the model's or not finite, and a context that is missing or unused."""
    if not isinstance(model, Distribution):
        raise ValueError(f"{type(model).__name__} is not a marginflow distribution: wrap it in Flow([], base=...)")
    check_rows(split.x.shape, model.event_shape)
    if not split.x.dtype.is_floating_point and not any(isinstance(part, Dequantise) for part in model.modules()):
        raise ValueError(
            f"{split.x.dtype} rows are pixels: put Dequantise(levels) in front of the model, or pass reals"
        )
    check_split(Split(*split), "the rows", least=1)
    width = 0 if split.context is None else split.context.shape[1]
    if width and model.context_features == 0:
        raise ValueError(
            f"the data have a context of {width} features that nothing in the model uses: "
            "leave it out, or build the model with context_features"
        )
    if width != model.context_features and not (width == 0 and model.context_optional):
        raise ValueError(f"the model takes a context of {model.context_features} features; the data have {width}")


@torch.no_grad()
def mean_nll(log_prob: Callable[..., Tensor], batches: Iterable[Batch], seed: int = 0) -> float:
    """-mean log_prob over batches of rows, in nats, one draw of noise a row from `seed`."""
    total, count = 0.0, 0
    with seeded(seed):
        for x, context in batches:
            total -= float(log_prob(x, *optional(context)).double().sum())
            count += len(x)
    return total / count


@dataclass(frozen=True)
class RowResults:
    """What a model says of each row: at the density, given the label where there is one, and of the preprocessing.

    result: log-likelihoods of the preprocessed rows. log_det: of the preprocessing, (N,), so that their sum is the
    log-likelihood of the rows as given. given_label: log p(x | y), (N,); None but for a mixture over known labels.
    modelled_dequantisation: whether the preprocessing drew u ~ q(u | x) from a model.
    """

    result: LogLikelihood
    log_det: Tensor
    given_label: Tensor | None
    modelled_dequantisation: bool


def evaluate_rows(
    model: Distribution, split: Split, *, num_samples: int = 1, seed: int = 0, chunk: int | None = None
) -> RowResults:
    """The log-likelihood of each row; see `evaluate`."""
    check_fits(model, split)
    batch = bring_to(model, split.take())
    preprocessing, density = levels_of(model)
    chunk = chunk or rows_at_once(model)
    context = None if density.context_optional else batch.context
    with seeded(seed), evaluation_mode(model):
        rows, log_det = _preprocess(preprocessing, batch, chunk)
        result = log_likelihood(density, rows, context, num_samples=num_samples, chunk=chunk)
        given_label = None
        if density.context_optional and batch.context is not None:
            conditional = log_likelihood(density, rows, batch.context, num_samples=num_samples, chunk=chunk)
            given_label = conditional.log_prob
    modelled = any(isinstance(part, Dequantise) and part.noise is not None for part in preprocessing.modules())
    return RowResults(result, log_det, given_label, modelled)


def evaluate(
    model: Distribution,
    split: Split | tuple[Tensor | np.ndarray, Tensor | np.ndarray | None] | Tensor | np.ndarray | Rows,
    *,
    spec: DataSpec | None = None,
    num_samples: int = 1,
    seed: int = 0,
    chunk: int | None = None,
) -> Accounting:
    """The accounting of a model on held-out rows.

    The preprocessing draws its noise once, from `seed`; the density is then taken on those rows with K draws.

    model: a distribution; taken in evaluation mode. One that can average over its labels does so, whether the rows
        have labels or not.
    split: rows (N, *event), tensor or array, or a `Split` with their context; brought to the model's device and dtype.
    spec: of the data set; tells grey levels, for bits/dim, and whether the rows were scaled.
    num_samples: K. seed: of all noise. chunk: rows x draws at once; fewer for models of images
        by default.

    Returns an `Accounting`. ValueError where rows and model do not fit, or K < 1.

    >>> import torch
    >>> from marginflow import models
    >>> evaluate(models.planar(2), torch.randn(100, 2)).exact
    True
    """
    split = as_split(split)
    spec = spec or DataSpec(tuple(split.x.shape[1:]))
    rows = evaluate_rows(model, split, num_samples=num_samples, seed=seed, chunk=chunk)
    return account(rows, spec, exact=levels_of(model)[1].exact, num_samples=num_samples, seed=seed)


def bring_to(model: Distribution, batch: Batch) -> Batch:
    """Rows and context on the model's device and in its precision."""
    x, context = batch
    return Batch(like_model(model, x), None if context is None else like_model(model, context))


@torch.no_grad()
def _preprocess(preprocessing: Transform, batch: Batch, chunk: int) -> tuple[Tensor, Tensor]:
    x, context = batch
    parts = []
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        parts.append(preprocessing(x[rows], None if context is None else context[rows]))
    rows, log_dets = zip(*parts, strict=True)
    return torch.cat(rows), torch.cat(log_dets).double()


def account(rows: RowResults, spec: DataSpec, *, exact: bool, num_samples: int, seed: int) -> Accounting:
    """Means and errors of what `evaluate_rows` found."""
    result, log_det = rows.result, rows.log_det
    entropy, errors = result.noise_entropy, result.standard_error
    sample_size = float(result.effective_sample_size.median())
    if not exact and sample_size < CONVERGED:
        errors = None
    bits = spec.bits_per_nat
    to_pixels = log_det + spec.log_volume
    images = spec.levels is not None
    return Accounting(
        num_rows=len(result.bound),
        features=spec.features,
        num_samples=num_samples,
        seed=seed,
        exact=exact,
        joint_nll=None if entropy is None else Estimate.of(entropy - result.bound),
        noise_entropy=None if entropy is None else Estimate.of(entropy),
        bound=Estimate.of(-result.bound),
        importance_weighted=Estimate.of(-result.log_prob, errors),
        draws_bias=None if errors is None else 0.5 * float(errors.square().mean()),
        effective_sample_size=sample_size,
        log_det=Estimate.of(log_det),
        given_label=None if rows.given_label is None else Estimate.of(-rows.given_label),
        modelled_dequantisation=rows.modelled_dequantisation,
        bits_per_dim=Estimate.of(
            -(result.log_prob + to_pixels) * bits, None if errors is None else errors * bits
        ) if images else None,
        bits_per_dim_bound=Estimate.of(-(result.bound + to_pixels) * bits) if images else None,
    )  # fmt: skip
