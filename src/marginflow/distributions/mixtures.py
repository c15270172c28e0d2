"""Which models are mixtures that EM trains, and by which steps."""

from __future__ import annotations

from collections.abc import Callable

from marginflow.base.distribution import Distribution
from marginflow.base.transform import Transform
from marginflow.data import Split
from marginflow.distributions.em import EM
from marginflow.distributions.flow import Flow
from marginflow.distributions.gaussian_em import GaussianEM
from marginflow.distributions.gaussian_mixture import GaussianMixture
from marginflow.distributions.product_em import ProductEM
from marginflow.distributions.product_mixture import ProductMixture


def is_fitted_by_em(model: Distribution) -> bool:
    """Whether EM trains a model."""
    return _product_of(model) is not None or _gaussians_of(model) is not None


def em_of(model: Distribution, rows: Split, check: Callable[[], None]) -> EM | None:
    """EM for a model on its training rows; None where it is trained by gradients.

    check: called now and then during a step, and may raise.
    """
    product, gaussians = _product_of(model), _gaussians_of(model)
    if product is not None:
        return ProductEM(product, rows, check)
    return None if gaussians is None else GaussianEM(model, *gaussians, rows, check)


def _product_of(model: Distribution) -> ProductMixture | None:
    """The mixture of independent columns that a model is, as it is or in a flow without transforms."""
    density = model.density
    return density if isinstance(density, ProductMixture) and model.takes_blanks else None


def _gaussians_of(model: Distribution) -> tuple[list[Transform], GaussianMixture] | None:
    """The mixture of Gaussians that a model is, and the transforms before it, which are exact and not to be trained."""
    transforms = []
    while isinstance(model, Flow):
        transforms.append(model.transform)
        model = model.base
    fixed = all(each.exact and not any(weight.requires_grad for weight in each.parameters()) for each in transforms)
    return (transforms, model) if fixed and isinstance(model, GaussianMixture) else None
