"""Variational inference: a flow fitted to an unnormalised density, without data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import shown
from marginflow.base.config import Configuration, as_config
from marginflow.base.data_warning import TrainingWarning
from marginflow.base.devices import with_gradients
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import SEEDS, seeded
from marginflow.base.settings import require_function
from marginflow.distributions.importance_weights import ImportanceWeights
from marginflow.training.optimiser import cosine, warn_of_rates
from marginflow.training.patience import least_jump
from marginflow.transforms import BatchNorm
from marginflow.transforms.normalise import InitialisedOnce

LogDensity = Callable[[Tensor], Tensor]


class VariationalConfig(Configuration):
    """How to fit a flow to a density: Adam on the reverse KL divergence.

    Args:
        steps: number of steps.
        num_samples: samples a step, at least 2.
        lr: learning rate, which falls to 0 by a cosine.
        annealing: share of the steps over which the target's log density is weighted, from 0.01 up to 1, so that the
            flow spreads over all modes before it settles; 0 leaves that out.
        clip_norm: largest norm of the gradient; None or 0 does not clip.
        seed: of all samples.

    Raises:
        ValueError: for a value out of its range or of another type, or an unknown name.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770), section 6.1: the
            annealing.

    Examples:
        >>> VariationalConfig(steps=1000).num_samples
        256
    """

    steps: int = Field(default=5000, ge=1)
    num_samples: int = Field(default=256, ge=2)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    annealing: float = Field(default=0.5, ge=0, le=1)
    clip_norm: float | None = Field(default=10.0, ge=0)
    seed: int = Field(default=0, ge=0, lt=SEEDS)


@dataclass(frozen=True)
class VariationalFit:
    """The result of a fit to a density, estimated by samples from the fitted flow.

    All but free_energy come from N = 20,000 samples. Modes of the target that the flow does not reach show in none of
    these numbers.

    Attributes:
        free_energy: of each step, E_q[log q(x) - weight * log target(x)], in nats.
        log_normaliser: log 1/N sum target(x) / q(x), an estimate of the logarithm of the target's integral.
        bound: E_q[log target(x) - log q(x)], a lower bound of that; the difference is KL(q || target).
        standard_error: of log_normaliser, by the delta method.
        effective_sample_size: of the N importance weights, as a share of N; 1 where q is the target.

    Examples:
        >>> from marginflow import models
        >>> flow, config = models.realnvp(2, hidden=[8], blocks=2), VariationalConfig(steps=10)
        >>> fitted = fit_to_density(flow, lambda x: -0.5 * x.square().sum(1), config)
        >>> len(fitted.free_energy), fitted.bound <= fitted.log_normaliser
        (10, True)
    """

    free_energy: list[float]
    log_normaliser: float
    bound: float
    standard_error: float
    effective_sample_size: float


def fit_to_density(
    model: Distribution, log_density: LogDensity, config: VariationalConfig | Mapping[str, Any] | None = None
) -> VariationalFit:
    """Fit a flow to a density that is known up to a factor, by the reverse KL divergence.

    loss = E_q[log q(x) - log target(x)] = KL(q || target / Z) - log Z,  x = sample of q, through which gradients pass

    The model is left fitted, in evaluation mode. A RuntimeWarning says before the first step that the learning rate is
    too high for Adam, and in the end that the fit has diverged: its KL divergence is larger than before the first step.

    Args:
        model: an exact distribution that is sampled with gradients; `iaf`, couplings and inverted planar flows do so
            quickly. Or a `Marginalising` over one: its noise model stands in for the posterior of eps, and the loss is
            an upper bound.
        log_density: (N, *event) -> (N,), the target's log density in nats up to a constant, differentiable.
        config: a `VariationalConfig`, or a dict of its settings; None takes its defaults.

    Returns:
        A `VariationalFit`.

    Raises:
        ValueError: for a model that is not exact, takes a context, has no parameters or has batch norm, or a
            log_density of another shape.
        FloatingPointError: where the loss or its gradient stops being finite; the weights are those before that step.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    Examples:
        >>> from marginflow import models
        >>> target = lambda x: -0.5 * (x - 3).square().sum(1)
        >>> model = models.realnvp(2, hidden=[8], blocks=2)
        >>> fitted = fit_to_density(model, target, VariationalConfig(steps=300, lr=1e-2))
        >>> abs(fitted.log_normaliser - 1.838) < 0.1
        True
    """
    require_distribution(model)
    require_function(log_density, "log_density", "lambda x: -0.5 * x.square().sum(1)")
    config = as_config(config, VariationalConfig)
    model._fitting_request(config.num_samples, None)  # refuses one that takes a context
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameters to fit")
    if any(isinstance(module, BatchNorm) for module in model.modules()):
        raise ValueError("BatchNorm takes its statistics from training rows, and there are none: leave batch_norm out")
    for module in model.modules():
        if isinstance(module, InitialisedOnce):
            module.mark_initialised()  # from the identity, there being no data
    optimiser = torch.optim.Adam(model.parameters(), config.lr)
    warn_of_rates(optimiser, 2)
    history, untrained, features = [], math.inf, 1
    model.eval()  # dropout has no inverse either
    with seeded(config.seed), with_gradients(model):
        for step in range(config.steps):
            progress = step / config.steps
            weight = min(1.0, 0.01 + 0.99 * progress / config.annealing) if config.annealing else 1.0
            for group in optimiser.param_groups:
                group["lr"] = config.lr * cosine(progress)
            x, log_q = model._sample_and_bound(config.num_samples, None)
            log_target = _log_density_of(log_density, x)
            loss = (log_q - weight * log_target).mean()
            if step == 0:
                untrained, features = float((log_q - log_target).detach().mean()), x[0].numel()
            optimiser.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
            if not math.isfinite(loss.item()) or not bool(torch.isfinite(norm)):
                raise FloatingPointError(
                    f"the loss is {loss.item()}, the norm of its gradient {norm.item()}, at step {step + 1} of "
                    f"{config.steps}: lower lr (now {config.lr}), or find where log_density or its gradient is infinite"
                )
            optimiser.step()
            history.append(loss.item())
        fitted = _estimated(model, log_density, history)
    if not -fitted.bound <= untrained + least_jump(features):
        warnings.warn(
            f"the fit has diverged: E[log q - log target] is {-fitted.bound:.5g} nats and was {untrained:.5g} before "
            f"the first step: lower lr (now {config.lr:g}), or set a lower clip_norm",
            TrainingWarning,
            stacklevel=2,
        )
    return fitted


def _log_density_of(log_density: LogDensity, x: Tensor) -> Tensor:
    value = log_density(x)
    if not isinstance(value, Tensor):
        raise ValueError(f"log_density must return a tensor, which gradients pass; got {shown(value)}")
    if value.shape != (len(x),):
        raise ValueError(f"log_density must return one number a row, ({len(x)},); got shape {tuple(value.shape)}")
    return value


@torch.no_grad()
def _estimated(
    model: Distribution, log_density: LogDensity, history: list[float], num_samples: int = 20_000
) -> VariationalFit:
    """The estimates by importance weights of samples from the fitted model: those of one row, the target itself."""
    x, log_q = model._sample_and_bound(num_samples, None)
    weights = ImportanceWeights(1, x.device)
    weights.add((log_density(x) - log_q)[:, None], log_q[:, None])
    log_normaliser, bound, error, sample_size, _ = (float(each) for each in weights.result())
    return VariationalFit(history, log_normaliser, bound, error, sample_size / num_samples)
