"""What mixtures are made of: a standard distribution's tails and density in logarithms that nothing can overflow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.units import LOG_ROOT_TWO_PI


class Terms(NamedTuple):
    """Logarithms at a, each less `exponent`, which is all that is large in the tails.

    lower, upper: of the cumulative distribution and of what is left of it. density: of the density.
    fall: -d/da of the log density.
    """

    exponent: Tensor
    lower: Tensor
    upper: Tensor
    density: Tensor
    fall: Tensor


Component = Callable[[Tensor], Terms]


def scaled_normal_tails(a: Tensor) -> tuple[Tensor, Tensor]:
    """log Phi(a) + a^2 / 2 and log(1 - Phi(a)) + a^2 / 2 of the standard normal, to full precision in both tails.

    In the tails the squares, which are all that is large there, are thus left out. One error function serves both;
    where it would underflow, the tail's continued fraction takes its place:
    1 - Phi(t) = phi(t) / (t + 1 / (t + 2 / (t + 3 / (t + ...)))).

    >>> import torch
    >>> scaled_normal_tails(torch.tensor([0.0, 30.0]))
    (tensor([ -0.6931, 450.0000]), tensor([-0.6931, -4.3212]))
    """
    far = 12.0 if a.dtype == torch.float32 else 36.0
    positive = a > 0
    t = torch.where(positive, a, -a)  # whose derivative at 0 is not 0, as that of |a| is
    near, u = t.clamp_max(far), t.clamp_min(far)
    beyond = 0.5 * torch.erfc(near * math.sqrt(0.5))  # 1 - Phi(t)
    tail = torch.where(
        t < far, torch.log(beyond) + 0.5 * near.square(), -torch.log(u + 1 / (u + 2 / (u + 3 / u))) - LOG_ROOT_TWO_PI
    )
    body = torch.log1p(-beyond) + 0.5 * t.square()
    return torch.where(positive, body, tail), torch.where(positive, tail, body)


def normal(a: Tensor) -> Terms:
    """The standard normal distribution, less -a^2 / 2; beyond where squares are finite that of the end."""
    furthest = torch.finfo(a.dtype).max ** 0.5 / 16
    a = a.clamp(-furthest, furthest)
    lower, upper = scaled_normal_tails(a)
    return Terms(-0.5 * a.square(), lower, upper, torch.full_like(a, -LOG_ROOT_TWO_PI), a)


def logistic(a: Tensor) -> Terms:
    """The standard logistic distribution, less -|a|."""
    positive = a > 0
    t = torch.where(positive, a, -a)  # whose derivative at 0 is not 0, as that of |a| is
    near = -functional.softplus(-t)  # log of the larger of the two tails
    far = t + near
    return Terms(-t, torch.where(positive, far, near), torch.where(positive, near, far), 2 * near, torch.tanh(0.5 * a))
