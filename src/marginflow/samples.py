"""Samples of a run in the units of its raw data, block after block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from marginflow.data import DataSpec
from marginflow.data.dataset import check_seed
from marginflow.flow import Flow
from marginflow.randomness import Stream
from marginflow.sampling import in_one, samples_at_once
from marginflow.temperature import at_temperature


class Draws:
    """Samples of a model in the units of the raw data, drawn while they are gone through.

    Blocks of real rows (N, D), or grey levels (N, C, H, W) as uint8. redrawn, kept: as in `marginflow.sample`, of the
    blocks so far.

    label: the class to draw from, by name; without it all of them, of a table by their share of the training rows,
    of images equally often. temperature: see `at_temperature`.

    FloatingPointError where one is not finite, however often it is drawn again. ValueError where there is no such
    label, or the model needs a context that is no label.
    """

    def __init__(
        self,
        model: Flow,
        spec: DataSpec,
        num_samples: int,
        seed: int,
        *,
        label: str | None = None,
        temperature: float = 1.0,
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
        self.spec, self.num_samples, self.seed = spec, num_samples, check_seed(seed)
        self.context = _context(model, spec, label)
        self.model = model if temperature == 1 else at_temperature(model, temperature)
        self.redrawn = self.kept = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.redrawn = self.kept = 0
        at_once = samples_at_once(self.model)
        stream = Stream(self.seed)
        for done in range(0, self.num_samples, at_once):
            size = min(at_once, self.num_samples - done)
            with stream.on():
                drawn = in_one(self.model, size, None if self.context is None else self.context.expand(size, -1))
            self.redrawn += drawn.redrawn
            self.kept += drawn.kept
            yield self._as_pixels(drawn.x)

    def _as_pixels(self, x: Tensor) -> Tensor:
        """Grey levels, where the data are images."""
        if self.spec.levels is None or not x.is_floating_point():
            return x
        return (x * self.spec.levels).floor().clamp(0, self.spec.levels - 1).to(torch.uint8)

    def __str__(self) -> str:
        """How many were flagged, in a line; empty where none was."""
        if not self.redrawn:
            return ""
        return (
            f"warning: {self.redrawn:,} draws were not finite, or not inverted to 1e-3, and were drawn again for the "
            f"{self.num_samples:,} samples; {self.kept:,} of these still are so"
        )


def draw(
    model: Flow,
    spec: DataSpec,
    num_samples: int,
    seed: int,
    *,
    label: str | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """All of `Draws` at once: real rows (N, D), or grey levels (N, C, H, W) as uint8."""
    return torch.cat(list(Draws(model, spec, num_samples, seed, label=label, temperature=temperature)))


def _context(model: Flow, spec: DataSpec, label: str | None) -> Tensor | None:
    """The one-hot vector of a label, (1, C); None where none is asked for or needed."""
    if label is None:
        if model.context_features and not model.context_optional:
            raise ValueError(
                f"this model needs a context of {model.context_features} features for each sample: "
                "use marginflow.load(run).sample(n, context) from Python"
            )
        return None
    if not spec.labels or not model.context_features:
        raise ValueError("this model was trained without labels: leave --label out, or train with data.labels")
    if label not in spec.labels:
        raise ValueError(f"label {label!r} is not one of the model's: {', '.join(spec.labels)}")
    context = torch.zeros(1, len(spec.labels)).to(next(model.parameters()))
    context[0, spec.labels.index(label)] = 1
    return context
