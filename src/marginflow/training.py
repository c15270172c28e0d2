"""Training: one loop, one configuration."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from marginflow.calibration import calibrate
from marginflow.checkpoint import append_metrics, prepare, save_weights
from marginflow.data.dataset import DataSet, Split, as_split, check_split
from marginflow.devices import fabric_on
from marginflow.distributions import Distribution
from marginflow.evaluation import bring_to, check_fits, mean_nll
from marginflow.randomness import seeded
from marginflow.transforms.normalise import BatchNorm, Calibrated, Standardise

__all__ = ["EpochRecord", "Observer", "TrainConfig", "calibrate", "fit"]

ROWS_WITHOUT_GRADIENT = 1000  # a batch, in validation and calibration


class TrainConfig(BaseModel):
    """How to train: Adam on the mean negative log-likelihood.

    epochs: passes through the training rows, shuffled anew each time; an incomplete last batch is left out.
    batch_size, lr: as they say. weight_decay: Adam's L2 penalty.
    clip_value, clip_norm: clip each gradient entry, or the norm of all; None does not.
    validate_every: epochs between validations; each costs a pass of the training set per `BatchNorm` layer.
    seed: of the data order and all noise, in training and validation.
    device: "auto" (CUDA where there is any, else the CPU), "cpu", "cuda", ... precision: "32-true" or "64-true".
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=100, ge=1)
    lr: float = Field(default=5e-4, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_value: float | None = Field(default=None, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)
    validate_every: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = "auto"
    precision: Literal["32-true", "64-true"] = "32-true"

    @model_validator(mode="after")
    def _clip_one_way(self) -> Self:
        if self.clip_value is not None and self.clip_norm is not None:
            raise ValueError("clip_value and clip_norm are two ways to do one thing: set one of them")
        return self


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to: mean negative log-likelihoods in nats a row, over whole rows as they were given.

    validation_nll is None in epochs without validation; best says whether it is the lowest so far.
    For a marginalising flow both are the bound at one draw of noise a row.
    """

    epoch: int
    train_nll: float
    validation_nll: float | None
    best: bool
    seconds: float


class Observer(Protocol):
    """Something that watches a training."""

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """After each step, counted from 1."""
        ...

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """After each epoch, the model in evaluation mode where the epoch was validated."""
        ...


def fit(
    model: Distribution,
    data: DataSet | Split | Tensor | np.ndarray,
    config: TrainConfig | None = None,
    run_dir: str | Path | None = None,
    *,
    observers: Sequence[Observer] = (),
) -> list[EpochRecord]:
    """Train a model by maximum likelihood and leave it with the weights that were best on validation.

    loss = -mean log p(x), for a marginalising flow the bound -mean [log p(x, eps) - log q(eps | x)]

    model: any distribution; trained in place, left on its device and in evaluation mode.
    data: a `DataSet`; or rows (N, *event), tensor or array, or a `Split` with their context, of which a tenth,
        drawn by the seed, becomes the validation split.
    config: a `TrainConfig`. run_dir: where metrics.jsonl and model.safetensors go, made where needed.
    observers: told of every step and epoch.

    Returns the history, an `EpochRecord` an epoch. The test split is never looked at.

    ValueError where data and model do not fit: another event shape, a context that nothing uses, a batch
    larger than the data. FileExistsError where run_dir holds another training. FloatingPointError when the
    loss stops being finite: says at which step, and leaves the best weights so far in the model and in run_dir.

    >>> import torch
    >>> from marginflow import models
    >>> history = fit(models.planar(2), torch.randn(1000, 2), TrainConfig(epochs=2))
    >>> [record.epoch for record in history]
    [1, 2]
    """
    config = config or TrainConfig()
    data = data if isinstance(data, DataSet) else _held_out(data, config.seed)
    fabric = check_ready(model, data, config)
    device = next(model.parameters()).device
    best = _Best(model, None if run_dir is None else prepare(Path(run_dir)))
    optimiser = torch.optim.Adam(model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    wrapped, optimiser = fabric.setup(model, optimiser)
    training_set, validation_set = _InOrder(data.train, model), _InOrder(data.validation, model)
    num_steps = len(data.train.x) // config.batch_size
    history: list[EpochRecord] = []

    with best.in_the_end(device), seeded(config.seed):
        calibrate(model, training_set, layers=_layers(model, Standardise), seed=config.seed)
        for epoch in range(1, config.epochs + 1):
            started, total = time.perf_counter(), 0.0
            model.train()
            for step, (x, context) in enumerate(_shuffled(data.train, config.batch_size, model), 1):
                loss = -wrapped(x, context).mean()
                nll = loss.item()
                best.insist_on_finite(nll, "loss", epoch, step, num_steps)
                fabric.backward(loss)
                _clip(fabric, wrapped, optimiser, config)
                optimiser.step()
                optimiser.zero_grad()
                total += nll
                for observer in observers:
                    observer.on_step(epoch, step, num_steps, nll)

            validation_nll, is_best = None, False
            if epoch % config.validate_every == 0 or epoch == config.epochs:
                model.eval()
                calibrate(model, training_set, layers=_layers(model, BatchNorm), seed=config.seed)
                validation_nll = mean_nll(model, validation_set, config.seed)
                best.insist_on_finite(validation_nll, "validation loss", epoch, num_steps, num_steps)
                is_best = best.keep_if_better(validation_nll, epoch)
            seconds = round(time.perf_counter() - started, 3)
            history.append(EpochRecord(epoch, total / num_steps, validation_nll, is_best, seconds))
            if best.directory:
                append_metrics(asdict(history[-1]), best.directory)
            for observer in observers:
                observer.on_epoch(history[-1], model)
    return history


class _Best:
    """The weights that were best on validation so far, in memory and in the run directory."""

    def __init__(self, model: Distribution, directory: Path | None) -> None:
        self.model, self.directory = model, directory
        self.nll, self.epoch = math.inf, 0
        self.state: dict[str, Tensor] | None = None

    def keep_if_better(self, nll: float, epoch: int) -> bool:
        """Keep the model's weights where their validation loss is the lowest so far."""
        if nll >= self.nll:
            return False
        self.nll, self.epoch, self.state = nll, epoch, copy.deepcopy(self.model.state_dict())
        if self.directory:
            save_weights(self.state, self.directory)
        return True

    @contextmanager
    def in_the_end(self, device: torch.device) -> Iterator[None]:
        """However the training ends, leave the model with its best weights, in evaluation mode, on its old device."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(f": {self.what_is_kept()}") from interrupt
        finally:
            if self.state is not None:
                self.model.load_state_dict(self.state)
            self.model.eval().to(device)

    def what_is_kept(self) -> str:
        """The weights that a training which stops here leaves behind, in words."""
        if self.state is None:
            return "no epoch was validated before, nothing is kept"
        where = f" in {self.directory}" if self.directory else ""
        return f"the weights of epoch {self.epoch} (validation {self.nll:.3f} nats) are kept{where}"

    def insist_on_finite(self, value: float, what: str, epoch: int, step: int, num_steps: int) -> None:
        """FloatingPointError where a loss is not finite."""
        if math.isfinite(value):
            return
        remedy = "lower the learning rate or set clip_norm"
        if epoch == step == 1:
            remedy = "before any step: look at the data and the preprocessing, whose range may not fit"
        raise FloatingPointError(
            f"the {what} became {value} in epoch {epoch} at step {step} of {num_steps}: {self.what_is_kept()}; {remedy}"
        )


def _layers(model: Distribution, kind: type[Calibrated]) -> list[Calibrated]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


def check_ready(model: Distribution, data: DataSet, config: TrainConfig) -> Fabric:
    """The device to train on; ValueError where it, the batch size, or the data and the model do not fit."""
    for split in (data.train, data.validation):
        check_fits(model, split)
    if config.batch_size > len(data.train.x):
        raise ValueError(
            f"batch_size {config.batch_size} is larger than the training set of {len(data.train.x)} rows: lower it"
        )
    if config.batch_size < 2 and _layers(model, BatchNorm):
        raise ValueError("batch_size must be at least 2 for a model with BatchNorm; got 1")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameters to train")
    return fabric_on(config.device, config.precision)


def _clip(fabric: Fabric, model: nn.Module, optimiser: torch.optim.Optimizer, config: TrainConfig) -> None:
    """Clip the gradients as the configuration says; one that is not finite shows in the next loss."""
    if config.clip_value:
        fabric.clip_gradients(model, optimiser, clip_val=config.clip_value)
    elif config.clip_norm:
        fabric.clip_gradients(model, optimiser, max_norm=config.clip_norm, error_if_nonfinite=False)


class _InOrder:
    """The rows of a split in order, in batches for passes without gradient; can be gone through again and again."""

    def __init__(self, split: Split, model: Distribution) -> None:
        self.split, self.model = split, model

    def __iter__(self) -> Iterator[Split]:
        for start in range(0, len(self.split.x), ROWS_WITHOUT_GRADIENT):
            yield bring_to(self.model, self.split.take(slice(start, start + ROWS_WITHOUT_GRADIENT)))


def _shuffled(split: Split, batch_size: int, model: Distribution) -> Iterator[Split]:
    """Complete batches of a split in an order drawn anew."""
    for rows in torch.randperm(len(split.x)).split(batch_size):
        if len(rows) == batch_size:
            yield bring_to(model, split.take(rows))


def _held_out(rows: Split | Tensor | np.ndarray, seed: int) -> DataSet:
    """Rows as a data set: nine tenths to train on, a tenth, which also stands as the test split, to validate."""
    x, context = as_split(rows)
    if not x.is_floating_point() and x.dtype != torch.uint8:
        x = x.to(torch.get_default_dtype())  # whole numbers in a table; uint8 is pixels
    split = Split(x.detach(), context)
    check_split(split, "data")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held_out = max(len(x) // 10, 2)
    validation = split.take(order[:held_out])
    return DataSet("data", split.take(order[held_out:]), validation, validation)
