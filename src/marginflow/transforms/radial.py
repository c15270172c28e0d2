"""The radial flow, constrained so that it can always be inverted, and inverted in closed form."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.arguments import as_whole, require_context
from marginflow.base.transform import Transform

MARGIN = 1e-3  # gamma >= MARGIN - 1
LARGEST = 10.0  # of |log alpha|, softly


class Radial(Transform):
    """The radial flow: contraction or expansion of space around a point, invertible and inverted in closed form.

    z = x + beta (x - c) / (alpha + r),  r = |x - c|,  beta = alpha gamma,  |log alpha| softly below 10
    log_det = (D - 1) log(1 + gamma q) + log(1 + gamma q^2),  q = alpha / (alpha + r)

    gamma = m(g) with m(g) = g for g >= 0, else s (exp(g / s) - 1), s = 1 - 1e-3, so that beta > -alpha: the map is
    invertible whatever the parameters are. The inverse is exact: the radius is the positive root of
    r^2 + (alpha (1 + gamma) - rho) r - alpha rho = 0, rho = |z - c|.

    Args:
        features: D; x and z are (N, D).
        context_features: C; with a context, a linear map of it is added to c, log alpha and g, row by row.

    Raises:
        ValueError: where `features` is below 1, or rows or context are of another width.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    Examples:
        >>> import torch
        >>> radial, x = Radial(2), torch.randn(5, 2)
        >>> z, log_det = radial(x)
        >>> torch.allclose(radial.inverse(z)[0], x, atol=1e-5)
        True
    """

    of_vectors = True

    def __init__(self, features: int, *, context_features: int = 0) -> None:
        super().__init__()
        self.features = features = as_whole(features, "features", least=1)
        context_features = as_whole(context_features, "context_features")
        bound = 1 / math.sqrt(features)
        self.centre = nn.Parameter(torch.empty(features).uniform_(-bound, bound))
        self.log_alpha = nn.Parameter(torch.empty(()).uniform_(-bound, bound))
        self.g = nn.Parameter(torch.empty(()).uniform_(-bound, bound))
        self.conditioner = nn.Linear(context_features, features + 2) if context_features else None

    def extra_repr(self) -> str:
        return str(self.features)

    @property
    def context_features(self) -> int:
        return 0 if self.conditioner is None else self.conditioner.in_features

    def _parameters_of(self, context: Tensor | None, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """c, alpha and gamma, for all rows alike or, with a context, a row of each for each row."""
        centre, log_alpha, g = self.centre, self.log_alpha, self.g
        if self.conditioner is not None:
            require_context(context, self.context_features, num_rows)
            added = self.conditioner(cast(Tensor, context).to(centre))
            centre = centre + added[:, :-2]
            log_alpha, g = log_alpha + added[:, -2], g + added[:, -1]
        log_alpha = LARGEST * torch.tanh(log_alpha / LARGEST)
        return centre, torch.exp(log_alpha), functional.celu(g, 1 - MARGIN)

    def _log_det(self, gamma: Tensor, q: Tensor) -> Tensor:
        return (cast(int, self.features) - 1) * torch.log1p(gamma * q) + torch.log1p(gamma * q.square())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        centre, alpha, gamma = self._parameters_of(context, x.shape[0])
        away = x - centre
        q = alpha / (alpha + torch.linalg.vector_norm(away, dim=1))
        return x + (gamma * q)[:, None] * away, self._log_det(gamma, q)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        centre, alpha, gamma = self._parameters_of(context, z.shape[0])
        away = z - centre
        rho = torch.linalg.vector_norm(away, dim=1)
        b = rho - alpha * (1 + gamma)
        root = torch.sqrt(b.square() + 4 * alpha * rho)
        r = torch.where(b > 0, 0.5 * (b + root), 2 * alpha * rho / (root - b.clamp_max(0)))  # without cancellation
        q = alpha / (alpha + r)
        return centre + away / (1 + gamma * q)[:, None], -self._log_det(gamma, q)
