"""Distributions over events: the contract, the bases that flows start from, mixtures over labels."""

from marginflow.distributions.base import (
    Density,
    Distribution,
    check_num_samples,
    evaluation_mode,
    like_model,
    optional,
    warn_of_diverged,
)
from marginflow.distributions.elementary import DiagonalNormal, StandardNormal, Uniform
from marginflow.distributions.mixture import LabelMixture

__all__ = [
    "Density",
    "DiagonalNormal",
    "Distribution",
    "LabelMixture",
    "StandardNormal",
    "Uniform",
    "check_num_samples",
    "evaluation_mode",
    "like_model",
    "optional",
    "warn_of_diverged",
]
