"""Transforms, data to noise: each with forward, inverse and log-determinant."""

from marginflow.base.transform import Identity, Transform, Univariate
from marginflow.transforms.augment import Augment
from marginflow.transforms.autoregressive import MaskedAutoregressive
from marginflow.transforms.coupling import Coupling
from marginflow.transforms.factor_out import FactorOut
from marginflow.transforms.linear import Conv1x1, Scaling
from marginflow.transforms.local_autoregressive import LocalAutoregressive
from marginflow.transforms.normalise import ActNorm, BatchNorm, Standardise
from marginflow.transforms.planar import Planar
from marginflow.transforms.preprocess import Dequantise, Logit
from marginflow.transforms.radial import Radial
from marginflow.transforms.reshape import Flatten, Permutation, Squeeze
from marginflow.transforms.sequential import Inverse, Sequential
from marginflow.transforms.univariate.affine import Additive, Affine, SoftclipAffine, SoftplusAffine
from marginflow.transforms.univariate.mixture import GaussianMixture, LogisticMixture
from marginflow.transforms.univariate.spline import RationalQuadratic
from marginflow.transforms.whiten import Whiten

__all__ = [
    "ActNorm", "Additive", "Affine", "Augment", "BatchNorm", "Conv1x1", "Coupling", "Dequantise", "FactorOut",
    "Flatten", "GaussianMixture", "Identity", "Inverse", "LocalAutoregressive", "LogisticMixture", "Logit",
    "MaskedAutoregressive", "Permutation", "Planar", "Radial", "RationalQuadratic", "Scaling", "Sequential",
    "SoftclipAffine", "SoftplusAffine", "Squeeze", "Standardise", "Transform", "Univariate", "Whiten",
]  # fmt: skip
