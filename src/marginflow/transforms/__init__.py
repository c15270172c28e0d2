"""Transforms, data to noise: each with forward, inverse and log-determinant."""

from marginflow.transforms.augment import Augment
from marginflow.transforms.autoregressive import MaskedAutoregressive
from marginflow.transforms.base import Inverse, Sequential, Transform
from marginflow.transforms.normalise import BatchNorm, Standardise
from marginflow.transforms.planar import Planar
from marginflow.transforms.preprocess import Dequantise, Logit
from marginflow.transforms.reshape import Flatten, Permutation
from marginflow.transforms.univariate import Affine, SoftclipAffine, SoftplusAffine, Univariate

__all__ = [
    "Affine", "Augment", "BatchNorm", "Dequantise", "Flatten", "Inverse", "Logit", "MaskedAutoregressive",
    "Permutation", "Planar", "Sequential", "SoftclipAffine", "SoftplusAffine", "Standardise", "Transform", "Univariate",
]  # fmt: skip
