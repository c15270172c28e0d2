"""A monotonic rational-quadratic spline with identity tails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.arguments import as_whole
from marginflow.base.settings import as_positive

LEAST_SIZE, LEAST_SLOPE = 1e-3, 1e-3  # of a bin, as a share of the interval; of the curve at a knot


@dataclass(frozen=True)
class RationalQuadratic:
    """A monotonic rational-quadratic spline on [-bound, bound], the identity outside.

    With t = (x - x_k) / (x_k+1 - x_k) in bin k, s = (y_k+1 - y_k) / (x_k+1 - x_k) and slopes d at the knots:

    y = y_k + (y_k+1 - y_k) (s t^2 + d_k t (1 - t)) / (s + (d_k+1 + d_k - 2 s) t (1 - t))
    dy/dx = s^2 (d_k+1 t^2 + 2 s t (1 - t) + d_k (1 - t)^2) / (s + (d_k+1 + d_k - 2 s) t (1 - t))^2

    The slope at both ends is 1. The inverse is the root of a quadratic equation, in a form whose discriminant cannot
    round below 0 and whose root cannot leave its bin.

    Each element takes the widths and the heights of the bins, `bins` of each, and bins - 1 slopes, all unbounded; where
    all are zero it is the identity.

    Args:
        bins: the number of bins, 2 ... 500.
        bound: half the interval's length.

    Raises:
        ValueError: where `bins` is out of range, or `bound` is not positive and finite.

    References:
        Durkan, Bekasov, Murray and Papamakarios, Neural Spline Flows, 2019 (arXiv 1906.04032).

    Examples:
        >>> import torch
        >>> RationalQuadratic().forward(torch.tensor([-7.0, 0.3]), torch.zeros(2, 23))[0]
        tensor([-7.0000,  0.3000])
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", as_whole(self.bins, "bins", least=2))  # frozen
        if self.bins > 0.5 / LEAST_SIZE:
            raise ValueError(f"bins must be at most {0.5 / LEAST_SIZE:.0f}; got {self.bins}")
        object.__setattr__(self, "bound", as_positive(self.bound, "bound"))  # frozen

    @property
    def num_params(self) -> int:
        return 3 * self.bins - 1

    @property
    def kernel(self) -> tuple[str, float]:
        return "rational_quadratic", self.bound

    def _knots(self, raw: Tensor) -> Tensor:
        """The ends of the bins, (..., bins + 1), from -bound to bound."""
        sizes = LEAST_SIZE + (1 - LEAST_SIZE * self.bins) * raw.softmax(-1)
        inner = (2 * self.bound) * sizes[..., :-1].cumsum(-1) - self.bound
        return functional.pad(functional.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)

    def _slopes(self, raw: Tensor) -> Tensor:
        """The slopes at the knots, (..., bins + 1)."""
        at_zero = math.log(math.expm1(1 - LEAST_SLOPE))  # where softplus is 1 less the least
        return functional.pad(functional.softplus(raw + at_zero) + LEAST_SLOPE, (1, 1), value=1.0)

    def _bin(self, value: Tensor, params: Tensor, *, by_height: bool) -> tuple[Tensor, ...]:
        """x_k, y_k, width, s, d_k, d_k+1 of the bin that holds each value, an x or a y inside the interval."""
        xs = self._knots(params[..., : self.bins])
        ys = self._knots(params[..., self.bins : 2 * self.bins])
        slopes = self._slopes(params[..., 2 * self.bins :])
        inner = (ys if by_height else xs)[..., 1:-1]
        k = (value[..., None] >= inner).sum(-1, keepdim=True)
        knots = torch.stack([xs, ys, slopes], -2)
        index = torch.stack([k, k + 1], -1).expand(*k.shape[:-1], 3, 2)
        (x, x_end), (y, y_end), (d, d_end) = (each.unbind(-1) for each in knots.gather(-1, index).unbind(-2))
        width = x_end - x
        return x, y, width, (y_end - y) / width, d, d_end

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.bound
        within = x.clamp(-self.bound, self.bound)
        x_k, y_k, width, s, d, d_end = self._bin(within, params, by_height=False)
        t = ((within - x_k) / width).clamp(0, 1)
        rise, log_slope = _curve(t, s * width, s, d, d_end)
        return torch.where(inside, y_k + rise, x), torch.where(inside, log_slope, 0)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside = y.abs() < self.bound
        within = y.clamp(-self.bound, self.bound)
        x_k, y_k, width, s, d, d_end = self._bin(within, params, by_height=True)
        up = (within - y_k) / width  # a t^2 + b t - c = 0, all divided by the width
        bend = d_end + d - 2 * s
        a, b, c = s * (s - d) + up * bend, s * d - up * bend, s * up
        root = torch.sqrt((b.square() + 4 * a * c).clamp_min(torch.finfo(y.dtype).tiny))
        t = (2 * c / (b + root)).clamp(0, 1)
        rise, log_slope = _curve(t, s * width, s, d, d_end)
        t = (t + (up - rise / width) * torch.exp(-log_slope)).clamp(0, 1)  # a Newton step, for what rounding has left
        log_slope = _curve(t, s * width, s, d, d_end)[1]
        return torch.where(inside, x_k + t * width, y), torch.where(inside, -log_slope, 0)


def _curve(t: Tensor, height: Tensor, s: Tensor, d: Tensor, d_end: Tensor) -> tuple[Tensor, Tensor]:
    """How far the curve has risen at t in its bin, and the logarithm of its slope."""
    u = 1 - t
    between = t * u
    divisor = s + (d_end + d - 2 * s) * between
    rise = height * (s * t.square() + d * between) / divisor
    slope = d_end * t.square() + 2 * s * between + d * u.square()
    return rise, 2 * torch.log(s / divisor) + torch.log(slope)
