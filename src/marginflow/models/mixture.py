"""The simple density of a table's rows, a mixture of independent columns, by name."""

from __future__ import annotations

from marginflow.data.schema import Schema
from marginflow.distributions.product_mixture import ProductMixture


def mixture(schema: Schema, *, components: int = 128, prior: float = 1.0) -> ProductMixture:
    """A mixture of independent columns, which `fit` trains by EM: the simple model of a table.

    Args:
        schema: of the table.
        components: how many.
        prior: rows that each component is given beforehand, see `ProductMixture`.

    Returns:
        The mixture.

    Raises:
        ValueError: where an argument does not fit.

    Examples:
        >>> from marginflow.data import Column, Schema
        >>> schema = Schema((Column("size", "category", levels=("S", "M"), shares=(0.25, 0.75)),))
        >>> mixture(schema, components=8).num_components
        8
    """
    return ProductMixture(schema, components, prior)
