"""The exact density of a table's rows, whatever their columns are, by name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

from marginflow.base.distribution import Distribution
from marginflow.base.settings import as_choice
from marginflow.data.schema import Schema
from marginflow.distributions import ContextEncoder, Flow, Mixed, RealByFlow
from marginflow.distributions.real_by_flow import is_real, require_plain_reals, seen_by_flow
from marginflow.models.autoregressive import maf
from marginflow.models.spline import nsf
from marginflow.nets.activations import Activation

RealFlow = Literal["", "nsf", "maf"]
_FLOWS: dict[str, Callable[..., Flow]] = {"nsf": nsf, "maf": maf}


def mixed(
    schema: Schema,
    *,
    hidden: Sequence[int] = (256,) * 5,
    components: int = 10,
    order: str | Sequence[int] = "sequential",
    orders: int = 1,
    activation: Activation = "silu",
    dropout: float = 0.1,
    seed: int = 0,
    real: RealFlow = "",
    noise_features: int = 0,
    first: str | Sequence[str] = (),
) -> Distribution:
    """An exact density of rows with columns of every kind, see `Mixed`, or with `real` see `RealByFlow`.

    p(row) = product over columns of p(column | the columns before it)
    p(row) = p(discrete columns) p(real columns | discrete columns), with a flow over real columns

    Args:
        schema: of the table.
        hidden: the widths of the hidden layers; of three or more, residual connections join the first, third, ...;
            each block of a flow over real columns has the first two.
        components: logistics in the mixture of a column of numbers.
        order: of the columns: "sequential", "reversed", "random", or their places, the first first.
        orders: how many orders are averaged: the first is `order`, others are random.
        activation: of the hidden layers.
        dropout: the probability with which a hidden unit is left out in training.
        seed: of orders.
        real: the flow, as of `models`, that models real columns together given the others; "" without one.
        noise_features: real numbers that a row holds behind its own columns, first in the order: latent variables of a
            density that is marginalised over them, see `Marginalising`.
        first: names of columns that stand before all others in every order, in a list or as text such as "price,
            segment": rows given these are drawn exactly.

    Returns:
        The density, in evaluation mode.

    Raises:
        ValueError: where an argument does not fit, or the schema holds no statistics of training rows; for a flow over
            real columns where none is real, or one can be blank or has atoms.

    References:
        Germain, Gregor, Murray and Larochelle, MADE, 2015 (arXiv 1502.03509).

    Examples:
        >>> from marginflow.data import Column, Schema
        >>> schema = Schema((Column("open", "boolean", levels=("false", "true"), shares=(0.25, 0.75)),))
        >>> mixed(schema, hidden=[16]).event_shape
        torch.Size([1])
    """
    as_choice(real, get_args(RealFlow), "real")
    leading = _names(first)
    options = hidden, components, order, orders, activation, dropout, seed
    if not real:
        return Mixed(schema, *options, noise_features, leading).eval()
    if leading:
        raise ValueError("first is for the factors of columns: leave model.real or model.first out")
    if noise_features:
        raise ValueError("noise is for the factors of columns: leave model.real or the noise out")
    require_plain_reals(schema)
    rest = tuple(replace(each, reason="modelled by the flow") if is_real(each) else each for each in schema.columns)
    seen = seen_by_flow(schema)
    width = ContextEncoder(seen).out_features if seen else 0
    number = sum(map(is_real, schema.modelled))
    flow = _FLOWS[real](number, hidden=list(hidden)[:2], context_features=width, dropout=dropout)
    has_others = len(seen) > len(schema.given)
    return RealByFlow(schema, flow, Mixed(Schema(rest), *options) if has_others else None).eval()


def _names(first: str | Sequence[str]) -> list[str]:
    """Names in a list, or in text between commas, where one that holds a comma stands in quotation marks."""
    if not isinstance(first, str):
        return list(first)
    return [name for row in csv.reader(io.StringIO(first, newline=""), skipinitialspace=True) for name in row]
