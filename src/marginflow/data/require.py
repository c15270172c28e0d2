"""Whether rows fit a model, and rows brought to its device and precision."""

from __future__ import annotations

from marginflow.base.devices import like_model
from marginflow.base.distribution import Distribution
from marginflow.base.shapes import check_rows
from marginflow.data.dataset import Batch, Split, check_split


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


def bring_to(model: Distribution, batch: Batch) -> Batch:
    """Rows and context on the model's device and in its precision."""
    x, context = batch
    return Batch(like_model(model, x), None if context is None else like_model(model, context))
