"""Sampling at another temperature: from a base that is narrower or wider."""

from __future__ import annotations

import math

import torch

from marginflow.base.distribution import Density, Distribution
from marginflow.base.settings import as_real
from marginflow.distributions.elementary import DiagonalNormal, StandardLogistic, StandardNormal


def at_temperature(model: Distribution, temperature: float) -> Distribution:
    """The model with N(0, T^2 I) for each standard normal base, sharing its weights, for sampling.

    Args:
        model: a distribution whose bases are all `StandardNormal`.
        temperature: T > 0; below 1 samples lie closer to the modes and vary less. At 1 it is the model's own
            distribution.

    Returns:
        The model at that temperature, in the same training or evaluation mode.

    Raises:
        ValueError: where T is not positive, or a base is no standard normal.

    References:
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039).

    Examples:
        >>> from marginflow import models
        >>> at_temperature(models.planar(2), 0.7).sample(3).shape
        torch.Size([3, 2])
    """
    temperature = as_real(temperature, "the temperature", lambda t: 0 < t < math.inf, "be a positive number")
    changed = model.with_base(lambda base: _widened(base, temperature))
    return changed.train(model.training)


def _widened(base: Density, temperature: float) -> DiagonalNormal:
    """N(0, T^2 I) where the base is, in its precision."""
    if not isinstance(base, StandardNormal):
        raise ValueError(
            f"a temperature needs a standard normal base; this model has a {type(base).__name__}"
            + (", as made_mog and maf_mog do" if isinstance(base, StandardLogistic) else "")
        )
    wider = DiagonalNormal(base.event_shape).to(base.sample(0))
    with torch.no_grad():
        wider.log_scale.fill_(math.log(temperature))
    return wider.requires_grad_(False)
