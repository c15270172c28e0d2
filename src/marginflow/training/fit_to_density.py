"""Variational inference: a flow fitted to an unnormalised density, without data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from marginflow.base.adapter import require_distribution
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import SEEDS, seeded
from marginflow.distributions.log_likelihood import ImportanceWeights
from marginflow.training.optimiser import cosine
from marginflow.transforms import BatchNorm
from marginflow.transforms.normalise import InitialisedOnce

LogDensity = Callable[[Tensor], Tensor]


class VariationalConfig(BaseModel):
    """How to fit a flow to a density: Adam on the reverse KL divergence.

    steps: how many. num_samples: draws a step. lr: the learning rate, which falls to 0 by a cosine.
    annealing: share of the steps over which the target's log density is first weighted, from 0.01 up to 1, so that the
        flow spreads over all modes before it settles. Rezende and Mohamed, 2015, section 6.1.
    clip_norm: of the gradient. seed: of all draws.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    steps: int = Field(default=5000, ge=1)
    num_samples: int = Field(default=256, ge=2)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    annealing: float = Field(default=0.5, ge=0, le=1)
    clip_norm: float | None = Field(default=10.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=SEEDS)


@dataclass(frozen=True)
class VariationalFit:
    """What fitting found, by draws from the fitted flow.

    free_energy             of each step, E_q[log q(x) - weight * log target(x)], nats
    log_normaliser          log 1/N sum target(x) / q(x), the logarithm of the target's integral
    bound                   E_q[log target(x) - log q(x)], at most that: the difference is KL(q || target)
    standard_error          of log_normaliser, by the delta method
    effective_sample_size   of the N importance weights, as a share of N: 1 where q is the target; it cannot see what q
                            never draws
    """

    free_energy: list[float]
    log_normaliser: float
    bound: float
    standard_error: float
    effective_sample_size: float


def fit_to_density(
    model: Distribution, log_density: LogDensity, config: VariationalConfig | None = None
) -> VariationalFit:
    """Fit a flow to a density that is known up to a factor, by the reverse KL divergence.

    loss = E_q[log q(x) - log target(x)] = KL(q || target / Z) - log Z,  x = sample of q, through which gradients pass

    model: an exact distribution that draws with gradients; `iaf`, couplings and inverted planar flows do so quickly.
        Or a `Marginalising` over one: its noise model stands in for the posterior of eps, and the loss is an upper
        bound.
    log_density: (N, *event) -> (N,), the target's log density up to a constant, differentiable.
    config: a `VariationalConfig`.

    Returns a `VariationalFit`; the model is left fitted, in evaluation mode. ValueError for a model that is not exact
    or has batch norm, or a log_density of another shape; FloatingPointError when the loss or its gradient stops being
    finite, with the weights as they were before that step.

    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    >>> from marginflow import models
    >>> target = lambda x: -0.5 * (x - 3).square().sum(1)
    >>> fitted = fit_to_density(models.realnvp(2, hidden=[8], blocks=2), target, VariationalConfig(steps=300, lr=1e-2))
    >>> abs(fitted.log_normaliser - 1.838) < 0.1
    True
    """
    config = config or VariationalConfig()
    require_distribution(model)
    model._asked(config.num_samples, None)  # refuses one that takes a context
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameters to fit")
    if any(isinstance(module, BatchNorm) for module in model.modules()):
        raise ValueError("BatchNorm takes its statistics from training rows, and there are none: leave batch_norm out")
    for module in model.modules():
        if isinstance(module, InitialisedOnce):
            module.mark_initialised()  # from the identity, there being no data
    optimiser = torch.optim.Adam(model.parameters(), config.lr)
    history = []
    model.eval()  # dropout has no inverse either
    with seeded(config.seed):
        for step in range(config.steps):
            gone = step / config.steps
            weight = min(1.0, 0.01 + 0.99 * gone / config.annealing) if config.annealing else 1.0
            for group in optimiser.param_groups:
                group["lr"] = config.lr * cosine(gone)
            x, log_q = model._sample_and_bound(config.num_samples, None)
            loss = (log_q - weight * _checked(log_density, x)).mean()
            optimiser.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
            if not math.isfinite(loss.item()) or not bool(torch.isfinite(norm)):
                raise FloatingPointError(
                    f"the loss is {loss.item()}, the norm of its gradient {norm.item()}, at step {step + 1} of "
                    f"{config.steps}: lower lr (now {config.lr}), or look where log_density or its gradient is infinite"
                )
            optimiser.step()
            history.append(loss.item())
        return _judged(model, log_density, history)


def _checked(log_density: LogDensity, x: Tensor) -> Tensor:
    value = log_density(x)
    if value.shape != (len(x),):
        raise ValueError(f"log_density must return one number a row, ({len(x)},); got shape {tuple(value.shape)}")
    return value


@torch.no_grad()
def _judged(
    model: Distribution, log_density: LogDensity, history: list[float], num_samples: int = 20_000
) -> VariationalFit:
    """What the importance weights of draws from the fitted model say: those of one row, the target itself."""
    x, log_q = model._sample_and_bound(num_samples, None)
    weights = ImportanceWeights(1, x.device)
    weights.add((log_density(x) - log_q)[:, None], log_q[:, None])
    log_normaliser, bound, error, sample_size, _ = (float(each) for each in weights.result())
    return VariationalFit(history, log_normaliser, bound, error, sample_size / num_samples)
