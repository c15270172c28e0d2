"""Monotonic scalar functions, the elements that autoregressive and coupling structures apply."""

from marginflow.base.transform import Univariate
from marginflow.transforms.univariate.affine import Additive, Affine, SoftclipAffine, SoftplusAffine
from marginflow.transforms.univariate.mixture import GaussianMixture, LogisticMixture
from marginflow.transforms.univariate.spline import RationalQuadratic

__all__ = [
    "Additive", "Affine", "GaussianMixture", "LogisticMixture", "RationalQuadratic", "SoftclipAffine",
    "SoftplusAffine", "Univariate",
]  # fmt: skip
