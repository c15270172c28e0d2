"""Transforms, data to noise: each with forward, inverse and log-determinant."""

from marginflow.transforms.augment import Augment
from marginflow.transforms.autoregressive import MaskedAutoregressive
from marginflow.transforms.base import Inverse, Sequential, Transform
from marginflow.transforms.coupling import Coupling
from marginflow.transforms.linear import Scaling
from marginflow.transforms.normalise import BatchNorm, Standardise
from marginflow.transforms.planar import Planar
from marginflow.transforms.preprocess import Dequantise, Logit
from marginflow.transforms.radial import Radial
from marginflow.transforms.reshape import Flatten, Permutation
from marginflow.transforms.univariate import (
    Additive,
    Affine,
    GaussianMixture,
    RationalQuadratic,
    SoftclipAffine,
    SoftplusAffine,
    Univariate,
)

__all__ = [
    "Additive", "Affine", "Augment", "BatchNorm", "Coupling", "Dequantise", "Flatten", "GaussianMixture", "Inverse",
    "Logit", "MaskedAutoregressive", "Permutation", "Planar", "Radial", "RationalQuadratic", "Scaling", "Sequential",
    "SoftclipAffine", "SoftplusAffine", "Standardise", "Transform", "Univariate",
]  # fmt: skip
