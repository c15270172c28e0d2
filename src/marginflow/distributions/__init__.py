"""Densities: where flows start from, flows, marginalising flows, mixtures over labels; log p(x) of them."""

from marginflow.base.adapter import (
    context_features_of,
    event_shape_of,
    is_context_optional,
    is_exact,
    optional,
    sample_and_flag,
    takes_pixels,
)
from marginflow.base.arguments import require_num_samples as check_num_samples  # the name that is public
from marginflow.base.devices import evaluation_mode, like_model, rows_at_once
from marginflow.base.distribution import Density, Distribution
from marginflow.base.not_finite import not_finite, warn_of_diverged
from marginflow.distributions.columns.context_encoder import ContextEncoder
from marginflow.distributions.conditional import Conditional
from marginflow.distributions.elementary import ELEMENTARY, DiagonalNormal, StandardLogistic, StandardNormal, Uniform
from marginflow.distributions.fill import Filled, fill
from marginflow.distributions.flow import Flow
from marginflow.distributions.gaussian_mixture import GaussianMixture
from marginflow.distributions.label_mixture import LabelMixture
from marginflow.distributions.likelihood_gap import LikelihoodGap, likelihood_gap
from marginflow.distributions.log_likelihood import LogLikelihood, log_likelihood
from marginflow.distributions.log_prob_given import GivenLogProb, log_prob_given
from marginflow.distributions.marginalising import Marginalising
from marginflow.distributions.mixed import Mixed
from marginflow.distributions.product import Product
from marginflow.distributions.product_mixture import ProductMixture
from marginflow.distributions.real_by_flow import RealByFlow
from marginflow.distributions.sample_given import GivenSamples, sample_given

__all__ = [
    "ELEMENTARY", "Conditional", "ContextEncoder", "Density", "DiagonalNormal", "Distribution", "Filled", "Flow",
    "GaussianMixture", "GivenLogProb", "GivenSamples", "LabelMixture", "LikelihoodGap", "LogLikelihood",
    "Marginalising", "Mixed", "Product", "ProductMixture", "RealByFlow", "StandardLogistic", "StandardNormal",
    "Uniform", "check_num_samples", "context_features_of", "evaluation_mode", "event_shape_of", "fill",
    "is_context_optional", "is_exact", "like_model", "likelihood_gap", "log_likelihood", "log_prob_given",
    "not_finite", "optional", "rows_at_once", "sample_and_flag", "sample_given", "takes_pixels", "warn_of_diverged",
]  # fmt: skip
