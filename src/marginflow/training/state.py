"""The state of a training: its weights, the best of them, and all it needs to resume, in memory and on disk."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.data.loader import Loader
from marginflow.nets.product_choice import TORCH
from marginflow.nets.products import recorded
from marginflow.training.checkpoint import described, load_trainer, read_weights, save_trainer, save_weights
from marginflow.training.ema import Average
from marginflow.training.metrics import EpochRecord, append_metrics, write_metrics
from marginflow.training.optimiser import bare
from marginflow.training.optimiser_state import load_named_state, named_state


class TrainingState:
    """A model in training and what belongs to it.

    model: that the optimiser steps. average: its moving average; None without. optimiser: with its moments. loader: of
    the batches, which knows the epoch under way and its steps. directory: where it is kept; None keeps nothing.
    total, seconds: of the losses of the epoch's steps so far, and that they took. history, best_weights: as they say.
    clip_norm: of the gradient, 0 without. rate_scale: that of all learning rates, halved at each return to the best
    weights. untrained_nll: of validation rows before the first step; None where it is not known.
    products: which products of matrices another back end than torch serves.
    about: what the file of its weights says of the model. under_way: whether there is a state to keep, once the
    preprocessing has its statistics and the average has started.
    """

    def __init__(
        self, model: Distribution, optimiser: torch.optim.Optimizer, loader: Loader, directory: Path | None
    ) -> None:
        self.model, self.optimiser, self.loader, self.directory = model, optimiser, loader, directory
        self.average: Average | None = None
        self.under_way = self.was_over = False
        self.total = self.seconds = 0.0
        self.clip_norm, self.rate_scale = 0.0, 1.0
        self.untrained_nll: float | None = None
        self.products = TORCH
        self.about: dict[str, str] = {}
        if directory is not None:
            with suppress(ValueError):  # such a model is kept as weights alone
                self.about = described(model)
        self.history: list[EpochRecord] = []
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose validation loss is the lowest so far; None before the first validation."""
        return next((record for record in reversed(self.history) if record.best), None)

    @property
    def validated(self) -> Distribution:
        """The model that is validated and kept: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def end_epoch(self, record: EpochRecord) -> None:
        """Enter an epoch into the history, keep the weights where they are the best so far, and stand at the next."""
        if record.best:
            self.best_weights = copy.deepcopy(self.validated.state_dict())
        if record.returned:
            self._go_back()
        self.history.append(record)
        self.loader.start(record.epoch + 1)
        self.total = self.seconds = 0.0
        if self.directory is None:
            return
        if record.best and self.best_weights is not None:
            save_weights(self.best_weights, self.directory, self.about)
        self.save()
        if self.was_over:
            write_metrics(map(asdict, self.history), self.directory)
            self.was_over = False
        else:
            append_metrics(asdict(record), self.directory)

    def _go_back(self) -> None:
        """Continue from the best weights at half the learning rate; what the optimiser kept of other weights goes."""
        assert self.best_weights is not None
        self.model.load_state_dict(self.best_weights)
        if self.average is not None:
            self.average.model.load_state_dict(self.best_weights)
        bare(self.optimiser).state.clear()
        self.rate_scale /= 2

    def save(self) -> None:
        """Write all that is needed to resume from here."""
        if self.directory is None or not self.under_way:
            return
        average = self.average
        content: dict[str, Any] = {
            "position": {**self.loader.state_dict(), "total": self.total, "seconds": self.seconds},
            "history": [asdict(record) for record in self.history],
            "model": self.model.state_dict(),
            "average": None if average is None else (average.num_updates, average.model.state_dict()),
            "optimiser": named_state(self.model, bare(self.optimiser)),
            "optimiser_kind": type(bare(self.optimiser)).__name__,
            "clip_norm": self.clip_norm,
            "rate_scale": self.rate_scale,
            "untrained_nll": self.untrained_nll,
            "products": asdict(self.products),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
        }
        save_trainer(content, self.directory)

    def restore(self, decay: float, stacklevel: int, *, clip_as_before: bool) -> bool:
        """Restore what was saved, random states included; False where nothing was.

        decay: of the moving average, 0 without one. clip_as_before: clip by the norm that was, which a state from
        before trainings were clipped by default does not have.
        """
        content = None if self.directory is None else load_trainer(self.directory)
        if content is None or self.directory is None:
            return False
        try:
            position = content["position"]
            self.loader.load_state_dict(position)
            self.total, self.seconds = position["total"], position["seconds"]
            self.history = [EpochRecord(**record) for record in content["history"]]
            self.model.load_state_dict(content["model"])
            self.start_average(decay)
            if self.average is not None:
                self.average.num_updates, weights = content["average"]
                self.average.model.load_state_dict(weights)
            optimiser = bare(self.optimiser)
            if (kind := content.get("optimiser_kind", "Adam")) != type(optimiser).__name__:
                raise ValueError(f"its optimiser is {kind}")
            load_named_state(self.model, optimiser, content["optimiser"])
            self.rate_scale, self.untrained_nll = content.get("rate_scale", 1.0), content.get("untrained_nll")
            if clip_as_before:
                self.clip_norm = content.get("clip_norm", 0.0)
            self.products = recorded(content.get("products"), stacklevel)
            torch.set_rng_state(content["random"])
            if len(content["random_cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(content["random_cuda"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"the state of the training in {self.directory} does not belong to this model and configuration "
                f"({reason}): resume it with those it was started with, or train in another directory"
            ) from error
        if self.best is not None:
            self.best_weights = read_weights(self.directory)
        write_metrics(content["history"], self.directory)
        return True

    def start_average(self, decay: float) -> None:
        """Let a moving average follow the model from here on, where the decay is not 0."""
        self.average = Average(self.model, decay) if decay else None
        self.under_way = True

    @contextmanager
    def in_the_end(self, device: torch.device) -> Iterator[None]:
        """However the training ends, leave the model with its best weights, in evaluation mode, on its old device."""
        try:
            yield
        finally:
            if self.best_weights is not None:
                self.model.load_state_dict(self.best_weights)
            self.model.eval().to(device)

    def what_is_kept(self) -> str:
        """The weights that a training which stops here leaves behind, in words."""
        if self.best is None:
            return "no epoch was validated before, nothing is kept"
        where = f" in {self.directory}" if self.directory else ""
        return (
            f"the weights of epoch {self.best.epoch} (validation {self.best.validation_nll:.3f} nats) are kept{where}"
        )

    def continue_after_end(self) -> None:
        """Let no epoch say any more that the training ended there: it is resumed. On disk with the next epoch."""
        self.was_over = any(record.ended for record in self.history)
        self.history = [replace(record, ended=None) for record in self.history]

    def require_finite(self, value: float, what: str, rows: str = "") -> None:
        """FloatingPointError where a loss of the step or epoch under way is not finite.

        rows: of which it is told that they are not, see `not_finite`.
        """
        if math.isfinite(value):
            return
        epoch, step, num_steps = self.loader.number, self.loader.step, self.loader.num_batches
        remedy = "lower the learning rate or set a lower clip_norm"
        if epoch == step == 1:
            remedy = "before any step: check the data and the preprocessing, whose range may not fit"
        raise FloatingPointError(
            f"the {what} became {value} in epoch {epoch} at step {step} of {num_steps}: {self.what_is_kept()}; "
            f"{rows}{remedy}"
        )
