"""The densities that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.tables import copula, forest, normals, ours
from benchmarks.tables.fitted import Fitted
from benchmarks.tables.measure import Task

OURS, INDEPENDENT = "ours", "independent"
MODELS: dict[str, Callable[[Task], Fitted]] = {
    OURS: ours.by_default,
    INDEPENDENT: ours.independent_columns,
    "mixture": ours.product_mixtures,
    "normals": normals.gaussian_mixtures,
    "kernels": normals.kernel_density,
    "copula": copula.gaussian_copula,
    "forest": forest.random_forest,
}
BASELINES = tuple(each for each in MODELS if each != OURS)
WORDS = {
    OURS: "ours, by default", INDEPENDENT: "independent columns",
    "mixture": "product mixture", "normals": "mixture of normals", "kernels": "kernels", "copula": "Gaussian copula",
    "forest": "arfpy (approximate)",
}  # fmt: skip
