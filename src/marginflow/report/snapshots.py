"""Points on their way through a flow, epoch by epoch of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.evaluation.layer_outputs import to_latent
from marginflow.storage.files import keep, make_folder, packed, read_tensors
from marginflow.training import EpochRecord


def epochs_shown(epochs: int) -> set[int]:
    """After which epochs of a training points are shown."""
    return {1, max(1, epochs // 20), max(1, epochs // 5), epochs}


class Snapshots:
    """Keeps how points come out of a flow, before training and after some epochs: epoch -> z.

    x: the points. epochs: after which. path: a .safetensors file where they are saved as well, so that a training that
    is resumed has them all.
    """

    def __init__(self, x: Tensor, epochs: set[int], path: Path | None = None) -> None:
        self.x, self.epochs, self.path = x, epochs, path
        self.by_epoch: dict[int, Tensor] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Those that a training has saved."""
        tensors = read_tensors(path)
        kept = cls(tensors.pop("x"), set())
        kept.by_epoch = {int(epoch): tensors[epoch] for epoch in sorted(tensors, key=int)}
        return kept

    def start(self, model: Distribution, *, resume: bool = False) -> None:
        """Take the model before its training, with batch norm from the first epoch on; or resume with those saved."""
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
                keep(self.path, packed({"x": self.x, **kept}))
