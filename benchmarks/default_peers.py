"""Densities of a table of real columns that scikit-learn fits: Gaussian mixtures and kernel densities, in file units.

Both see columns standardised by the training rows, z = (x - mean) / deviation, so
log p(x) = log p(z) - sum of log deviation.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

COMPONENTS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)
BANDWIDTHS = tuple(float(each) for each in np.geomspace(0.02, 1.0, 10).round(4))
REGULARISATION = 1e-6  # scikit-learn's default, added to the variances of standardised columns
STARTS, FOLD_STARTS, STEPS, FOLDS = 2, 1, 300, 5


class Standardised:
    """Rows by the mean and deviation of the training rows, and the nats to add to a log density of them."""

    def __init__(self, train: np.ndarray) -> None:
        self.mean, self.deviation = train.mean(0), train.std(0)
        self.log_scale = -float(np.log(self.deviation).sum())

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.mean) / self.deviation


class Gaussians:
    """A mixture of k normal distributions with full covariances, of rows in file units."""

    def __init__(self, components: int, seed: int) -> None:
        self.components, self.seed = components, seed

    def fit(self, rows: np.ndarray) -> Gaussians:
        self.scale = Standardised(rows)
        self.mixture = normals(self.scale(rows), self.components, self.seed, STARTS)
        return self

    def score_samples(self, rows: np.ndarray) -> np.ndarray:
        """log p of each row."""
        return self.mixture.score_samples(self.scale(rows)) + self.scale.log_scale

    @property
    def least_deviation(self) -> float:
        """The narrowest direction of any component, of standardised columns; at least the root of REGULARISATION."""
        return float(np.sqrt(np.linalg.eigvalsh(np.asarray(self.mixture.covariances_)).min()))


def normals(rows: np.ndarray, components: int, seed: int, starts: int) -> GaussianMixture:
    """scikit-learn's mixture of standardised rows; what it is after STEPS steps counts."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, reg_covar=REGULARISATION, n_init=starts, max_iter=STEPS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(rows)


def gaussian_mixtures(train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, Any]:
    """Held-out nats a row for each number of components, and the number that folds of the training rows choose.

    A number is left out above half of the rows that a fold trains on.
    """
    started = time.perf_counter()
    numbers = [k for k in COMPONENTS if k <= len(train) * (FOLDS - 1) // FOLDS // 2]
    found: dict[str, Any] = {}
    for k in numbers:
        model = Gaussians(k, seed).fit(train)
        log_p = model.score_samples(test)
        found[str(k)] = {
            "log_p": float(log_p.mean()), "lowest": float(log_p.min()), "folds": _folded(train, k, seed),
            "least_deviation": model.least_deviation,
        }  # fmt: skip
    chosen = max(numbers, key=lambda k: found[str(k)]["folds"])
    return {"components": found, "chosen": chosen, "seconds": time.perf_counter() - started}


def kernel_density(train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, Any]:
    """Held-out nats a row of normal kernels around the training rows, with the bandwidth that their folds choose."""
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity

    started = time.perf_counter()
    scale = Standardised(train)
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    search = GridSearchCV(KernelDensity(), {"bandwidth": list(BANDWIDTHS)}, cv=folds).fit(scale(train))
    log_p = search.best_estimator_.score_samples(scale(test)) + scale.log_scale
    return {
        "log_p": float(log_p.mean()), "lowest": float(log_p.min()), "chosen": search.best_params_["bandwidth"],
        "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _folded(train: np.ndarray, components: int, seed: int) -> float:
    """Mean log p of the training rows, each by a mixture of the other folds, in standardised units of them all."""
    from sklearn.model_selection import KFold

    rows = Standardised(train)(train)
    folds = KFold(FOLDS, shuffle=True, random_state=seed).split(rows)
    return float(np.mean([normals(rows[a], components, seed, FOLD_STARTS).score(rows[b]) for a, b in folds]))
