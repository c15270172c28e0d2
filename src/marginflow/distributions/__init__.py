"""Distributions over events: the contract, the bases that flows start from, mixtures over labels."""

from marginflow.distributions.base import (
    Density,
    Distribution,
    check_num_samples,
    context_features_of,
    evaluation_mode,
    event_shape_of,
    is_context_optional,
    is_exact,
    like_model,
    not_finite,
    optional,
    rows_at_once,
    sample_and_flag,
    takes_pixels,
    warn_of_diverged,
)
from marginflow.distributions.conditional import Conditional
from marginflow.distributions.elementary import DiagonalNormal, StandardLogistic, StandardNormal, Uniform
from marginflow.distributions.mixture import LabelMixture

ELEMENTARY = (StandardNormal, StandardLogistic, DiagonalNormal, Uniform)  # where flows start from

__all__ = [
    "ELEMENTARY",
    "Conditional",
    "Density",
    "DiagonalNormal",
    "Distribution",
    "LabelMixture",
    "StandardLogistic",
    "StandardNormal",
    "Uniform",
    "check_num_samples",
    "context_features_of",
    "evaluation_mode",
    "event_shape_of",
    "is_context_optional",
    "is_exact",
    "like_model",
    "not_finite",
    "optional",
    "rows_at_once",
    "sample_and_flag",
    "takes_pixels",
    "warn_of_diverged",
]
