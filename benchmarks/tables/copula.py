"""A Gaussian copula whose margins are kernel densities, of real columns in file units.

    log p(x) = sum_j log f_j(x_j) + log N(z; 0, R) - sum_j log N(z_j; 0, 1),   z_j = Phi^-1(F_j(x_j))

Each margin f_j is a mean of normal kernels at up to `CENTRES` quantiles of the training rows, as wide as a share of
Silverman's rule that held-out rows choose, one for all columns; R is the correlation of the training rows' z.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtri_exp
from torch import Tensor

from benchmarks.tables.fitted import Density, Fitted, as_rows, chosen
from benchmarks.tables.measure import Task
from benchmarks.tables.normals import require_real

CENTRES, AT_ONCE, STEPS = 1_000, 2_000, 80
SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # of Silverman's width


class Margin:
    """A mean of normal kernels.

    >>> margin = Margin(np.linspace(-1, 1, 50), 1.0)
    >>> grid = np.linspace(-5, 5, 2_001)
    >>> round(float(np.trapezoid(np.exp(margin.log_density(grid)), grid)), 6)
    1.0
    """

    def __init__(self, values: np.ndarray, share: float) -> None:
        spread = min(values.std(), np.subtract(*np.quantile(values, (0.75, 0.25))) / 1.349) or values.std()
        self.width = share * 0.9 * spread * len(values) ** -0.2
        at = (np.arange(min(CENTRES, len(values))) + 0.5) / min(CENTRES, len(values))
        self.centres = np.quantile(values, at)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """log f (N,)."""
        return self._over_centres(x, lambda z: -0.5 * z**2) - np.log(self.width) - 0.5 * np.log(2 * np.pi)

    def normal(self, x: np.ndarray) -> np.ndarray:
        """Phi^-1(F(x)) (N,), exact in both tails."""
        below, above = self._over_centres(x, log_ndtr), self._over_centres(x, lambda z: log_ndtr(-z))
        return np.where(below < above, ndtri_exp(below), -ndtri_exp(above))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """The x of which `normal` is z (N,), by bisection."""
        reach = (np.abs(z).max() + 1) * self.width
        low, high = np.full(len(z), self.centres[0] - reach), np.full(len(z), self.centres[-1] + reach)
        for _ in range(STEPS):
            middle = (low + high) / 2
            is_below = self.normal(middle) < z
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return (low + high) / 2

    def _over_centres(self, x: np.ndarray, log_kernel: object) -> np.ndarray:
        """log of the mean over the centres of a function of (x - centre) / width (N,)."""
        parts = [
            logsumexp(log_kernel((some[:, None] - self.centres) / self.width), axis=1)  # pyright: ignore[reportCallIssue]
            for some in np.split(x, range(AT_ONCE, len(x), AT_ONCE))
        ]
        return np.concatenate(parts) - np.log(len(self.centres))


class Copula:
    """The margins of rows (N, D), joined by a normal distribution."""

    def __init__(self, rows: np.ndarray, share: float) -> None:
        self.margins = [Margin(column, share) for column in rows.T]
        self.correlation = np.atleast_2d(np.corrcoef(self._normal(rows).T))
        self.factor = np.linalg.cholesky(self.correlation)

    def log_prob(self, x: Tensor) -> np.ndarray:
        """log p of each row in file units."""
        rows = x.numpy()
        z = self._normal(rows)
        white = np.linalg.solve(self.factor, z.T).T
        joined = 0.5 * (z**2 - white**2).sum(1) - np.log(np.diag(self.factor)).sum()
        return joined + sum(each.log_density(column) for each, column in zip(self.margins, rows.T, strict=True))

    def sample(self, number: int, seed: int) -> Tensor:
        """Rows in file units."""
        z = np.random.default_rng(seed).standard_normal((number, len(self.margins))) @ self.factor.T
        return as_rows(np.stack([each.inverse(column) for each, column in zip(self.margins, z.T, strict=True)], 1))

    def _normal(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([each.normal(column) for each, column in zip(self.margins, rows.T, strict=True)], 1)


def gaussian_copula(task: Task) -> Fitted:
    """A copula whose width of margins held-out rows choose."""
    require_real(task)
    density, share, scores = chosen(task, SHARES, _copula)
    return Fitted(density, {"share": share, "held_out": scores})


def _copula(task: Task, share: float, is_ended: bool) -> Density:
    return Copula(task.train.numpy(), share)
