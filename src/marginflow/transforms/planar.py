"""The planar flow, constrained so that it can always be inverted, and inverted."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.roots import solve_increasing
from marginflow.transforms.base import Transform

MARGIN = 1e-3  # w.u_hat >= MARGIN - 1

# name -> (h, its derivative given the argument a and h(a)); every derivative lies in [0, 1]
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "tanh": (torch.tanh, lambda a, h: 1 - h.square()),
    "sigmoid": (torch.sigmoid, lambda a, h: h * (1 - h)),
    "arctan": (torch.atan, lambda a, h: 1 / (1 + a.square())),
    "softsign": (functional.softsign, lambda a, h: (1 - h.abs()).square()),
}


class Planar(Transform):
    """Bend space along one direction.

    z = x + u_hat h(w.x + b),  log_det = log(1 + (w.u_hat) h'(w.x + b))

    u_hat = u + (m(w.u) - w.u) w / |w|^2 with m(a) = a for a >= 0, else r (exp(a / r) - 1), r = 1 - 1e-3, so that
    w.u_hat = m(w.u) >= -1 + 1e-3: the map is invertible whatever u, w, b are.

    The inverse solves the increasing scalar equation a + (w.u_hat) h(a + b) = w.z for a = w.x, then
    x = z - u_hat h(a + b); gradients pass through it by the implicit function theorem.

    features: D. x, z: (N, D).
    activation: h, one of "tanh", "sigmoid", "arctan", "softsign" (bounded, 0 <= h' <= 1).

    Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    >>> import torch
    >>> planar, x = Planar(2), torch.randn(5, 2)
    >>> z, log_det = planar(x)
    >>> torch.allclose(planar.inverse(z)[0], x, atol=1e-5)
    True
    """

    def __init__(self, features: int, activation: str = "tanh") -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1; got {features}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        self.features = features
        self.activation = activation
        bound = 1 / math.sqrt(features)
        self.u = nn.Parameter(torch.empty(features).uniform_(-bound, bound))
        self.w = nn.Parameter(torch.empty(features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(()))

    def _direction(self) -> tuple[Tensor, Tensor]:
        """u_hat (D,) and w.u_hat (), the latter without the rounding of a dot product."""
        w_u = torch.dot(self.w, self.u)
        constrained = functional.celu(w_u, 1 - MARGIN)
        length = torch.dot(self.w, self.w).clamp_min(torch.finfo(self.w.dtype).tiny)
        return torch.addcmul(self.u, self.w, (constrained - w_u) / length), constrained

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_input(x)
        h, slope = ACTIVATIONS[self.activation]
        u_hat, w_u_hat = self._direction()
        a = torch.addmv(self.b, x, self.w)
        bend = h(a)
        return torch.addr(x, bend, u_hat), torch.log1p(w_u_hat * slope(a, bend))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_input(z)
        h, slope = ACTIVATIONS[self.activation]
        u_hat, w_u_hat = self._direction()
        target = torch.mv(z, self.w) + self.b  # solved for a + b, so that b stays out of the loop

        def line(a: Tensor) -> tuple[Tensor, Tensor]:
            bend = h(a)
            return a + w_u_hat * bend, 1 + w_u_hat * slope(a, bend)

        with torch.no_grad():  # the slope of `line` is at least `least`, which bounds how far the root can be
            least = 1 + w_u_hat.clamp_max(0)
            reach = (w_u_hat * h(target)).abs() / least
            reach = reach * (1 + 1e-6) + 1e-6
        a = solve_increasing(line, target, target - reach, target + reach)
        bend = h(a)
        return torch.addr(z, bend, u_hat, alpha=-1), -torch.log1p(w_u_hat * slope(a, bend))

    def extra_repr(self) -> str:
        return f"{self.features}, activation={self.activation!r}"
