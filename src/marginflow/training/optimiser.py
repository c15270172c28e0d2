"""What moves the weights: the optimiser, the learning rate of each step, and clipped gradients."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from marginflow.base.data_warning import TrainingWarning
from marginflow.training.config import TrainConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ADAPTIVE = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam"}  # whose steps are about the learning rate, however steep


def adam(model: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    """Adam on the weights of a model, all of a step in one call a device.

    Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015 (arXiv 1412.6980).
    """
    return torch.optim.Adam(model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)


def bare(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimiser itself, also one that Fabric has taken."""
    return getattr(optimiser, "optimizer", optimiser)


def cosine(gone: float) -> float:
    """What is left of a learning rate, from 1 at the start (gone = 0) down to 0 at the end (gone = 1).

    Loshchilov and Hutter, SGDR, 2017 (arXiv 1608.03983), without restarts.
    """
    return 0.5 * (1 + math.cos(math.pi * min(gone, 1.0)))


def require_over(model: nn.Module, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimiser whose parameters are the model's, and whose step needs no closure; ValueError for others."""
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise ValueError(
            f"optimiser must be one of torch's, as torch.optim.AdamW(model.parameters()); got {optimiser!r}"
        )
    own = {id(parameter) for parameter in model.parameters()}
    foreign = sum(id(each) not in own for group in optimiser.param_groups for each in group["params"])
    name = type(optimiser).__name__
    if foreign:
        raise ValueError(
            f"{foreign} of the parameters of this {name} are not the model's: build it from model.parameters()"
        )
    closure = inspect.signature(optimiser.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(f"{name} evaluates the loss several times a step, which fit does not: take Adam, AdamW or SGD")
    return optimiser


def warn_of_rates(optimiser: torch.optim.Optimizer, stacklevel: int) -> None:
    """Warn of a learning rate by which each step of Adam moves every weight by 1 or more."""
    kind, highest = type(bare(optimiser)).__name__, max(float(group["lr"]) for group in optimiser.param_groups)
    if kind in ADAPTIVE and highest >= 1:
        warnings.warn(
            f"at lr = {highest:g} each step of {kind} moves every weight by about {highest:g}, and the training will "
            "diverge: take lr = 1e-3 or so, in an experiment --set train.lr=1e-3",
            TrainingWarning,
            stacklevel=stacklevel + 1,
        )


def learning_rate(config: TrainConfig, step: int, num_steps: int, lr: float | None = None) -> float:
    """The learning rate of a step, counted from 0, of `num_steps` in all. lr: by default the configuration's.

    lr (step + 1) / warmup_steps while step < warmup_steps; afterwards lr, or by the cosine schedule
    lr (1 + cos(pi t)) / 2 with t from 0 at the end of the warm-up to 1 after the last step.

    >>> learning_rate(TrainConfig(lr=1.0, schedule="cosine", warmup_steps=2), step=6, num_steps=10)
    0.5
    """
    lr = config.lr if lr is None else lr
    if step < config.warmup_steps:
        return lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return lr
    gone = (step - config.warmup_steps) / max(num_steps - config.warmup_steps, 1)
    return lr * cosine(gone)


def clip(
    fabric: Fabric,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    value: float | None,
    norm: float | None,
) -> None:
    """Clip the gradients of parameters by value or by norm, where that is set.

    One that is not finite shows in the next loss. Most gradients are below the norm, and are then not written anew.
    """
    if value:
        fabric.clip_gradients(model, optimiser, clip_val=value)
    elif norm and not float(get_total_norm([each.grad for each in parameters if each.grad is not None])) <= norm:
        fabric.clip_gradients(model, optimiser, max_norm=norm, error_if_nonfinite=False)
