"""The figures of a run: which ones its kind of data and model allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate
from marginflow.base.seeds import seeded
from marginflow.data import Batch, DataSet, DataSpec, Split
from marginflow.distributions import Flow
from marginflow.evaluation.evaluate import evaluate_rows, score
from marginflow.evaluation.layer_outputs import by_layer
from marginflow.evaluation.sample import sample_raw
from marginflow.report import plots
from marginflow.report.snapshots import Snapshots, epochs_shown
from marginflow.training import EpochRecord

NUM_ROWS = 1000  # shown of the test split
NUM_IMAGES = 64
NUM_ROWS_OF_BOUNDS = 100
DRAWS = (1, 2, 5, 10, 20, 50, 100, 200)  # K of the figure of bounds
DRAWS_OF_MAPS = 64  # a point of a map of the density
MAX_LAYERS = 24


def of_run(model: Flow, test: Batch, spec: DataSpec, directory: Path, seed: int = 0) -> list[Path]:
    """Draw the figures of a trained model on test rows into a directory; their paths."""
    figures = dict(_samples_and_density(model, test, spec, seed))
    stages = by_layer(model, *_first(test, NUM_ROWS), seed=seed) if _has_layers(model, test) else {}
    if stages:
        figures["latents"] = plots.latents(list(stages.values())[-1])
        if spec.features == 2 and len(stages) <= MAX_LAYERS + 1:
            colour = next(iter(stages.values()))[:, 0]
            title = "test rows on their way through the layers; colour: their first feature; circle: two deviations"
            figures["layers"] = plots.points_by_layer(stages, colour, title)
    if not model.density.exact:
        figures["bound"] = _bound(model, test, seed)
    return [plots.save(figure, directory / f"{name}.png") for name, figure in figures.items()]


def snapshots(data: DataSet, epochs: int, path: Path | None = None) -> Snapshots | None:
    """What watches rows of two features on their way through a flow in training; None for other rows."""
    if data.spec.features != 2 or data.spec.context_features:
        return None
    return Snapshots(data.validation.take(slice(NUM_ROWS)).x, epochs_shown(epochs), path)


def of_epochs(watched: Snapshots) -> Figure:
    """Rows on their way through a flow as it trains."""
    return plots.by_epoch(watched.by_epoch, watched.x[:, 0], "validation rows through the flow as it trains")


def of_training(
    history: Sequence[EpochRecord], model: Flow, spec: DataSpec, watched: Snapshots | None, directory: Path
) -> list[Path]:
    """Draw the figures of a training into a directory; their paths."""
    density = model.density
    loss = "NLL" if density.exact else "bound on the NLL"
    loss += " given the label" if density.context_optional else ""
    unit, convert = ("nats a row", float) if spec.levels is None else ("bits/dim", spec.bits_per_dim)
    figures = {"training": plots.training_curves(history, f"{loss}, {unit}", convert)}
    if watched is not None and len(watched.by_epoch) > 1:
        figures["epochs"] = of_epochs(watched)
    return [plots.save(figure, directory / f"{name}.png") for name, figure in figures.items()]


def names_of(spec: DataSpec) -> list[str]:
    """What the features are called."""
    return list(spec.columns) or [f"feature {i}" for i in range(spec.features)]


def log_prob_of(model: Distribution, seed: int = 0, num_samples: int = DRAWS_OF_MAPS) -> Callable[[Tensor], Tensor]:
    """log p(x) of rows as given, for a map: exact, or estimated with some draws a point."""

    def estimate(x: Tensor) -> Tensor:
        with seeded(seed):
            return score(model, Batch(x), num_samples=num_samples, chunk=100_000).log_prob.cpu()

    return estimate


def _first(test: Batch, count: int) -> Batch:
    return Batch(test.x[:count], None if test.context is None else test.context[:count])


def _has_layers(model: Flow, test: Batch) -> bool:
    """Whether rows can be sent through the layers of the density."""
    try:
        by_layer(model, *_first(test, 2))
    except ValueError:
        return False
    return True


def _samples_and_density(model: Flow, test: Batch, spec: DataSpec, seed: int) -> Iterator[tuple[str, Figure]]:
    if model.context_features and not model.context_optional:
        return
    if spec.levels is not None and len(spec.event_shape) == 3:
        pixels = test.x[:NUM_IMAGES]
        if spec.dequantised:
            pixels = (pixels * spec.levels).floor()
        grids = {"test images": pixels, f"samples, seed {seed}": sample_raw(model, spec, NUM_IMAGES, seed)}
        yield "samples", plots.image_grids(grids, spec.levels)
        return
    label = "p(x)" if model.density.exact else f"p(x), by IW-{DRAWS_OF_MAPS}"
    rows = test.x[: 10 * NUM_ROWS].cpu()
    drawn, names = sample_raw(model, spec, len(rows), seed).cpu(), names_of(spec)
    yield "marginals", plots.marginals(rows, drawn, names)
    if spec.features == 1:
        yield "density", plots.density_of_one(log_prob_of(model, seed), rows, names[0], label)
    if spec.features == 2:
        yield "density", plots.density_of_two(log_prob_of(model, seed), rows[: 5 * NUM_ROWS], names, label)


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
