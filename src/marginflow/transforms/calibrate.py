"""Statistics of the training set, measured layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from marginflow.base.arguments import shown
from marginflow.base.devices import evaluation_mode
from marginflow.base.moments import Moments
from marginflow.base.seeds import seeded
from marginflow.data.dataset import Batch as WeightedBatch
from marginflow.transforms.normalise import Calibrated
from marginflow.transforms.sequential import Inverse, Sequential

Batch = Tensor | tuple[Tensor, Tensor | None] | WeightedBatch
HELD = 2**28  # numbers of all batches that are held from one layer to the next, at most; in float32 1 GiB
ROWS_TO_INITIALISE = 250  # from which layers are initialised,
ROWS_OF_COVARIANCE = 10  # and for a covariance at least so many times its features


class NotFinite(ValueError):
    """What reaches a layer has no statistics."""


class _Reached(Exception):
    """Ends a forward pass at the last layer that it was run for."""


def _features_last(x: Tensor) -> Tensor:
    """What reaches a layer, (N, C, ...), as rows of features (rows, C)."""
    return x.movedim(1, -1).flatten(0, -2)


def _add(moments: Moments, x: Tensor, weight: Tensor | None) -> Moments:
    """Take in what reaches a layer, (N, C, ...), each position of a row as it weighs."""
    rows = _features_last(x)
    if weight is None:
        return moments.add(rows)
    inner = x.shape[2:].numel()
    return moments.add(rows, weight.repeat(len(x) // len(weight)).repeat_interleave(inner))  # draws follow each other


def _weight(batch: Batch) -> Tensor | None:
    return batch.weight if isinstance(batch, WeightedBatch) else None


def _give(moments: Moments, layer: Calibrated) -> None:
    """Set the statistics of a layer; ValueError where what reached it was not finite, or too little."""
    if not moments.count:
        raise ValueError(f"no rows reach {layer}: give batches of the training set that hold some")
    mean, variance = moments.mean, moments.variance
    if not bool(torch.isfinite(mean).all() & torch.isfinite(variance).all()):
        raise NotFinite(
            f"what reaches {layer} is not finite, so it has no statistics: remove NaN and infinity from the rows, "
            "or where they hold none look at the layers before it, whose scales may be too wide"
        )
    if moments.covariance and moments.count <= len(mean):
        raise ValueError(
            f"a covariance of {len(mean)} features needs more than {len(mean)} rows; got {moments.count}: give more"
        )
    layer.set_statistics(mean, variance)


def calibrate(
    model: nn.Module, batches: Iterable[Batch], *, layers: Iterable[Calibrated] | None = None, seed: int = 0
) -> None:
    """Set the statistics of the layers that take them from data, such as `BatchNorm`, `Standardise` and `ActNorm`.

    They are the mean and the biased variance (for `Whiten` the covariance) over all rows of all batches, in float64, of
    what reaches each layer when those before it are calibrated, weighted where rows have weights. Where the layers are
    parts of one `Sequential` that draws no noise, all take one pass over the data, and what reaches a layer is held for
    all batches together, up to 1 GiB in float32. A single batch takes one pass too; otherwise each layer takes one,
    batch by batch.

    A layer that is initialised once, such as `ActNorm` and `Whiten`, stays as it is once it has been.

    Args:
        model: a distribution or a transform.
        batches: tensors x, pairs (x, context) or `Batch`es with weights, all of the training set; iterated once a
            layer, so a list or a DataLoader, not a generator.
        layers: which ones, in the order in which data reach them; by default all.
        seed: for the noise that stochastic parts draw; the same in each pass.

    Raises:
        ValueError: where there are no batches, they can be iterated only once, what reaches a layer is not finite,
            there are too few rows for a covariance, or a layer that cannot do without statistics stands inside
            `Inverse` or where no data reach it.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> model = models.maf(2, hidden=[16], blocks=2, batch_norm=True)
        >>> calibrate(model, [torch.randn(100, 2) for _ in range(3)])
        >>> model.eval().log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a distribution or a transform; got {shown(model)}")
    if isinstance(batches, str) or getattr(batches, "ndim", 1) == 0 or not isinstance(batches, Iterable):
        raise ValueError(f"batches must be a list of them, or a DataLoader; got {shown(batches)}: give [x]")
    if isinstance(batches, Iterator):
        raise ValueError("batches are iterated once a layer: give a list or a DataLoader, not a generator")
    if layers is None:
        layers = [module for module in model.modules() if isinstance(module, Calibrated)]
    layers = list(layers) if isinstance(layers, Iterable) else [layers]
    if not all(isinstance(layer, Calibrated) for layer in layers):
        raise ValueError(f"layers must be a list of those that take statistics, as BatchNorm does; got {shown(layers)}")
    layers = [layer for layer in layers if layer.needs_statistics]
    backwards = {id(part) for module in model.modules() if isinstance(module, Inverse) for part in module.modules()}
    for layer in layers:
        if id(layer) in backwards and not layer.works_without:
            raise ValueError(f"{layer} stands inside Inverse, where its input depends on its statistics: move it out")
    if isinstance(batches, Sequence) and not batches:
        raise ValueError("there are no batches: give those of the training set, x or (x, context)")
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model):  # statistics that gradients may meet
        if isinstance(batches, Sequence) and len(batches) == 1:
            _in_one_pass(layers, model, batches[0], seed)
            return
        if _side_by_side(layers, model, batches, seed):
            return
        for layer in layers:
            moments = _moments_before(layer, model, batches, seed)
            if moments.count:
                _give(moments, layer)
            else:
                _require_data(layer)


def _in_one_pass(layers: list[Calibrated], model: nn.Module, batch: Batch, seed: int) -> None:
    """Set each layer when the batch reaches it, and send on what it then makes of it."""
    left = dict.fromkeys(layers)

    def set_now(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if layer in left:
            reached = cast(Calibrated, layer)
            _give(_add(Moments(reached.uses_covariance), inputs[0], _weight(batch)), reached)
            del left[reached]
        if not left:
            raise _Reached

    handles = [layer.register_forward_pre_hook(set_now) for layer in layers]
    try:
        with seeded(seed):
            _send(batch, model)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    for layer in left:
        _require_data(layer)


def _side_by_side(layers: list[Calibrated], model: nn.Module, batches: Iterable[Batch], seed: int) -> bool:
    """Take all batches through a sequence part by part, and set each layer before they pass it.

    Whether that was done: not where the layers are no parts of one exact sequence, or the batches are too large.
    """
    sequence = _sequence_of(layers, model)
    held = None if sequence is None else _reaching(sequence, model, batches, seed)
    if sequence is None or held is None:
        return False
    left = dict.fromkeys(layers)
    for part in sequence:
        if part in left:
            layer = cast(Calibrated, part)
            moments = Moments(layer.uses_covariance)
            for x, _, weight in held:
                _add(moments, x, weight)
            _give(moments, layer)
            del left[layer]
        if not left:
            break
        for i, (x, context, weight) in enumerate(held):
            held[i] = WeightedBatch(part(x, context)[0], context, weight)
    return True


def _sequence_of(layers: list[Calibrated], model: nn.Module) -> Sequential | None:
    """The sequence of which all layers, two or more, are parts themselves, and none before the last draws noise."""
    for module in model.modules():
        if isinstance(module, Sequential) and len(layers) > 1:
            places = [place for place, part in enumerate(module) if part in layers]
            if len(places) == len(layers) and all(module[place].exact for place in range(places[-1])):
                return module
    return None


def _reaching(
    sequence: Sequential, model: nn.Module, batches: Iterable[Batch], seed: int
) -> list[WeightedBatch] | None:
    """x, context and weights as each batch first reaches a sequence; None where they are too large, or never do."""
    held: list[WeightedBatch] = []
    weight: Tensor | None = None

    def stop_here(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        held.append(WeightedBatch(inputs[0], inputs[1] if len(inputs) > 1 else named.get("context"), weight))
        raise _Reached

    handle, size = sequence.register_forward_pre_hook(stop_here, with_kwargs=True), 0
    try:
        with seeded(seed):
            for count, batch in enumerate(batches, 1):
                weight = _weight(batch)
                try:
                    _send(batch, model)
                except _Reached:
                    size += held[-1][0].numel()
                if len(held) < count or size > HELD:
                    return None
    finally:
        handle.remove()
    return held or None


def _send(batch: Batch, model: nn.Module) -> None:
    if isinstance(batch, WeightedBatch):
        batch = batch.x, batch.context
    if isinstance(batch, tuple) and len(batch) not in (1, 2):
        raise ValueError(f"a batch must be x, or a pair (x, context); got {len(batch)} things")
    model(*batch) if isinstance(batch, tuple) else model(batch)


def _require_data(layer: Calibrated) -> None:
    """Refuse a layer that no data reached and that cannot do without."""
    if not layer.works_without:
        raise ValueError(f"no batch reached {layer}: give batches of the training set, x or (x, context)")


def _moments_before(layer: Calibrated, model: nn.Module, batches: Iterable[Batch], seed: int) -> Moments:
    """Moments of what reaches the layer."""
    moments = Moments(layer.uses_covariance)
    weight: Tensor | None = None

    def stop_here(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        _add(moments, inputs[0], weight)
        raise _Reached

    handle = layer.register_forward_pre_hook(stop_here)
    try:
        with seeded(seed):
            for batch in batches:
                weight = _weight(batch)
                try:
                    _send(batch, model)
                except _Reached:
                    pass
    finally:
        handle.remove()
    return moments


def rows_to_initialise(layers: Sequence[Calibrated], shape: torch.Size) -> int:
    """How many rows layers are initialised from: where images are many rows to a layer, its channels being few, they
    count so.
    """
    widest = max((layer.num_features for layer in layers if layer.uses_covariance), default=0)
    return max(ROWS_TO_INITIALISE, ROWS_OF_COVARIANCE * widest**2 // shape[1:].numel())
