"""A density of a table's rows that can be drawn from and lies where a model does: a mixture of independent columns."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from marginflow.data import Schema, Split
from marginflow.distributions.product_em import ProductEM
from marginflow.distributions.product_mixture import ProductMixture
from marginflow.evaluation.check.proposal import chosen

COMPONENTS = (1, 8, 32, 128)  # tried in turn
STEPS = 20  # of expectation maximisation, at most
SETTLED = 5e-3  # nats a row, that a step must gain
WIDENED = 1.1  # scales, over those of the samples: what is too narrow hides errors
AS_SHARED, OPEN = 0.05, 0.05  # weights of what the schema says of each column, and of all that is possible
OPEN_SCALE = 3.0  # of a logistic in a column that is warped to about unit scale


@torch.no_grad()
def fitted_to_rows(samples: Tensor, schema: Schema, components: int, seed: int) -> ProductMixture:
    """A mixture of so many components for samples (N, D), and of two defensive ones."""
    fitted = ProductMixture(schema, components).double()
    em = ProductEM(fitted, Split(samples), lambda: None)
    em.start(seed)
    before = math.inf
    for _ in range(STEPS if components > 1 else 5):
        now = em.step()
        if before - now < SETTLED:
            break
        before = now
    proposal = ProductMixture(schema, components + 2).double()  # a new component has the shares of the schema
    kept = torch.log(torch.tensor([1 - AS_SHARED - OPEN, AS_SHARED, OPEN], dtype=torch.float64))
    proposal.log_weights.copy_(torch.cat([fitted.log_weights.log_softmax(0) + kept[0], kept[1:]]))
    for own, column in zip(proposal.all_columns(), fitted.all_columns(), strict=True):
        column.widen(WIDENED)
        own.params[:components] = column.params
        own.open_up(components + 1, OPEN_SCALE)
    return proposal


def proposal_for_rows(
    samples: Tensor, log_prob: Callable[[Tensor], Tensor], log_p: Tensor, schema: Schema, seed: int
) -> ProductMixture:
    """The proposal for a density p of rows: fitted to one half of its samples, chosen by the other.

    Args:
        samples: (N, D) of the model, float64, each possible in the schema.
        log_prob: log p of rows.
        log_p: of the second half of the samples, (N - N // 2,).
        schema: of the rows, without a context.
        seed: of the fit.

    Returns:
        The proposal.
    """
    half = len(samples) // 2
    candidates = (fitted_to_rows(samples[:half], schema, components, seed) for components in COMPONENTS)
    return chosen(candidates, log_prob, samples[half:], log_p)
