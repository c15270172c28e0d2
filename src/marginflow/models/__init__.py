"""Named flows, each a few lines: a function of the features that returns a `Flow`.

Structure (planar, radial, coupling, autoregressive) x scalar function (additive, affine, spline, mixture) x base. All
take `context_features`, the width of a context on which the density then depends, and work inside `Marginalising`.
MODELS are flows of vectors, IMAGE_MODELS of images, MIXTURES of vectors without a context, trained by EM, TABLE_MODELS
densities of rows of a schema; NOISES what can be q(eps | x), DEQUANTISATIONS q(u | x).
"""

from __future__ import annotations

from collections.abc import Callable

from marginflow.base.distribution import Distribution
from marginflow.distributions import Flow
from marginflow.models.autoregressive import iaf, made, made_mog, maf, maf_mog
from marginflow.models.coupling import nice, realnvp
from marginflow.models.gaussian_mixture import gaussian_mixture
from marginflow.models.grow import grow
from marginflow.models.images import flowpp, glow, realnvp_images
from marginflow.models.maf_images import maf_conv, maf_local
from marginflow.models.mixed import mixed
from marginflow.models.mixture import mixture
from marginflow.models.noise import augmented_between, diagonal_normal, standard_normal, uniform
from marginflow.models.planar import planar, radial
from marginflow.models.spline import nsf

__all__ = [
    "DEQUANTISATIONS", "FLOWS", "IMAGE_MODELS", "MIXTURES", "MODELS", "NOISES", "TABLE_MODELS",
    "augmented_between", "diagonal_normal", "flowpp", "gaussian_mixture", "glow", "grow", "iaf", "made",
    "made_mog", "maf", "maf_conv", "maf_local", "maf_mog", "mixed", "mixture", "nice", "nsf", "planar", "radial",
    "realnvp", "realnvp_images", "standard_normal", "uniform",
]  # fmt: skip

MODELS: dict[str, Callable[..., Flow]] = {
    each.__name__: each for each in (planar, radial, nice, realnvp, made, made_mog, maf, maf_mog, iaf, nsf)
}
IMAGE_MODELS: dict[str, Callable[..., Flow]] = {
    each.__name__: each for each in (realnvp_images, glow, flowpp, maf_conv, maf_local)
}
MIXTURES: dict[str, Callable[..., Flow]] = {each.__name__: each for each in (gaussian_mixture,)}
FLOWS = {**MODELS, **IMAGE_MODELS, **MIXTURES}
TABLE_MODELS: dict[str, Callable[..., Distribution]] = {each.__name__: each for each in (mixed, mixture)}
_SEES_IMAGES = {name: model for name, model in IMAGE_MODELS.items() if model not in (maf_conv, maf_local)}
NOISES: dict[str, Callable[..., Distribution]] = {
    "standard_normal": standard_normal,
    "diagonal_normal": diagonal_normal,
    **MODELS,
    **_SEES_IMAGES,
}
DEQUANTISATIONS: dict[str, Callable[..., Distribution | None]] = {"uniform": uniform, **_SEES_IMAGES}
