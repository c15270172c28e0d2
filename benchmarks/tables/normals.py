"""Densities of real columns that scikit-learn fits: mixtures of normal distributions, and kernels, in file units."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from benchmarks.default_peers import REGULARISATION, STEPS, Standardised, normals
from benchmarks.tables.fitted import CannotTake, Density, Fitted, as_rows, chosen
from benchmarks.tables.measure import Task

COMPONENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BANDWIDTHS = tuple(float(each) for each in np.geomspace(0.02, 1.0, 10).round(4))
ROWS_A_COMPONENT = 2


def require_real(task: Task) -> None:
    """CannotTake where some column is no real number."""
    other = [each for each in task.schema.modelled if each.kind != "real" or each.blank or each.atoms]
    if other:
        raise CannotTake(f"{len(other)} of {len(task.schema.modelled)} columns are no plain real numbers")


class Normals:
    """A mixture of normal distributions with full covariances, of standardised columns."""

    def __init__(self, rows: np.ndarray, components: int, seed: int) -> None:
        self.scale = Standardised(rows)
        self.mixture = normals(self.scale(rows), components, seed, 1)

    def log_prob(self, x: Tensor) -> np.ndarray:
        """log p of each row in file units."""
        return self.mixture.score_samples(self.scale(x.numpy())) + self.scale.log_scale

    def sample(self, number: int, seed: int) -> Tensor:
        """Rows in file units."""
        self.mixture.random_state = seed
        rows = self.mixture.sample(number)[0]
        rows = rows[np.random.default_rng(seed).permutation(number)]
        return as_rows(rows * self.scale.deviation + self.scale.mean)


class Kernels:
    """Normal kernels around the training rows, of standardised columns."""

    def __init__(self, rows: np.ndarray, bandwidth: float) -> None:
        from sklearn.neighbors import KernelDensity

        self.scale = Standardised(rows)
        self.kernels = KernelDensity(bandwidth=bandwidth).fit(self.scale(rows))

    def log_prob(self, x: Tensor) -> np.ndarray:
        """log p of each row in file units."""
        return self.kernels.score_samples(self.scale(x.numpy())) + self.scale.log_scale

    def sample(self, number: int, seed: int) -> Tensor:
        """Rows in file units."""
        return as_rows(self.kernels.sample(number, random_state=seed) * self.scale.deviation + self.scale.mean)


def gaussian_mixtures(task: Task) -> Fitted:
    """scikit-learn's, with as many components as held-out rows choose."""
    require_real(task)
    numbers = [each for each in COMPONENTS if each * ROWS_A_COMPONENT <= len(task.train)]
    density, components, scores = chosen(task, numbers, _normals)
    return Fitted(density, {"components": components, "held_out": scores, "ridge": REGULARISATION, "steps": STEPS})


def kernel_density(task: Task) -> Fitted:
    """scikit-learn's, with the bandwidth that held-out rows choose, of standardised columns."""
    require_real(task)
    density, bandwidth, scores = chosen(task, BANDWIDTHS, _kernels, all_of_them=True)
    return Fitted(density, {"bandwidth": bandwidth, "held_out": scores})


def _normals(task: Task, components: int, is_ended: bool) -> Density:
    return Normals(task.train.numpy(), components, task.seed)


def _kernels(task: Task, bandwidth: float, is_ended: bool) -> Density:
    return Kernels(task.train.numpy(), bandwidth)
