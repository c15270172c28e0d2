"""The mixture of Gaussians, by name."""

from __future__ import annotations

from marginflow.base.shapes import Shape
from marginflow.distributions import Flow, GaussianMixture
from marginflow.models.blocks import vector_features


def gaussian_mixture(features: Shape, *, components: int = 8, ridge: float = 1e-6) -> Flow:
    """A mixture of Gaussians with full covariances, which `fit` trains by EM: the simple model of real columns.

    Args:
        features: number of features D.
        components: how many.
        ridge: EM's least variance in any direction, see `GaussianMixture`; meant for standardised rows.

    Returns:
        The mixture over rows (N, D), as the base of a flow without transforms.

    Raises:
        ValueError: for an image shape, or where an argument does not fit.

    References:
        Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.

    Examples:
        >>> gaussian_mixture(2, components=3).sample(3).shape
        torch.Size([3, 2])
    """
    return Flow([], GaussianMixture(vector_features(features, "gaussian_mixture"), components, ridge))
