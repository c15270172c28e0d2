"""A model on rows: whether they fit, what it says of each, the accounting of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from marginflow.accounting import Account, Accounting, RowResults
from marginflow.data.dataset import Batch, DataSpec, Rows, Split, as_split, check_split
from marginflow.distributions import ELEMENTARY, Distribution, evaluation_mode, like_model, optional, rows_at_once
from marginflow.flow import Flow
from marginflow.marginal import log_likelihood
from marginflow.randomness import Stream, seeded
from marginflow.shapes import check_rows
from marginflow.transforms.augment import Augment
from marginflow.transforms.base import Sequential, Transform
from marginflow.transforms.preprocess import Dequantise


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
    if not split.x.dtype.is_floating_point and not model.takes_pixels:
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


def evaluate_blocks(
    model: Distribution, blocks: Iterable[Split], *, num_samples: int = 1, seed: int = 0, chunk: int | None = None
) -> Iterator[RowResults]:
    """What a model says of rows that come block after block; see `evaluate`. Noise is drawn on and on from `seed`.

    FloatingPointError where log p of a row is not finite, with its number.
    """
    preprocessing, density = levels_of(model)
    modelled = any(isinstance(part, Dequantise) and part.noise is not None for part in preprocessing.modules())
    chunk = chunk or rows_at_once(model)
    first, stream = 0, Stream(seed)
    for block in blocks:
        check_fits(model, block)
        batch = bring_to(model, block.take())
        with stream.on(), evaluation_mode(model):
            rows, log_det = _preprocess(preprocessing, batch, chunk)
            context = None if density.context_optional else batch.context
            result = log_likelihood(density, rows, context, num_samples=num_samples, chunk=chunk)
            given_label = None
            if density.context_optional and batch.context is not None:
                conditional = log_likelihood(density, rows, batch.context, num_samples=num_samples, chunk=chunk)
                given_label = conditional.log_prob
        for log_prob in (result.log_prob, result.bound, *optional(given_label)):
            _insist_on_finite(log_prob + log_det, first)
        first += len(rows)
        yield RowResults(result, log_det, given_label, modelled)


def _insist_on_finite(log_prob: Tensor, first: int) -> None:
    """FloatingPointError where a log-likelihood is none, which names the row; their mean would say nothing."""
    broken = (~torch.isfinite(log_prob)).nonzero().flatten()
    if len(broken):
        value = float(log_prob[broken[0]])
        why = (
            "its density is 0 there, or too small for a number"
            if value == -torch.inf
            else "the model has diverged, or the row is far out"
        )
        raise FloatingPointError(
            f"log p is {value} at row {first + int(broken[0])} (counted from 0), and not finite at {len(broken)} of "
            f"{len(log_prob)} rows: {why}; leave such rows out, or train with a lower lr or another preprocessing"
        )


def evaluate_rows(
    model: Distribution, split: Split, *, num_samples: int = 1, seed: int = 0, chunk: int | None = None
) -> RowResults:
    """What a model says of each row; see `evaluate`."""
    (found,) = evaluate_blocks(model, [split], num_samples=num_samples, seed=seed, chunk=chunk)
    return found


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

    Returns an `Accounting`. ValueError where rows and model do not fit, or K < 1. FloatingPointError where log p of a
    row is not finite.

    >>> import torch
    >>> from marginflow import models
    >>> evaluate(models.planar(2), torch.randn(100, 2)).exact
    True
    """
    split = as_split(split)
    spec = spec or DataSpec(tuple(split.x.shape[1:]))
    account = Account(spec, exact=levels_of(model)[1].exact, num_samples=num_samples, seed=seed)
    account.add(evaluate_rows(model, split, num_samples=num_samples, seed=seed, chunk=chunk))
    return account.accounting()


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
