"""What the density of a table's rows sums and integrates to, and whether its samples follow it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from marginflow.base.devices import rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.data import Column, Schema
from marginflow.distributions import ContextEncoder
from marginflow.distributions.product_mixture import ProductMixture
from marginflow.evaluation.check.agreement import Agreement, waves
from marginflow.evaluation.check.integral import MOST_VALUES, OF_MODEL, Asked, Integral, by_draws, summed
from marginflow.evaluation.check.row_proposal import proposal_for_rows

MOST_COLUMNS = 40  # of which a proposal is tried


def of_table_rows(model: Distribution, schema: Schema, context: Tensor | None, seed: int) -> tuple[Integral, Agreement]:
    """What there is to say of a density of rows of a schema without a context, or at one row of it.

    Where few rows are possible all are summed over. Else the model is drawn against a mixture of independent columns:
    p / q is then of probabilities, of densities and of both alike.
    """
    own = modelled_alone(schema)
    if len(own.modelled) > MOST_COLUMNS:
        why = f"it has {len(own.modelled)} columns, and proposals are tried in up to {MOST_COLUMNS}"
        return Integral.unknown(why), Agreement.unknown(why)
    samples = model._sample(OF_MODEL, None if context is None else context.expand(OF_MODEL, -1)).double().cpu()
    impossible = int((~torch.isfinite(ProductMixture(own, components=1)._log_prob(samples, None))).sum())
    if impossible:
        why = f"{impossible:,} of {len(samples):,} samples hold what is no value of its column"
        return Integral.unknown(why), Agreement("fail", why)
    features = _Features(own)
    rows = every_row(own) if model.exact else None  # the error of estimates is known where they are many
    if rows is not None:
        integral, log_p = summed(model, context, rows.split(rows_at_once(model)), 1, "rows that are possible")
        return integral, Agreement.with_all(samples, rows, log_p, features)
    asked, second = Asked(model, context, samples[0]), samples[len(samples) // 2 :]
    log_p = asked.log_prob(second)
    proposal = proposal_for_rows(samples, asked.log_prob, log_p, own, seed)
    drawn, draws, log_w = by_draws(asked, proposal, log_p - proposal.log_prob(second))
    log_p_draws = log_w + proposal.log_prob(draws).nan_to_num(neginf=0.0) if model.exact else None
    return drawn, Agreement.of(second, log_p, draws, log_w, log_p_draws, features)


def modelled_alone(schema: Schema) -> Schema:
    """The schema of rows without their context."""
    return Schema(tuple(replace(each, given=False, reason="given") if each.given else each for each in schema.columns))


def every_row(schema: Schema) -> Tensor | None:
    """All rows (M, D) that are possible; None where that are more than 20,000, or a column has no end."""
    sizes = [_num_values(column) for column in schema.modelled]
    if math.prod(sizes) > MOST_VALUES:
        return None
    values = [_values(column) for column in schema.modelled]
    return torch.cartesian_prod(*values).reshape(-1, len(values))


def _num_values(column: Column) -> float:
    """How many values a column may have."""
    if column.levels:
        return column.num_points
    if column.grid is None or column.lower is None or column.upper is None:
        return math.inf
    return column.blank + math.floor(column.upper) - math.ceil(column.lower) + 1


def _values(column: Column) -> Tensor:
    """The values of a column of few, NaN where it may be blank."""
    first, last = (0, len(column.levels) - 1) if column.levels else (column.lower or 0, column.upper or 0)
    blank = torch.full((int(column.blank),), torch.nan, dtype=torch.float64)
    return torch.cat([blank, torch.arange(math.ceil(first), math.floor(last) + 1, dtype=torch.float64)])


class _Features:
    """Bounded features of rows: each point, warped numbers and their codes, and waves along all of these."""

    def __init__(self, schema: Schema) -> None:
        self.encoder = ContextEncoder(schema.modelled).double()

    def __call__(self, x: Tensor, reference: Tensor) -> Tensor:
        y, others = self.encoder(x).double(), self.encoder(reference).double()
        spread = others.std(0)
        scaled = torch.where(spread > 1e-6, (y - others.mean(0)) / spread.clamp_min(1e-6), 0.0)
        return torch.cat([y.tanh(), waves(scaled)], 1)
