"""Named flows, each a few lines: a function of the features that returns a `Flow`.

Structure (planar, radial, coupling, autoregressive) x scalar function (additive, affine, spline, mixture) x base. All
take `context_features`, the width of a context on which the density then depends, and work inside `Marginalising`.
"""

from __future__ import annotations

from collections.abc import Callable

from marginflow.distributions import Distribution
from marginflow.flow import Flow
from marginflow.models.autoregressive import iaf, made, made_mog, maf, maf_mog
from marginflow.models.contractions import planar, radial
from marginflow.models.coupling import nice, realnvp
from marginflow.models.noise import augmented_between, diagonal_normal, standard_normal
from marginflow.models.spline import nsf

__all__ = [
    "MODELS", "NOISES", "augmented_between", "diagonal_normal", "iaf", "made", "made_mog", "maf", "maf_mog", "nice",
    "nsf", "planar", "radial", "realnvp", "standard_normal",
]  # fmt: skip

MODELS: dict[str, Callable[..., Flow]] = {
    each.__name__: each for each in (planar, radial, nice, realnvp, made, made_mog, maf, maf_mog, iaf, nsf)
}
NOISES: dict[str, Callable[..., Distribution]] = {
    "standard_normal": standard_normal,
    "diagonal_normal": diagonal_normal,
    **MODELS,
}
