"""The cumulative distribution of a mixture, of Gaussians or of logistic distributions, in logits, and its inverse."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from marginflow.base.arguments import as_whole
from marginflow.base.settings import as_positive
from marginflow.nets.autograd import Written
from marginflow.transforms.roots import solve_increasing
from marginflow.transforms.univariate.affine import Affine
from marginflow.transforms.univariate.components import Component, logistic, normal


@dataclass(frozen=True)
class _Mixture(ABC):
    """y = log F(x) - log(1 - F(x)),  F(x) = sum_k w_k C((x - m_k) / s_k), for a component's distribution C."""

    components: int = 10
    bound: float = 7.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", as_whole(self.components, "components", least=1))  # frozen
        object.__setattr__(self, "bound", as_positive(self.bound, "bound"))  # frozen

    @property
    @abstractmethod
    def component(self) -> Component:
        """The distribution C."""

    @abstractmethod
    def _reach(self, y: Tensor) -> Tensor:
        """As far from 0 as any a with logit C(a) = y, on the side of y."""

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log-scales, (..., components) each."""
        logits, means, raw = params.chunk(3, -1)
        reach = 2.0 if self.components > 1 else 0.0
        apart = torch.linspace(-reach, reach, self.components, dtype=params.dtype, device=params.device)
        return logits.log_softmax(-1), means + apart, self.bound * torch.tanh(raw / self.bound)

    def to_logit(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dx, from 3 parameters a component."""
        return cast("tuple[Tensor, Tensor]", _Logit(self.component)(x, *self._parts(params)))

    def from_logit(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dy, from 3 parameters a component."""
        log_weights, means, log_scales = self._parts(params)

        def logit(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slope = _logit(x, log_weights, means, log_scales, self.component)
            return value, torch.exp(log_slope)

        with torch.no_grad():  # the root lies between those of the single components
            ends = means + torch.exp(log_scales) * self._reach(y)[..., None]
            low, high = torch.minimum(means, ends).amin(-1), torch.maximum(means, ends).amax(-1)
            room = 1e-6 * (1 + low.abs() + high.abs())
        x = solve_increasing(logit, y, low - room, high + room)
        return x, -_logit(x, log_weights, means, log_scales, self.component)[1]


@dataclass(frozen=True)
class GaussianMixture(_Mixture):
    """The cumulative distribution of a mixture of Gaussians, taken to the real line by the logit.

    y = log F(x) - log(1 - F(x)),  F(x) = sum_k w_k Phi((x - m_k) / s_k)
    log dy/dx = log f(x) - log F(x) - log(1 - F(x)),  f = F'

    Over a standard logistic base the density of x is then the mixture f itself. Both logarithms are taken in the
    tails, so nothing overflows in float32. The inverse is solved for, between bounds that hold every component.

    Each element takes 3 parameters a component: the logits of w, the m, the log s, `components` of each. Equal
    components would stay equal, so at zero their means lie apart, spread over [-2, 2].

    Args:
        components: the number of components.
        bound: the largest |log s_k|, softly.

    Raises:
        ValueError: where there is no component, or `bound` is not positive and finite.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057):
            the base of MADE MoG and MAF MoG.
        Ho, Chen, Srinivas, Duan and Abbeel, Flow++: Improving Flow-Based Generative Models with Variational
            Dequantization and Architecture Design, 2019 (arXiv 1902.00275): as the element of a coupling.

    Examples:
        >>> import torch
        >>> y, _ = GaussianMixture(1).forward(torch.tensor([0.0]), torch.zeros(1, 3))
        >>> float(y)
        0.0
    """

    @property
    def num_params(self) -> int:
        return 3 * self.components

    @property
    def kernel(self) -> tuple[str, float]:
        return "gaussian_mixture", self.bound

    @property
    def component(self) -> Component:
        return normal

    def _reach(self, y: Tensor) -> Tensor:
        return torch.copysign(torch.sqrt(2 * y.abs()), y)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.to_logit(x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.from_logit(y, params)


@dataclass(frozen=True)
class LogisticMixture(_Mixture):
    """The cumulative distribution of a mixture of logistics in logits, then shifted and scaled, as in Flow++.

    y = (log F(x) - log(1 - F(x)) - m) exp(-a),  F(x) = sum_k w_k sigmoid((x - m_k) / s_k)

    Each element takes 3 parameters a component and 2 more: the logits of w, the m_k, the log s_k, `components` of each,
    then m and a. The rest is as for `GaussianMixture`.

    Args:
        components: the number of components.
        bound: the largest |log s_k|, softly; that of |a| is as for `Affine`.

    Raises:
        ValueError: where there is no component, or `bound` is not positive and finite.

    References:
        Ho, Chen, Srinivas, Duan and Abbeel, Flow++: Improving Flow-Based Generative Models with Variational
            Dequantization and Architecture Design, 2019 (arXiv 1902.00275).

    Examples:
        >>> import torch
        >>> y, _ = LogisticMixture(1).forward(torch.tensor([3.0]), torch.zeros(1, 5))
        >>> round(float(y), 5)
        3.0
    """

    @property
    def num_params(self) -> int:
        return 3 * self.components + 2

    @property
    def component(self) -> Component:
        return logistic

    def _reach(self, y: Tensor) -> Tensor:
        return y

    def _split(self, params: Tensor) -> list[Tensor]:
        return list(params.split([3 * self.components, 2], -1))

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        of_mixture, of_affine = self._split(params)
        y, log_slope = self.to_logit(x, of_mixture)
        z, log_scale = Affine().forward(y, of_affine)
        return z, log_slope + log_scale

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        of_mixture, of_affine = self._split(params)
        logit, log_scale = Affine().inverse(y, of_affine)
        x, log_slope = self.from_logit(logit, of_mixture)
        return x, log_slope + log_scale


def _terms(x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, component: Component) -> list[Tensor]:
    """Logarithms of w C, w (1 - C) and w times the density of each component, less the largest exponent.

    That exponent and the component's fall, see `Terms`, come first. What is large comes off before the rest is added,
    so that differences of the logarithms are exact wherever x is.
    """
    exponent, lower, upper, density, fall = component((x[..., None] - means) * torch.exp(-log_scales))
    exponents = log_weights + exponent
    most = exponents.detach().amax(-1, keepdim=True)
    exponents = exponents - most
    return [most[..., 0], fall, exponents + lower, exponents + upper, exponents + density - log_scales]


def _joined(most: Tensor, log_cdf: Tensor, log_survival: Tensor, log_density: Tensor) -> tuple[Tensor, ...]:
    """y and log dy/dx, log F and log(1 - F), from logarithms that are less `most`.

    The smaller of F and 1 - F is as exact as its logarithm; the other follows from it. Where the largest exponent ends,
    see `normal`, the density is 0.
    """
    left = log_cdf < log_survival
    tail = torch.where(left, log_cdf, log_survival)
    log_tail = most + tail
    log_body = torch.log1p(-torch.exp(log_tail.clamp_max(-math.log(2))))
    y = log_body - log_tail
    log_slope = (log_density - tail - log_body).masked_fill(most < -torch.finfo(most.dtype).max / 1024, -math.inf)
    log_cdf, log_survival = torch.where(left, log_tail, log_body), torch.where(left, log_body, log_tail)
    return torch.where(left, -y, y), log_slope, log_cdf, log_survival


def _logit(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, component: Component
) -> tuple[Tensor, Tensor]:
    """y and log dy/dx, left to autograd."""
    most, _, *terms = _terms(x, log_weights, means, log_scales, component)
    y, log_slope, *_ = _joined(most, *(each.logsumexp(-1) for each in terms))
    return y, log_slope


class _Logit(Written):
    """`_logit` and its gradient, written out: nothing is stored of the steps through the tails."""

    def __init__(self, component: Component) -> None:
        self.component = component

    def plain(self, x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor]:
        return _logit(x, log_weights, means, log_scales, self.component)

    def quick(
        self, kept: list[Tensor] | None, x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor
    ) -> tuple[Tensor, Tensor]:
        most, fall, *terms = _terms(x, log_weights, means, log_scales, self.component)
        sums = [each.logsumexp(-1) for each in terms]
        y, log_slope, *tails = _joined(most, *sums)
        if kept is not None:
            kept += (fall, *terms, *sums, log_slope, *tails)
        return y, log_slope

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Tensor], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        x, _, means, log_scales = inputs
        fall, lower, upper, density, *sums, log_slope, log_cdf, log_survival = kept
        grad_y, grad_log = grads
        sum_lower, sum_upper, sum_density = sums
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
        grad_means.addcmul_(shares * fall, inverse_scales)
        grad_scales = grad_means * (x[..., None] - means) - shares
        return [-grad_means.sum(-1), grad_weights, grad_means, grad_scales]
