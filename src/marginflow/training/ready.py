"""Whether a training can start: data, model and settings that fit together, and rows as a data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from marginflow.base.arguments import Values
from marginflow.base.devices import fabric_on
from marginflow.base.distribution import Distribution
from marginflow.base.frames import column_names
from marginflow.data import DataSet, Rows, Split
from marginflow.data.columns import warn_of_copies, warn_of_repeating_values
from marginflow.data.dataset import as_split
from marginflow.data.loader import Loader
from marginflow.data.require import fitting
from marginflow.distributions.mixtures import is_fitted_by_em
from marginflow.nets.products import choice_for
from marginflow.training.config import TrainConfig
from marginflow.training.objective import Objective
from marginflow.transforms import BatchNorm

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def require_ready(model: Distribution, data: DataSet, config: TrainConfig) -> Fabric:
    """Check that a training can start, as `fit` does before its first step.

    Args:
        model: the distribution to train.
        data: what it is to be trained on.
        config: a `TrainConfig`, for its device, precision, batch size and num_samples.

    Returns:
        The Lightning Fabric on the device to train on.

    Raises:
        ValueError: where the device is not there, data and model do not fit, the batch is larger than the data or too
            small for batch norm, the model has no parameters, or num_samples is above 1 for an exact density.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> from marginflow.data import DataSet, Split
        >>> from marginflow.training import check_ready
        >>> split = Split(torch.randn(200, 2))
        >>> fabric = check_ready(models.planar(2), DataSet("rows", split, split, split), TrainConfig(device="cpu"))
        >>> fabric.device
        device(type='cpu')
    """
    return ready(model, data, config)[1]


def ready(model: Distribution, data: DataSet, config: TrainConfig) -> tuple[DataSet, Fabric]:
    """The data in the shapes that the model takes, and the device; see `require_ready`."""
    train, validation = (fitting(model, each, columns=data.columns) for each in (data.train, data.validation))
    data = replace(data, train=train, validation=validation)
    is_real = isinstance(train.x, Tensor) and train.x.ndim == 2 and data.levels is None and not model.takes_pixels
    is_real = is_real and data.schema is None  # whose columns are what they are
    if is_real and isinstance(train.x, Tensor):
        warn_of_copies(train.x, data.spec.column_names, 4)
    if is_real and isinstance(train.x, Tensor) and not data.fingerprint:
        warn_of_repeating_values(train.x, data.spec.column_names, 4)  # as a table does when it is read
    if not is_fitted_by_em(model):
        Loader(data.train, config.batch_size, seed=config.seed)
    if config.batch_size < 2 and any(isinstance(layer, BatchNorm) for layer in model.modules()):
        raise ValueError("batch_size must be at least 2 for a model with BatchNorm; got 1")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameters to train")
    Objective(model, config.num_samples)
    fabric = fabric_on(config.device, config.precision)
    if fabric.device.type == "cpu":
        choice_for(model, config.batch_size)  # measured now, where it is for the first time
    return data, fabric


def held_out(model: Distribution, rows: Values | Split | Rows, seed: int) -> tuple[DataSet, dict[str, Tensor]]:
    """Rows as a data set: nine tenths to train on, a tenth, which also stands as the test split, to validate; and the
    numbers that the rows of each split had.
    """
    x, context, weight = fitting(model, as_split(rows), "data", least=2).take()
    split = Split(x.detach(), context, weight)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held_out = max(len(x) // 10, 2)
    validation = Split(*split.take(order[:held_out]))
    labels = model.spec.labels if model.spec is not None and context is not None else ()  # a training of before
    if context is None or len(labels) != context.shape[1]:
        labels = ()
    frame = rows[0] if isinstance(rows, tuple) else rows
    columns = (model.spec.columns if model.spec is not None else ()) or column_names(frame)
    train = Split(*split.take(order[held_out:]))
    data = DataSet("data", train, validation, validation, labels=labels, columns=tuple(columns))
    return data, {"training": order[held_out:], "validation": order[:held_out]}
