"""A density on rows that it has not seen: log p of each row, and the accounting of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from marginflow.base.adapter import optional, require_distribution
from marginflow.base.arguments import Values, as_whole
from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate, Median, Moments
from marginflow.base.seeds import RandomStream, require_seed
from marginflow.base.transform import Transform
from marginflow.base.weighted_mean import WeightedMean
from marginflow.data import Batch, DataSpec, Rows, Split
from marginflow.data.dataset import ALL_ZERO, as_split, require_spec
from marginflow.data.require import bring_to, fitting
from marginflow.distributions.log_likelihood import log_likelihood_of, require_number
from marginflow.evaluation.row_parts import RowParts, parts_of
from marginflow.evaluation.row_scores import MOST_NAMED, RowScores
from marginflow.transforms import Dequantise

CONVERGED = 10  # a median effective sample size below this is printed as not converged


@dataclass(frozen=True)
class Accounting:
    """The accounting of a density, in nats a row at the level of the preprocessed rows.

    For an exact density `bound` and `importance_weighted` are the negative log-likelihood itself, of preprocessed rows.

    Rows at which log p is -inf, outside of the support, are counted, and not in these means: over all rows the negative
    log-likelihood is then infinite.

    Attributes:
        num_rows: how many rows the means are over.
        features: number of scalars in a row as given.
        num_samples: K, importance samples a row.
        seed: of all noise.
        exact: whether the density is.
        joint_nll: -E log p(x, eps), the thesis's column; not comparable between numbers of noise dimensions. None
            unless the density is a `Marginalising`.
        noise_entropy: -E log q(eps | x); None unless the density is a `Marginalising`.
        bound: joint_nll - noise_entropy, an upper bound of the negative log-likelihood.
        importance_weighted: -E log 1/K sum w_k, tightens to the negative log-likelihood as K grows.
        draws_bias: how far importance_weighted lies above it still, E[standard error^2] / 2 to first order; None at
            K = 1 and where not `converged`, where nothing in the draws can tell.
        effective_sample_size: the median over rows, between 1 and K; K for an exact density.
        log_det: E of the preprocessing's log-determinant: what leads from these nats to those of the rows.
        bits_per_dim: of the pixels, from importance_weighted; None unless the rows are images.
        bits_per_dim_bound: of the pixels, from bound; None unless the rows are images.
        given_label: -E log p(x | y), by K draws as well; None but for a mixture over labels that are known.
        modelled_dequantisation: whether u ~ q(u | x) came from a model. One draw of it is in log_det; so the nats of
            the preprocessed rows, which hold no q, cannot be compared between such models. Bits/dim can: on average,
            as with uniform u, they lie above those of the grey levels.
        num_outside: how many rows more have density 0.
        outside: the first of these rows, ten at most, counted from 0.
        discrete: -E log P of what is discrete in rows of a table: levels, values on a grid, blanks, spikes. None but
            for a density of a schema.
        real: -E log density of what is real, in the units of the file, which together with `discrete` is the negative
            log-likelihood; None where no column is real.
        reasons: why each row of `outside` has density 0, as far as its schema tells.
        effective_rows: where rows have weights w, by which all means count them, (sum w)^2 / sum w^2: as many rows of
            equal weight would tell as much. None without weights.
        log_prob: E log p of the rows as given, for images of their grey levels, by K draws.
        log_prob_given_label: E log p(x | y) of the rows as given; None but for a mixture over labels that are known.
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
    num_outside: int = 0
    outside: tuple[int, ...] = ()
    discrete: Estimate | None = None
    real: Estimate | None = None
    reasons: tuple[str, ...] = ()
    effective_rows: float | None = None
    log_prob: Estimate | None = None
    log_prob_given_label: Estimate | None = None

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


class AccountingBuilder:
    """An `Accounting` in the making: takes in what a model says of rows, chunk after chunk.

    Args:
        spec: of the rows as given.
        exact: whether the density is.
        num_samples: K, with which the results are taken.
        seed: with which the results are taken.

    Raises:
        ValueError: for K < 1, or a seed out of range.
    """

    def __init__(self, spec: DataSpec, *, exact: bool, num_samples: int, seed: int) -> None:
        self.spec, self.exact = spec, exact
        self.num_samples, self.seed = as_whole(num_samples, "num_samples", least=1), require_seed(seed)
        self.means: dict[str, Moments | WeightedMean] = {}
        self.sample_size = Median()
        self.modelled_dequantisation = False
        self.count, self.num_outside, self.outside = 0, 0, ()
        self.reasons: tuple[str, ...] = ()

    def add(self, rows: RowScores) -> None:
        """Take in the scores of some rows, each time with the same parts."""
        rows = self._inside(rows)
        if len(rows.log_det) == 0:
            return
        result, entropy = rows.density, rows.density.noise_entropy
        self.sample_size.add(result.effective_sample_size)
        self.modelled_dequantisation = rows.modelled_dequantisation
        weight = None if rows.weight is None else rows.weight.double()
        if result.standard_error is not None:
            self._add("squared_error", result.standard_error.square(), weight)
            self._add("error_of_mean", result.standard_error.square(), None if weight is None else weight.square())
        if entropy is not None:
            self._add("joint_nll", entropy - result.bound, weight)
            self._add("noise_entropy", entropy, weight)
        self._add("bound", -result.bound, weight)
        self._add("importance_weighted", -result.log_prob, weight)
        self._add("log_det", rows.log_det, weight)
        self._add("log_prob", rows.log_prob, weight)
        if rows.given_label is not None:
            self._add("log_prob_given_label", rows.given_label + rows.log_det + self.spec.log_volume, weight)
        for name, log_prob in (("given_label", rows.given_label), ("discrete", rows.discrete), ("real", rows.real)):
            if log_prob is not None:
                self._add(name, -log_prob, weight)
        if self.spec.levels is not None:
            self._add("bits_per_dim", rows.bits_per_dim(rows.log_prob), weight)
            self._add("bits_per_dim_bound", rows.bits_per_dim(rows.bound), weight)

    def _inside(self, rows: RowScores) -> RowScores:
        """Those rows that have a density; the others are counted."""
        outside = rows.outside
        numbers = [self.count + i for i in outside.nonzero().flatten().tolist()]
        self.count += len(outside)
        self.num_outside += len(numbers)
        self.outside = (*self.outside, *numbers)[:MOST_NAMED]
        self.reasons = (*self.reasons, *rows.reasons)[:MOST_NAMED]
        return rows.take(~outside) if numbers else rows

    def _add(self, name: str, values: Tensor, weight: Tensor | None) -> None:
        if weight is None:
            moments = self.means.setdefault(name, Moments())
            assert isinstance(moments, Moments)
            moments.add(values)
        else:
            moments = self.means.setdefault(name, WeightedMean())
            assert isinstance(moments, WeightedMean)
            moments.add(values, weight.to(values.device))

    def build(self) -> Accounting:
        """Means and errors of all that was taken in; ValueError where no row has a density."""
        if self.num_outside == self.count:
            first = f", the first: {self.reasons[0]}" if self.reasons and self.reasons[0] else ""
            raise ValueError(
                f"log p is -inf at all {self.count:,} rows{first}: they lie outside of the support of the model; train "
                "with another preprocessing, or give rows in the units of its training"
            )
        if not self.means["bound"].count:
            raise ValueError(f"the rows: {ALL_ZERO}")
        sample_size = self.sample_size.value()
        squares, of_mean, bound = self.means.get("squared_error"), self.means.get("error_of_mean"), self.means["bound"]
        effective_rows = bound.effective_count if isinstance(bound, WeightedMean) else None
        has_error = self.exact or sample_size >= CONVERGED
        error = bias = None
        if has_error and squares is not None and of_mean is not None:
            error, bias = math.sqrt(float(of_mean.mean) / (effective_rows or bound.count)), 0.5 * float(squares.mean)
        bits = self.spec.bits_per_nat
        errors = {
            "importance_weighted": error,
            "log_prob": error,
            "bits_per_dim": None if error is None else error * bits,
        }
        estimates = {name: moments.estimate(errors.get(name)) for name, moments in self.means.items()}
        return Accounting(
            num_rows=bound.count,
            features=self.spec.features,
            num_samples=self.num_samples,
            seed=self.seed,
            exact=self.exact,
            joint_nll=estimates.get("joint_nll"),
            noise_entropy=estimates.get("noise_entropy"),
            bound=estimates["bound"],
            importance_weighted=estimates["importance_weighted"],
            draws_bias=bias,
            effective_sample_size=sample_size,
            log_det=estimates["log_det"],
            given_label=estimates.get("given_label"),
            modelled_dequantisation=self.modelled_dequantisation,
            bits_per_dim=estimates.get("bits_per_dim"),
            bits_per_dim_bound=estimates.get("bits_per_dim_bound"),
            num_outside=self.num_outside,
            outside=self.outside,
            discrete=estimates.get("discrete"),
            real=estimates.get("real"),
            reasons=self.reasons if any(self.reasons) else (),
            effective_rows=effective_rows,
            log_prob=estimates["log_prob"],
            log_prob_given_label=estimates.get("log_prob_given_label"),
        )


def evaluate(
    model: Distribution,
    split: Split | tuple[Values, Values | None] | Values | Rows,
    *,
    spec: DataSpec | None = None,
    num_samples: int = 1,
    seed: int = 0,
    chunk: int | None = None,
) -> Accounting:
    """The accounting of a model on held-out rows.

    The preprocessing draws its noise once, from `seed`; the density is then taken on those rows with K draws.

    Args:
        model: a distribution; taken in evaluation mode. One that can average over its labels does so, whether the rows
            have labels or not.
        split: rows (N, *event), or a pair or `Split` of rows and their context, as `Distribution` takes them; where a
            `Split` has weights all means are weighted, and their errors those of independent rows.
        spec: of the data set; tells grey levels, for bits/dim, and whether the rows were scaled.
        num_samples: K, importance samples a row.
        seed: of all noise.
        chunk: rows x draws at once; by default 4096, or fewer for models of images.

    Returns:
        An `Accounting`, in nats a row.

    Raises:
        ValueError: where rows and model do not fit, K < 1, or no row lies in the support.
        FloatingPointError: where log p of a row is NaN or +inf.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> evaluate(models.planar(2), torch.randn(100, 2)).exact
        True
    """
    require_distribution(model)
    split = as_split(split)
    if spec is not None:
        require_spec(spec)
    spec = spec or DataSpec(tuple(split.x.shape[1:] if model.event_shape is None else model.event_shape))
    builder = AccountingBuilder(spec, exact=model.density.exact, num_samples=num_samples, seed=seed)
    builder.add(evaluate_rows(model, split, spec=spec, num_samples=num_samples, seed=seed, chunk=chunk))
    return builder.build()


def evaluate_rows(model: Distribution, split: Split, **options: Any) -> RowScores:
    """What a model says of each row; options as in `evaluate_chunks`."""
    (scores,) = evaluate_chunks(model, [split], **options)
    return scores


def evaluate_chunks(
    model: Distribution,
    chunks: Iterable[Split],
    *,
    spec: DataSpec | None = None,
    num_samples: int = 1,
    seed: int = 0,
    chunk: int | None = None,
    settled: Callable[[RowScores, Split], RowScores] = lambda scores, _: scores,
) -> Iterator[RowScores]:
    """What a model says of rows that come chunk after chunk; options as in `evaluate`.

    The noise of a chunk continues that of the chunk before, from `seed`.

    Args:
        model: a distribution.
        chunks: rows and their context.
        spec: of the data set.
        num_samples: K, importance samples a row.
        seed: of all noise.
        chunk: rows x draws at once.
        settled: what stands for the scores of rows, before it is asked whether they are numbers.

    Yields:
        The scores of each chunk.

    Raises:
        ValueError: where rows and model do not fit, or K < 1.
        FloatingPointError: where log p of a row is NaN or +inf, with its number.
    """
    first, stream = 0, RandomStream(seed)
    for given in chunks:
        rows = fitting(model, given, one_of_several=True)
        with stream.on():
            scores = settled(score(model, rows.take(), spec=spec, num_samples=num_samples, chunk=chunk), given)
        for log_prob in (scores.log_prob, scores.bound, *optional(scores.given_label)):
            require_number(log_prob, first)
        first += len(scores.log_det)
        yield scores


def score(
    model: Distribution, batch: Batch, *, spec: DataSpec | None = None, num_samples: int = 1, chunk: int | None = None
) -> RowScores:
    """What a model says of some rows, whether that is a number or not; draws come from torch's global generator."""
    preprocessing, density = model.preprocessing, model.density
    chunk = rows_at_once(model) if chunk is None else as_whole(chunk, "chunk", least=1)
    batch = bring_to(model, batch)
    with evaluation_mode(model):
        rows, log_det = _preprocess(preprocessing, batch, chunk)
        context = None if density.context_optional else batch.context
        told = parts_of(density, rows, context, num_samples, chunk, MOST_NAMED)
        result, parts = told or (log_likelihood_of(density, rows, context, num_samples, chunk), RowParts())
        given_label = None
        if density.context_optional and batch.context is not None:
            given_label = log_likelihood_of(density, rows, batch.context, num_samples, chunk).log_prob
    modelled = any(isinstance(part, Dequantise) and part.noise is not None for part in preprocessing.modules())
    spec = spec or DataSpec(tuple(batch.x.shape[1:]))
    return RowScores(result, log_det, given_label, spec, modelled, *parts, weight=batch.weight)


def preprocessed(model: Distribution, batch: Batch, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows as the density of a model takes them, and the log-determinant of that; as `evaluate` has them by its seed.

    Args:
        model: a distribution; taken in evaluation mode.
        batch: rows and contexts that fit it.
        chunk: rows at once.

    Returns:
        The rows, (N, *event), and log|det|, (N,), float64.
    """
    batch = bring_to(model, batch)
    with evaluation_mode(model):
        return _preprocess(model.preprocessing, batch, rows_at_once(model) if chunk is None else chunk)


@torch.no_grad()
def _preprocess(preprocessing: Transform, batch: Batch, chunk: int) -> tuple[Tensor, Tensor]:
    x, context, _ = batch
    parts = []
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        parts.append(preprocessing(x[rows], None if context is None else context[rows]))
    rows, log_dets = zip(*parts, strict=True)
    return torch.cat(rows), torch.cat(log_dets).double()
