"""Data on its way through a flow: layer by layer, and epoch by epoch of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor

from marginflow.checkpoint import make_folder, read_tensors, save_tensors
from marginflow.data.dataset import Batch
from marginflow.distributions import Density, Distribution, LabelMixture, evaluation_mode
from marginflow.evaluation import bring_to, levels_of
from marginflow.flow import Flow
from marginflow.marginal import Marginalising
from marginflow.randomness import seeded
from marginflow.training import EpochRecord
from marginflow.transforms.base import Sequential, Transform


@torch.no_grad()
def by_layer(model: Distribution, x: Tensor, context: Tensor | None = None, seed: int = 0) -> dict[str, Tensor]:
    """What rows are at the start of the density and after each of its layers: name -> (N, D'), the last being z.

    Noise dimensions, at one draw of them, stand behind those of the data. ValueError for a density without layers.
    """
    preprocessing, density = levels_of(model)
    x, context = bring_to(model, Batch(x, context))
    with seeded(seed), evaluation_mode(model):
        x, _ = preprocessing(x, context)
        stages, inner = {"data": x}, cast(Density, density)
        if isinstance(density, Marginalising):
            x, _ = density.augment(x, context)
            stages = {"data and noise": x}
            inner = density.flow
        if isinstance(inner, LabelMixture):
            if context is None:
                raise ValueError("this model needs labels to send data through it: give the context")
            inner = inner.flow
        if not isinstance(inner, Flow):
            raise ValueError(f"{type(inner).__name__} has no layers to go through")
        for i, layer in enumerate(layers_of(inner.transform), 1):
            x, _ = layer(x, context)
            stages[f"{i}: {type(layer).__name__}"] = x
    return {name: rows.cpu() for name, rows in stages.items()}


def layers_of(transform: Transform) -> list[Transform]:
    """The layers of a transform, first to last."""
    return list(transform) if isinstance(transform, Sequential) else [transform]


def to_latent(model: Distribution, x: Tensor, context: Tensor | None = None, seed: int = 0) -> Tensor:
    """What the flow makes of data: z (N, D'); with noise dimensions, of the joint (x, eps) at one draw of eps."""
    return list(by_layer(model, x, context, seed).values())[-1]


def epochs_shown(epochs: int) -> set[int]:
    """After which epochs of a training a look is worth while."""
    return {1, max(1, epochs // 20), max(1, epochs // 5), epochs}


class Snapshots:
    """Keeps how points come out of a flow, before training and after some epochs: epoch -> z.

    x: the points. epochs: after which. path: a .safetensors file where they are kept as well, so that a training that
    is resumed has them all.
    """

    def __init__(self, x: Tensor, epochs: set[int], path: Path | None = None) -> None:
        self.x, self.epochs, self.path = x, epochs, path
        self.by_epoch: dict[int, Tensor] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Those that a training has kept."""
        tensors = read_tensors(path)
        kept = cls(tensors.pop("x"), set())
        kept.by_epoch = {int(epoch): tensors[epoch] for epoch in sorted(tensors, key=int)}
        return kept

    def start(self, model: Distribution, *, resume: bool = False) -> None:
        """Take the model before its training, with batch norm from the first epoch on; or go on with those kept."""
        if resume and self.path is not None and self.path.is_file():
            self.by_epoch = self.read(self.path).by_epoch
            return
        try:
            self.by_epoch[0] = to_latent(model, self.x)
        except ValueError:  # layers without statistics of the training set
            pass

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Nothing to see between epochs."""

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """Push the points through the model as it is now, where the epoch was validated."""
        if record.epoch in self.epochs and record.validation_nll is not None:
            self.by_epoch[record.epoch] = to_latent(model, self.x)
            if self.path is not None:
                kept = {str(epoch): z for epoch, z in self.by_epoch.items()}
                make_folder(self.path.parent)
                save_tensors({"x": self.x, **kept}, self.path)
