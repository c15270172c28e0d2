"""Shifts and scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.settings import as_positive, as_real
from marginflow.nets.autograd import Written


@dataclass(frozen=True)
class Additive:
    """A shift alone, which preserves the volume, as in NICE.

    y = x - m,  log dy/dx = 0

    Each element takes 1 parameter, m.

    References:
        Dinh, Krueger and Bengio, NICE: Non-linear Independent Components Estimation, 2015 (arXiv 1410.8516).

    Examples:
        >>> import torch
        >>> Additive().forward(torch.tensor([3.0]), torch.tensor([[1.0]]))
        (tensor([2.]), tensor([0.]))
    """

    @property
    def num_params(self) -> int:
        return 1

    @property
    def kernel(self) -> tuple[str, float]:
        return "additive", 0.0

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return x - params[..., 0], torch.zeros_like(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return y + params[..., 0], torch.zeros_like(y)


@dataclass(frozen=True)
class Affine:
    """A shift and a scale, as in the masked autoregressive flow.

    y = (x - m) exp(-a),  a = bound tanh(raw / bound),  log dy/dx = -a

    Each element takes 2 parameters, m and raw. The inverse y exp(a) + m adds m last, so errors in m are not multiplied;
    the soft bound holds both directions finite.

    Args:
        bound: the largest |log-scale|, softly; positive.

    Raises:
        ValueError: where `bound` is not positive and finite.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).

    Examples:
        >>> import torch
        >>> Affine().forward(torch.tensor([3.0]), torch.tensor([[1.0, 0.0]]))
        (tensor([2.]), tensor([-0.]))
    """

    bound: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", as_positive(self.bound, "bound"))  # frozen

    @property
    def num_params(self) -> int:
        return 2

    @property
    def kernel(self) -> tuple[str, float]:
        return "affine", self.bound

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return cast("tuple[Tensor, Tensor]", self.written(x, params))

    @property
    def written(self) -> Written:
        """Its form with a gradient that is written out, of x and params."""
        return _ShiftAndScale(self.bound)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = params.unbind(-1)
        log_derivative = torch.tanh(raw * (1 / self.bound)) * self.bound
        return y * torch.exp(log_derivative) + mean, log_derivative


@dataclass(frozen=True)
class SoftclipAffine:
    """A shift and a scale, softly clipped, as in the masked autoregressive flow of zuko.

    y = exp(a) x + m,  a = raw / (1 + |raw| / b),  b = -log slope,  log dy/dx = a

    Each element takes 2 parameters, m and raw.

    Args:
        slope: the least scale, in (0, 1); the largest is 1 / slope.

    Raises:
        ValueError: where `slope` is out of range.

    Examples:
        >>> import torch
        >>> SoftclipAffine().forward(torch.tensor([3.0]), torch.tensor([[1.0, 0.0]]))
        (tensor([4.]), tensor([0.]))
    """

    slope: float = 1e-3

    def __post_init__(self) -> None:
        slope = as_real(self.slope, "slope", lambda value: 0 < value < 1, "lie in (0, 1)")
        object.__setattr__(self, "slope", slope)  # frozen

    @property
    def num_params(self) -> int:
        return 2

    @property
    def kernel(self) -> tuple[str, float]:
        return "softclip_affine", -math.log(self.slope)

    def _shift_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = params.unbind(-1)
        return shift, raw / (1 + raw.abs() / -math.log(self.slope))

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(params)
        return x * torch.exp(log_scale) + shift, log_scale

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(params)
        return (y - shift) * torch.exp(-log_scale), -log_scale


@dataclass(frozen=True)
class SoftplusAffine:
    """A shift and a scale by softplus, as in the masked autoregressive flow of nflows.

    y = s x + m,  s = softplus(raw) + floor,  log dy/dx = log s

    Each element takes 2 parameters, raw and m.

    Args:
        floor: the least scale, positive.

    Raises:
        ValueError: where `floor` is not positive and finite.

    Examples:
        >>> import torch
        >>> SoftplusAffine(floor=1e-3).forward(torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))
        (tensor([3.0824]), tensor([-0.3651]))
    """

    floor: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "floor", as_positive(self.floor, "floor"))  # frozen

    @property
    def num_params(self) -> int:
        return 2

    @property
    def kernel(self) -> tuple[str, float]:
        return "softplus_affine", self.floor

    def _scale_and_shift(self, params: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = params.unbind(-1)
        return functional.softplus(raw) + self.floor, shift

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self._scale_and_shift(params)
        return x * scale + shift, torch.log(scale)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self._scale_and_shift(params)
        return (y - shift) / scale, -torch.log(scale)


class _ShiftAndScale(Written):
    """`Affine.forward` and its gradient."""

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def plain(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = params.unbind(-1)
        log_derivative = torch.tanh(raw * (-1 / self.bound)) * self.bound
        return (x - mean) * torch.exp(log_derivative), log_derivative

    def quick(self, kept: list[Tensor] | None, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = params.unbind(-1)
        tanh = (raw * (-1 / self.bound)).tanh_()
        log_derivative = tanh * self.bound
        derivative = torch.exp(log_derivative)
        z = (x - mean).mul_(derivative)
        if kept is not None:
            kept += (z, derivative, tanh)
        return z, log_derivative

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        (z, derivative, tanh), (grad_z, grad_log) = kept, grads
        grad_x = grad_z * derivative
        grad_params = z.new_empty(*z.shape, 2)
        grad_mean, grad_raw = grad_params.unbind(-1)
        torch.neg(grad_x, out=grad_mean)
        grad_log = torch.addcmul(grad_log, grad_z, z)
        torch.neg(torch.ops.aten.tanh_backward.default(grad_log, tanh), out=grad_raw)
        return [grad_x, grad_params]
