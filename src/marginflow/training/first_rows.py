"""What an untrained model makes of the first rows it is given, told before the first step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning, TrainingWarning
from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.data import DataSet, DataSpec, Split
from marginflow.data.dataset import spread_rows
from marginflow.data.require import bring_to
from marginflow.training.ending import HUGE
from marginflow.training.validation import NAMED, named, robust_mean
from marginflow.transforms import BatchNorm

NUM_ROWS = 500  # spread over a split, that an untrained model is given,
MOST_FEATURES = 250  # and where there are no more, those with the extreme values of each
FAR = 8.0  # a mean, in standard deviations of the base,
STRETCHED = 5e-3  # of a standard deviation, in which the middle half of a column's rows lies,
WIDE, NARROW = 8.0, 0.05  # and standard deviations that hinder a training: of a spline flow more than of others


def check_first_rows(
    model: Distribution, data: DataSet, places: Mapping[str, Tensor], seed: int, stacklevel: int
) -> float:
    """The robust mean of -log p(x) over some validation rows before the first step, in nats.

    Warns of columns that reach the density far from standardised, and of a density that is tiny all the same. Rows
    outside the support are a ValueError, which names them, by their `places` in what the caller gave where known.
    """
    outside = []
    for name, split in (("training", data.train), ("validation", data.validation)):
        log_prob, log_det, rows = _scores(model, split, some_rows(split), seed)
        outside += _outside(model, split, log_prob, name, places, seed)
        if name == "training" and not outside and not model.takes_blanks:
            _warn_of_stretch(data.spec, rows, stacklevel + 1)
            _warn_of_scale(model, data.spec, log_prob - log_det, rows, stacklevel + 1)
    if outside:
        raise ValueError(
            f"{'; '.join(outside)}: they lie outside the support of the model, or too far out for its precision; "
            "remove them, standardise, or give the model a support that holds them"
        )
    spread, weight = log_prob[: min(NUM_ROWS, len(data.validation.x))], data.validation.weight
    weight = None if weight is None else weight[spread_rows(len(weight), NUM_ROWS)].double().cpu()
    return robust_mean(-spread, None if weight is None or not bool(weight.any()) else weight)


def some_rows(split: Split) -> Tensor:
    """Numbers of rows spread over a split, then those of its extreme values, a row once."""
    x = split.x
    spread = spread_rows(len(x), NUM_ROWS)
    if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] > MOST_FEATURES:
        return spread
    extremes = torch.cat([x.argmin(0), x.argmax(0)]).cpu().unique()
    return torch.cat([spread, extremes[~torch.isin(extremes, spread)]])


def _scores(model: Distribution, split: Split, numbers: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """log p and the preprocessing's log_det of rows of a split, (N,), on the CPU, and the rows as preprocessed.

    In evaluation mode, but for batch norm without its statistics of the training set, which takes those of the chunk.
    """
    density, parts = model.density, []
    has_batches = any(isinstance(layer, BatchNorm) and layer.mean is None for layer in density.modules())
    with seeded(seed), torch.no_grad(), evaluation_mode(None if has_batches else density):
        for chunk in _chunks(numbers, min(1000, rows_at_once(model)), 2 if has_batches else 1):
            x, context, _ = bring_to(model, split.take(chunk))
            rows, log_det = model.preprocessing(x, context)
            log_prob = density._log_prob(rows, context) + log_det
            parts.append((log_prob.double().cpu(), log_det.double().cpu(), rows.double().cpu()))
    log_prob, log_det, rows = (torch.cat(each) for each in zip(*parts, strict=True))
    return log_prob, log_det, rows


def _chunks(numbers: Tensor, size: int, least: int) -> Iterable[Tensor]:
    """Numbers of rows in chunks; a last one of fewer than `least` goes with the one before."""
    chunks = list(numbers.split(size))
    if len(chunks) > 1 and len(chunks[-1]) < least:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks


def _outside(
    model: Distribution, split: Split, log_prob: Tensor, name: str, places: Mapping[str, Tensor], seed: int
) -> Iterator[str]:
    """Which rows have no density, in words; none where all have one, or where none has, which fails as it trains."""
    if bool(torch.isfinite(log_prob).all()) or bool(log_prob.isnan().all()):
        return
    log_prob, _, _ = _scores(model, split, torch.arange(len(split.x)), seed)
    outside = (~torch.isfinite(log_prob)).nonzero().flatten()
    values = split.take(outside[:1]).x.flatten()[:6].tolist()
    told = ", ".join(f"{value:.6g}" for value in values) + (", ..." if split.x[:1].numel() > 6 else "")
    yield (
        f"log p is {float(log_prob[outside[0]])} at {len(outside)} of {len(split.x)} {name} rows: "
        f"{named(places[name][outside] if places else outside)}, the first of them [{told}]"
    )


def _warn_of_stretch(spec: DataSpec, rows: Tensor, stacklevel: int) -> None:
    """Warn of columns whose standard deviation few rows decide on, so that the others are as good as constant."""
    if rows.ndim != 2:
        return
    low, high = rows.quantile(torch.tensor([0.25, 0.75], dtype=rows.dtype), 0)
    deviation = rows.std(0, correction=0)
    stretched = (high > low) & (high - low < STRETCHED * deviation)
    names = spec.column_names if len(spec.column_names) == rows.shape[1] else [f"x{i}" for i in range(rows.shape[1])]
    told = [
        f"{names[i]!r} (standard deviation {deviation[i]:.3g}, the middle half of its rows within "
        f"{high[i] - low[i]:.3g})"
        for i in stretched.nonzero().flatten().tolist()
    ]
    if told:
        more = f", and {len(told) - NAMED} more" if len(told) > NAMED else ""
        warnings.warn(
            f"few rows decide on the scale of columns: {', '.join(told[:NAMED])}{more}: remove rows that are errors, "
            "or transform the column, such as by asinh or a logarithm",
            DataWarning,
            stacklevel=stacklevel + 1,
        )


def _warn_of_scale(model: Distribution, spec: DataSpec, log_density: Tensor, rows: Tensor, stacklevel: int) -> None:
    """Warn of columns far from standardised that cost the density what they cost a standard normal."""
    columns = rows.movedim(1, -1).flatten(0, -2)
    mean, deviation = columns.mean(0), columns.std(0, correction=0)
    varied = deviation > 0
    far = varied & ((mean.abs() > FAR) | (deviation > WIDE) | (deviation < NARROW))
    # KL(N(mean, deviation^2) || N(0, 1)) of each column, once for each of its pixels
    costs = (0.5 * (mean.square() + deviation.square() - 1) - deviation.log()) * (rows[0].numel() / len(mean))
    entropy = (deviation.log() + 0.5 * math.log(2 * math.pi * math.e))[varied].sum() * (rows[0].numel() / len(mean))
    excess = robust_mean(-log_density) - float(entropy)
    if bool(far.any()) and excess > 0.5 * float(costs[far].sum()):
        names = spec.column_names if len(spec.column_names) == len(mean) else [f"x{i}" for i in range(len(mean))]
        worst = [int(i) for i in costs.where(far, -1.0).argsort(descending=True)[: min(NAMED, int(far.sum()))]]
        told = ", ".join(f"{names[i]!r} (mean {mean[i]:.4g}, standard deviation {deviation[i]:.4g})" for i in worst)
        more = f", and {int(far.sum()) - len(worst)} more" if int(far.sum()) > len(worst) else ""
        warnings.warn(
            f"columns reach the density far from standardised, which hinders its training: {told}{more}: train "
            f"Flow([Standardise({len(mean)})], base=model), in an experiment --set preprocess.standardise=true",
            DataWarning,
            stacklevel=stacklevel + 1,
        )
    elif excess >= HUGE * rows[0].numel():
        nll = -float(log_density.mean())
        warnings.warn(
            f"before the first step -log p of the training rows is {nll:.4g} nats on average, though they are near "
            f"standardised: start {type(model).__name__} from smaller weights",
            TrainingWarning,
            stacklevel=stacklevel + 1,
        )
