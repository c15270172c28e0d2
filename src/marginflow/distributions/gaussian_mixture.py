"""A mixture of Gaussians with full covariances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from marginflow.base.arguments import as_whole
from marginflow.base.distribution import Distribution
from marginflow.base.settings import as_positive
from marginflow.base.surroundings import becomes_graph
from marginflow.base.units import LOG_ROOT_TWO_PI
from marginflow.distributions.by_columns import ByColumns
from marginflow.distributions.columns.levels import drawn
from marginflow.transforms.roots import solve_increasing

SIZE = 2**17  # numbers that are computed at once, which stay in a processor's cache
LARGEST = 40.0  # deviations beyond which no quantile lies
ROUNDING = 1e-12  # of the largest variance in any direction, below which float64 holds no other


class GaussianMixture(Distribution, ByColumns):
    """A mixture of Gaussians with full covariances.

    log p(x) = log sum over components c of w_c N(x; m_c, S_c)

    `fit` trains it by EM, in a flow too whose transforms have no parameters to train, such as `Standardise`. Kept are
    log w, means, and of each covariance S = L L^T the factor L^-1, lower triangular row by row with the log of its
    diagonal, so that any values are a density and gradients can train it as well. A new one has unit covariances. All
    is computed in float64, whatever the precision of the parameters.

    Args:
        features: number of features D.
        components: how many.
        ridge: EM's least variance in any direction, in the units of the rows that reach the mixture.

    Raises:
        ValueError: where an argument does not fit.

    References:
        Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.

    Examples:
        >>> mixture = GaussianMixture(2, components=1)
        >>> mixture.log_prob([[0.0, 0.0]])
        tensor([-1.8379], grad_fn=<ToCopyBackward0>)
        >>> mixture.sample(3).shape
        torch.Size([3, 2])
    """

    def __init__(self, features: int, components: int = 1, ridge: float = 1e-6) -> None:
        super().__init__()
        self.features = as_whole(features, "features", least=1)
        components = as_whole(components, "components", least=1)
        self.ridge = as_positive(ridge, "ridge")
        self.log_weights = nn.Parameter(torch.full((components,), -math.log(components)))
        apart = torch.randn if components > 1 else torch.zeros  # components that are the same would stay so
        self.means = nn.Parameter(apart(components, self.features))
        self.factors = nn.Parameter(torch.zeros(components, self.features * (self.features + 1) // 2))

    @property
    def event_shape(self) -> torch.Size:
        return torch.Size([self.features])

    @property
    def reparameterised(self) -> bool:
        return False

    @property
    def num_components(self) -> int:
        """How many components there are."""
        return len(self.log_weights)

    def extra_repr(self) -> str:
        return f"{self.features}, components={self.num_components}"

    def pieces(self, x: Tensor) -> Sequence[Tensor]:
        """Rows (N, D), as many at once as stay in a processor's cache; at least one piece, one in a graph."""
        return [x] if becomes_graph() else x.split(max(1, SIZE // (self.num_components * self.features)))

    def covariances(self) -> Tensor:
        """S of each component, (C, D, D), float64."""
        lower = self._roots(self._inverse_roots())
        return lower @ lower.mT

    @torch.no_grad()
    def set_components(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Take in weights (C,), means (C, D) and covariances (C, D, D), their variances raised to the ridge at least.

        That has the largest likelihood which rows of these covariances can have under the bound.
        """
        variances, directions = torch.linalg.eigh(covariances.double())
        least = (ROUNDING * variances[:, -1:]).clamp_min(self.ridge)
        raised = (directions * torch.maximum(variances, least)[:, None]) @ directions.mT
        inverse = self._roots(torch.linalg.cholesky(raised))
        inverse.diagonal(dim1=1, dim2=2).log_()
        self.log_weights.copy_((weights / weights.sum()).log())
        self.means.copy_(means)
        self.factors.copy_(inverse[:, *self._triangle()])

    def log_of_each(self, x: Tensor) -> Tensor:
        """log w_c N(x; m_c, S_c) of each component, (N, C), float64, of rows that fit."""
        return self._log_of_each(x, *self._maps())

    def _triangle(self) -> tuple[Tensor, Tensor]:
        """The places of the numbers of a factor: rows and columns."""
        rows, columns = torch.tril_indices(self.features, self.features, device=self.factors.device)
        return rows, columns

    def _inverse_roots(self) -> Tensor:
        """L^-1 of each component, (C, D, D), float64."""
        factors, (rows, columns) = self.factors.double(), self._triangle()
        values = torch.where(rows == columns, factors, 0.0).exp().where(rows == columns, factors)
        whole = values.new_zeros(self.num_components, self.features * self.features)
        whole = whole.index_copy(1, rows * self.features + columns, values)
        return whole.unflatten(1, (self.features, self.features))

    @staticmethod
    def _roots(inverse: Tensor) -> Tensor:
        """The inverses of lower triangular matrices."""
        one = torch.eye(inverse.shape[-1], dtype=inverse.dtype, device=inverse.device)
        return torch.linalg.solve_triangular(inverse, one.expand_as(inverse), upper=False)

    def _maps(self) -> tuple[Tensor, Tensor, Tensor]:
        """The map of rows to their standard normal values under all components, (C D, D) and (C D,), and what is added
        to log N(these; 0, I) of each, (C,).
        """
        inverse = self._inverse_roots()
        shift = -(inverse @ self.means.double()[..., None])
        log_scale = inverse.diagonal(dim1=1, dim2=2).log().sum(1) - self.features * LOG_ROOT_TWO_PI
        return inverse.flatten(0, 1), shift.flatten(), self.log_weights.double().log_softmax(0) + log_scale

    def _log_of_each(self, x: Tensor, matrix: Tensor, shift: Tensor, constant: Tensor) -> Tensor:
        standard = torch.addmm(shift, x.double(), matrix.T).unflatten(1, (self.num_components, self.features))
        return constant - 0.5 * standard.square().sum(2)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        maps, undefined, far = self._maps(), x.isnan(), x.isinf()
        rows = x.masked_fill(undefined | far, 0.0)  # which leaves the gradients of others as they are
        log_p = torch.cat([self._log_of_each(each, *maps).logsumexp(1) for each in self.pieces(rows)])
        log_p = log_p.masked_fill(far.any(1), -torch.inf).masked_fill(undefined.any(1), torch.nan)
        return log_p.to(self.log_weights)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        roots, means, shares = self._roots(self._inverse_roots()), self.means.double(), self.log_weights.double()
        upto = shares.softmax(0).cumsum(0)
        u = torch.rand(num_samples, dtype=upto.dtype, device=upto.device) * upto[-1]
        component = torch.searchsorted(upto, u, right=True).clamp_max(self.num_components - 1)
        noise = torch.randn(num_samples, self.features, dtype=upto.dtype, device=upto.device)
        at_once = max(1, SIZE // self.features**2)
        moved = [
            (roots[of] @ eps[..., None])[..., 0] + means[of]
            for of, eps in zip(component.split(at_once), noise.split(at_once), strict=True)
        ]
        return torch.cat(moved).to(self.log_weights)

    @torch.no_grad()
    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Without gradients: the choice of a component has none."""
        x = self._sample(num_samples, context)
        return x, self._log_prob(x, context)

    def is_exact(self, given: Tensor) -> bool:
        return True

    def weighed(self, given: Tensor) -> Tensor:
        return given

    def log_prob_of(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        root = self._root(given)
        return torch.cat([self._given(each, given, root)[0].logsumexp(1) for each in self.pieces(x)])

    @staticmethod
    def _order(given: Tensor) -> Tensor:
        """The places of given features, then those of the others."""
        return torch.cat([given.nonzero()[:, 0], (~given).nonzero()[:, 0]])

    def _root(self, given: Tensor) -> Tensor:
        """L of each covariance, the given features first: (C, D, D)."""
        order = self._order(given)
        return torch.linalg.cholesky(self.covariances()[:, order][:, :, order])

    def _given(self, x: Tensor, given: Tensor, root: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where features b of rows are given: log of w_c N(b; ...) of each component, (N, C), the means of the others
        given b, (N, C, others), and the root of their covariance, (C, others, others).
        """
        order, number = self._order(given), int(given.sum())
        means, own = self.means.double()[:, order], root[:, :number, :number]
        apart = (x.double()[:, order[:number]][:, None] - means[:, :number]).permute(1, 2, 0)  # (C, given, N)
        standard = torch.linalg.solve_triangular(own, apart, upper=False)
        log_scale = own.diagonal(dim1=1, dim2=2).log().sum(1) + number * LOG_ROOT_TWO_PI
        log_w = self.log_weights.double().log_softmax(0) - log_scale - 0.5 * standard.square().sum(1).T
        others = means[:, number:] + (root[:, number:, :number] @ standard).permute(2, 0, 1)
        return log_w, others, root[:, number:, number:]

    @torch.no_grad()
    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        root = self._root(given)
        found, log_w = zip(*(self._propose(each, given, root) for each in self.pieces(x)), strict=True)
        return torch.cat(found), torch.cat(log_w)

    def _propose(self, x: Tensor, given: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        log_w, means, roots = self._given(x, given, root)
        component = drawn(log_w.softmax(1).nan_to_num(1.0))
        noise = torch.randn(len(x), means.shape[2], dtype=means.dtype, device=x.device)
        moved = (roots[component] @ noise[..., None])[..., 0]
        found = x.double().clone()
        found[:, ~given] = means[torch.arange(len(x)), component] + moved
        return found, log_w.logsumexp(1)

    @torch.no_grad()
    def quantiles(self, x: Tensor, given: Tensor, column: int, levels: Tensor, context: Tensor | None) -> Tensor:
        root = self._root(given)
        return torch.cat([self._quantiles(each, given, root, column, levels) for each in self.pieces(x)])

    def _quantiles(self, x: Tensor, given: Tensor, root: Tensor, column: int, levels: Tensor) -> Tensor:
        log_w, means, roots = self._given(x, given, root)
        place = int((~given)[:column].sum())
        shares, means = log_w.softmax(1)[:, None], means[:, None, :, place]
        scales = roots[:, place].norm(dim=1)
        width = (LARGEST * scales).max() + 1
        shape = (len(x), len(levels))
        low, high = ((each + sign * width).expand(shape) for each, sign in ((means.amin(2), -1), (means.amax(2), 1)))

        def upto(values: Tensor) -> tuple[Tensor, Tensor]:
            standard = (values[..., None] - means) / scales
            density = torch.exp(-0.5 * standard.square() - LOG_ROOT_TWO_PI) / scales
            return (shares * torch.special.ndtr(standard)).sum(2), (shares * density).sum(2)

        return solve_increasing(upto, levels.to(low).expand(shape), low, high)
