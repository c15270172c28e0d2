"""The cumulative distribution of a mixture of Gaussians, in logits, and its inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from marginflow.distributions.elementary import LOG_ROOT_TWO_PI
from marginflow.gradients import differentiable, left_to_autograd
from marginflow.roots import solve_increasing


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
        t < far,
        torch.log(beyond) + 0.5 * near.square(),
        -torch.log(u + 1 / (u + 2 / (u + 3 / u))) - LOG_ROOT_TWO_PI,
    )
    body = torch.log1p(-beyond) + 0.5 * t.square()
    return torch.where(positive, body, tail), torch.where(positive, tail, body)


@dataclass(frozen=True)
class GaussianMixture:
    """The cumulative distribution of a mixture of Gaussians, taken to the real line by the logit.

    y = log F(x) - log(1 - F(x)),  F(x) = sum_k w_k Phi((x - m_k) / s_k)
    log dy/dx = log f(x) - log F(x) - log(1 - F(x)),  f = F'

    Over a standard logistic base the density of x is then the mixture f itself. Both logarithms are taken in the
    tails, so nothing overflows in float32. The inverse is solved for, between bounds that hold every component.

    components: how many. bound: the largest |log s_k|, softly.
    Parameters of an element: the logits of w, the m, the log s, components of each. Components alike would stay alike,
    so at zero their means lie apart, spread over [-2, 2].

    The base of MADE MoG and MAF MoG: Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density
    Estimation, 2017 (arXiv 1705.07057); as the element of a coupling: Ho et al., Flow++, 2019 (arXiv 1902.00275).

    >>> import torch
    >>> y, _ = GaussianMixture(1).forward(torch.tensor([0.0]), torch.zeros(1, 3))
    >>> float(y)
    0.0
    """

    components: int = 10
    bound: float = 7.0

    def __post_init__(self) -> None:
        if self.components < 1 or not self.bound > 0:
            raise ValueError(
                f"a mixture needs at least 1 component and a positive bound; got {self.components} and {self.bound}"
            )

    @property
    def num_params(self) -> int:
        return 3 * self.components

    @property
    def kernel(self) -> tuple[str, float]:
        return "gaussian_mixture", self.bound

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log-scales, (..., components) each."""
        logits, means, raw = params.chunk(3, -1)
        reach = 2.0 if self.components > 1 else 0.0
        apart = torch.linspace(-reach, reach, self.components, dtype=params.dtype, device=params.device)
        return logits.log_softmax(-1), means + apart, self.bound * torch.tanh(raw / self.bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_weights, means, log_scales = self._parts(params)
        if left_to_autograd() or not torch.is_grad_enabled():
            return _logit(x, log_weights, means, log_scales)
        return cast("tuple[Tensor, Tensor]", _Logit.apply(x, log_weights, means, log_scales))

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_weights, means, log_scales = self._parts(params)

        def logit(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slope = _logit(x, log_weights, means, log_scales)
            return value, torch.exp(log_slope)

        with torch.no_grad():  # y = logit Phi(a) has a between 0 and sqrt(2 |y|), on the side of y; so every component
            reach = torch.copysign(torch.sqrt(2 * y.abs()), y)
            ends = means + torch.exp(log_scales) * reach[..., None]
            low, high = torch.minimum(means, ends).amin(-1), torch.maximum(means, ends).amax(-1)
            room = 1e-6 * (1 + low.abs() + high.abs())
        x = solve_increasing(logit, y, low - room, high + room)
        return x, -_logit(x, log_weights, means, log_scales)[1]


def _terms(x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, ...]:
    """For each component (x - m) / s and the logarithms of w Phi, w (1 - Phi) and w times the density.

    The logarithms are less the largest log w - a^2 / 2, which comes first, so that their differences are exact
    wherever x is.
    """
    a = (x[..., None] - means) * torch.exp(-log_scales)
    lower, upper = scaled_normal_tails(a)
    exponents = log_weights - 0.5 * a.square()
    most = exponents.detach().amax(-1, keepdim=True)
    exponents = exponents - most
    return most[..., 0], a, exponents + lower, exponents + upper, exponents - log_scales - LOG_ROOT_TWO_PI


def _joined(most: Tensor, log_cdf: Tensor, log_survival: Tensor, log_density: Tensor) -> tuple[Tensor, ...]:
    """y and log dy/dx, log F and log(1 - F), from logarithms that are less `most`.

    The smaller of F and 1 - F is as exact as its logarithm; the other follows from it.
    """
    left = log_cdf < log_survival
    tail = torch.where(left, log_cdf, log_survival)
    log_tail = most + tail
    log_body = torch.log1p(-torch.exp(log_tail.clamp_max(-math.log(2))))
    y = log_body - log_tail
    log_slope = log_density - tail - log_body
    log_cdf, log_survival = torch.where(left, log_tail, log_body), torch.where(left, log_body, log_tail)
    return torch.where(left, -y, y), log_slope, log_cdf, log_survival


def _logit(x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor]:
    """y and log dy/dx, left to autograd."""
    most, _, *terms = _terms(x, log_weights, means, log_scales)
    y, log_slope, *_ = _joined(most, *(each.logsumexp(-1) for each in terms))
    return y, log_slope


class _Logit(torch.autograd.Function):
    """`_logit` and its gradient, written out: nothing is kept of the way through the tails."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        most, a, *terms = _terms(x, *parts)
        sums = [each.logsumexp(-1) for each in terms]
        y, log_slope, *tails = _joined(most, *sums)
        ctx.save_for_backward(x, *parts, a, *terms, *sums, log_slope, *tails)
        return y, log_slope

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, log_weights, means, log_scales, a, lower, upper, density, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated itself
            return tuple(
                differentiable(_logit, [x, log_weights, means, log_scales], ctx.needs_input_grad, grad_outputs)
            )
        grad_y, grad_log = grad_outputs
        sum_lower, sum_upper, sum_density, log_slope, log_cdf, log_survival = saved
        of_cdf, of_survival = grad_y - grad_log, -(grad_y + grad_log)
        shares = torch.exp(density - sum_density[..., None])
        grad_weights = torch.exp(lower - sum_lower[..., None]).mul_(of_cdf[..., None])
        grad_weights += torch.exp(upper - sum_upper[..., None]).mul_(of_survival[..., None])
        # of x through F and 1 - F: f (of_cdf / F - of_survival / (1 - F)), where nothing overflows
        slope = torch.exp(log_slope) * (of_survival * torch.exp(log_cdf) - of_cdf * torch.exp(log_survival))
        grad_means = shares * slope[..., None]
        shares *= grad_log[..., None]
        grad_weights += shares
        inverse_scales = torch.exp(-log_scales)
        grad_means.addcmul_(shares * a, inverse_scales)
        grad_scales = grad_means * (a / inverse_scales) - shares
        return -grad_means.sum(-1), grad_weights, grad_means, grad_scales
