"""The figures of a run: which ones its kind of data and model allow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate
from marginflow.base.seeds import seeded
from marginflow.data import Batch, DataSet, DataSpec, Split
from marginflow.distributions import Flow, StandardLogistic, StandardNormal
from marginflow.evaluation.evaluate import evaluate_rows, score
from marginflow.evaluation.layer_outputs import base_of, by_layer
from marginflow.evaluation.sample import RawSamples, sample
from marginflow.report import plots
from marginflow.report.histograms import BASES
from marginflow.report.images import most_images
from marginflow.report.snapshots import Snapshots, epochs_shown
from marginflow.training import EpochRecord

NUM_ROWS = 1000  # shown of the test split
NUM_ROWS_OF_BOUNDS = 100
DRAWS = (1, 2, 5, 10, 20, 50, 100, 200)  # K of the figure of bounds
DRAWS_OF_MAPS = 64  # a point of a map of the density
MAX_LAYERS = 24
OF_EVALUATION = ("samples", "marginals", "density", "latents", "layers", "bound")
OF_TRAINING = ("training", "epochs")

Makers = Mapping[str, Callable[[], Figure]]


def of_run(model: Flow, test: Batch, spec: DataSpec, directory: Path, seed: int = 0) -> list[Path]:
    """Draw the figures of a trained model on test rows into a directory; their paths.

    One that cannot be drawn is left out with a `DataWarning`, and the one that an earlier evaluation drew deleted.
    """
    makers = {**_of_rows(model, test, spec, seed), **_of_layers(model, test, spec, seed)}
    if not model.density.exact:
        makers["bound"] = partial(_bound, model, test, seed)
    return _drawn(makers, OF_EVALUATION, directory)


def snapshots(data: DataSet, epochs: int, path: Path | None = None) -> Snapshots | None:
    """What watches rows of two features on their way through a flow in training; None for others, and of a schema."""
    if data.spec.features != 2 or data.spec.context_features or data.spec.schema is not None:
        return None
    return Snapshots(data.validation.take(slice(NUM_ROWS)).x, epochs_shown(epochs), path)


def of_epochs(watched: Snapshots, deviation: float = 1.0) -> Figure:
    """Rows on their way through a flow as it trains. deviation: of the base."""
    title = "validation rows through the flow as it trains"
    return plots.by_epoch(watched.by_epoch, watched.x[:, 0], title, deviation)


def of_training(
    history: Sequence[EpochRecord], model: Flow, spec: DataSpec, watched: Snapshots | None, directory: Path
) -> list[Path]:
    """Draw the figures of a training into a directory, as `of_run` does; their paths."""
    density = model.density
    loss = "NLL" if density.exact else "bound on the NLL"
    loss += " given the label" if density.context_optional else ""
    unit, convert = ("nats a row", float) if spec.levels is None else ("bits/dim", spec.bits_per_dim)
    makers: dict[str, Callable[[], Figure]] = {
        "training": lambda: plots.training_curves(history, f"{loss}, {unit}", convert)
    }
    if watched is not None and len(watched.by_epoch) > 1:
        makers["epochs"] = lambda: of_epochs(watched, BASES.get(_base(model, Batch(watched.x)), (None, 1.0))[1])
    return _drawn(makers, OF_TRAINING, directory)


def names_of(spec: DataSpec) -> list[str]:
    """What the features are called."""
    return list(spec.columns) or [f"feature {i}" for i in range(spec.features)]


def have_one_unit(spec: DataSpec) -> bool:
    """Whether all features have one unit, as coordinates of points do; columns of a table, which have names, do not."""
    return not spec.columns


def log_prob_of(model: Distribution, seed: int = 0, num_samples: int = DRAWS_OF_MAPS) -> Callable[[Tensor], Tensor]:
    """log p(x) of rows as given, for a map: exact, or estimated with some draws a point."""

    def estimate(x: Tensor) -> Tensor:
        with seeded(seed):
            return score(model, Batch(x), num_samples=num_samples, chunk=100_000).log_prob.cpu()

    return estimate


def _drawn(makers: Makers, names: Sequence[str], directory: Path) -> list[Path]:
    """Make and save figures; those of the names that are not made, or cannot be, are deleted."""
    paths: list[Path] = []
    for name in names:
        path = directory / f"{name}.png"
        try:
            if name in makers:
                paths.append(plots.save(makers[name](), path))
                continue
        except Exception as error:  # a figure is never worth the training or the evaluation that it is about
            reason = " ".join(str(error).split()) or type(error).__name__
            warnings.warn(f"the figure {name} is not drawn: {reason}", DataWarning, stacklevel=3)
        for each in (path, path.with_suffix(".svg")):
            each.unlink(missing_ok=True)
    return paths


def _first(test: Batch, count: int) -> Batch:
    return Batch(test.x[:count], None if test.context is None else test.context[:count])


def _of_layers(model: Flow, test: Batch, spec: DataSpec, seed: int) -> Makers:
    """Rows on their way through the layers of the density, where it has some."""
    shown = _first(test, NUM_ROWS)
    try:
        stages = by_layer(model, shown.x, shown.context, seed=seed)
    except ValueError:
        return {}
    base = _base(model, shown)
    makers: dict[str, Callable[[], Figure]] = {
        "latents": lambda: plots.latents(list(stages.values())[-1], base=base),
    }
    if spec.features == 2 and len(stages) <= MAX_LAYERS + 1:
        colour, deviation = next(iter(stages.values()))[:, 0], BASES.get(base, (None, 1.0))[1]
        title = (
            "test rows on their way through the layers; colour: their first feature; circle: two deviations of the base"
        )
        makers["layers"] = lambda: plots.points_by_layer(stages, colour, title, deviation=deviation)
    return makers


def _base(model: Flow, rows: Batch) -> str:
    """What figures call the distribution that latents should follow."""
    base = base_of(model, *_first(rows, 2)[:2])
    names = {StandardNormal: "N(0, 1)", StandardLogistic: "logistic"}
    return names.get(type(base), type(base).__name__)


def _of_rows(model: Flow, test: Batch, spec: DataSpec, seed: int) -> Makers:
    """Samples beside test rows, and the density where it can be drawn."""
    needs_context = bool(model.context_features) and not model.context_optional
    if spec.levels is not None and len(spec.event_shape) == 3:
        return {} if needs_context else {"samples": partial(_images, model, test, spec, seed)}
    rows, names = test.x[: 10 * NUM_ROWS].cpu(), names_of(spec)
    if model.takes_blanks and spec.schema is not None:
        schema = spec.schema
        draw = partial(_given_contexts, model, test) if needs_context else partial(_samples, model, spec)
        return {"marginals": lambda: plots.column_marginals(rows, draw(len(rows), seed), schema)}
    if needs_context:
        return {"marginals": lambda: plots.marginals(rows, _given_contexts(model, test, len(rows), seed), names)}
    label = "p(x)" if model.density.exact else f"p(x), by IW-{DRAWS_OF_MAPS}"
    draws = cache(partial(_samples, model, spec, len(rows), seed))
    makers: dict[str, Callable[[], Figure]] = {"marginals": lambda: plots.marginals(rows, draws(), names)}
    log_prob, shown = log_prob_of(model, seed), slice(5 * NUM_ROWS)
    if spec.features == 1:
        makers["density"] = lambda: plots.density_of_one(log_prob, rows, names[0], label)
    if spec.features == 2:
        one_unit = have_one_unit(spec)
        makers["density"] = lambda: plots.density_of_two(
            log_prob, rows[shown], names, label, samples=draws()[shown], same_unit=one_unit
        )
    return makers


def _samples(model: Flow, spec: DataSpec, count: int, seed: int) -> Tensor:
    return torch.cat(list(RawSamples(model, spec, count, seed))).cpu()


def _given_contexts(model: Flow, test: Batch, count: int, seed: int) -> Tensor:
    """A sample at the context of each of the first test rows."""
    with seeded(seed):
        return sample(model, count, _first(test, count).context).x.cpu()


def _images(model: Flow, test: Batch, spec: DataSpec, seed: int) -> Figure:
    """Test images beside as many samples."""
    count = most_images(*spec.event_shape[1:])
    pixels = test.x[:count]
    levels = spec.levels or 256
    if spec.dequantised:
        pixels = (pixels * levels).floor()
    draws = RawSamples(model, spec, count, seed)
    drawn = torch.cat(list(draws))
    flagged = f", {draws.flagged} of them flagged: not to be trusted" if draws.flagged else ""
    return plots.image_grids(
        {f"{len(pixels)} test images": pixels, f"{count} samples, seed {seed}{flagged}": drawn}, levels
    )


def _bound(model: Flow, test: Batch, seed: int) -> Figure:
    """The importance-weighted estimate against K, on some rows."""
    rows = Split(*_first(test, NUM_ROWS_OF_BOUNDS))
    results = [evaluate_rows(model, rows, num_samples=k, seed=seed).density for k in DRAWS]
    bound = results[-1].bound
    below = [Estimate.of(bound - each.log_prob) for each in results]
    return plots.bound_against_samples(
        DRAWS,
        [-float(bound.mean()) + each.value for each in below],
        [each.standard_error for each in below],
        -float(bound.mean()),
        [float(each.effective_sample_size.median()) for each in results],
    )
