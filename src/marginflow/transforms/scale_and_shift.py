"""A scale and a shift for each feature, given or by the statistics of a batch, with their gradients written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from marginflow.base.transform import of_pixels
from marginflow.nets.autograd import Written


def spread(values: Tensor, x: Tensor) -> Tensor:
    """(features,) made to broadcast over x (N, features, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def all_but_features(x: Tensor) -> list[int]:
    """The dimensions of x (N, features, ...) over which a feature is one."""
    return [dim for dim in range(x.ndim) if dim != 1]


class ScaledAndShifted(Written):
    """z = exp(s) x + t of x (N, features, ...), context, s and t (features,) -> z, log_det."""

    def plain(self, x: Tensor, context: Tensor | None, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return self.quick(None, x, context, log_scale, shift)

    def quick(
        self, kept: list[Tensor] | None, x: Tensor, context: Tensor | None, log_scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        scale = log_scale.exp()
        if kept is not None:
            kept += (x, scale)
        return torch.addcmul(spread(shift, x), x, spread(scale, x)), of_pixels(log_scale.sum(), x)

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        (x, scale), (grad, grad_log), rest = kept, grads, all_but_features(kept[0])
        of_scale = (grad * x).sum(rest).mul_(scale).add_(grad_log.sum() * math.prod(x.shape[2:]))
        return [grad * spread(scale, x) if needed[0] else None, None, of_scale, grad.sum(rest)]


class BatchNormalised(Written):
    """z = exp(g) (x - mean) / sqrt(variance + epsilon) + b of x, context, g and b -> z, log_det.

    Mean and biased variance of each feature are those of the batch, or `statistics`, which are given.
    """

    def __init__(self, epsilon: float, statistics: tuple[Tensor, Tensor] | None = None) -> None:
        self.epsilon, self.statistics = epsilon, statistics

    def plain(self, x: Tensor, context: Tensor | None, log_gain: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return self.quick(None, x, context, log_gain, bias)

    def quick(
        self, kept: list[Tensor] | None, x: Tensor, context: Tensor | None, log_gain: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.statistics is None:
            variance, mean = torch.var_mean(x, all_but_features(x), correction=0)
        else:
            mean, variance = self.statistics
        slope, gain = torch.rsqrt(variance + self.epsilon), log_gain.exp()
        log_det = of_pixels((log_gain + slope.log()).sum(), x)
        if kept is None:
            scale = gain * slope
            return torch.addcmul(spread(bias - mean * scale, x), x, spread(scale, x)), log_det
        normalised = (x - spread(mean, x)).mul_(spread(slope, x))
        kept += (normalised, slope, gain)
        return torch.addcmul(spread(bias, x), normalised, spread(gain, x)), log_det

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        """With h the normalised x, G the gradient of log_det, M numbers a feature, and means over these:

        of x = slope exp(g) (grad - mean(grad)) - slope h (exp(g) mean(grad h) + G / M)
        """
        (normalised, slope, gain), (grad, grad_log) = kept, grads
        rest, pixels = all_but_features(normalised), math.prod(normalised.shape[2:])
        of_bias, of_gain, of_log = grad.sum(rest), (grad * normalised).sum(rest).mul_(gain), grad_log.sum() * pixels
        of_x: Tensor | None = None
        if needed[0]:
            of_x = grad * spread(gain * slope, grad)
            if self.statistics is None:
                count = normalised.shape[0] * pixels
                of_x = of_x.sub_(spread(gain * slope * of_bias / count, grad))
                of_x.addcmul_(normalised, spread(slope * (of_gain + of_log) / count, grad), value=-1)
        return [of_x, None, of_gain + of_log, of_bias]
