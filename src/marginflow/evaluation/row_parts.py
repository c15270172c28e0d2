"""log p of a table's rows, told apart: the probability of what is discrete, the density of what is real."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.data.schema import CONTINUOUS
from marginflow.data.tables.misfits import misfit
from marginflow.distributions import LogLikelihood
from marginflow.distributions.mixed import Mixed
from marginflow.distributions.row_density import RowDensity


class RowParts(NamedTuple):
    """What log p of rows is made of.

    discrete: log P of what is discrete, (N,); None where the density has no schema. real: the log density of what is
    real, in the units of the file, (N,); None where no column is. reasons: why the first rows of density 0 have none,
    each empty where the schema does not tell. columns: log p of each column given those before it, (N, D); None but for
    a `Mixed`.
    """

    discrete: Tensor | None = None
    real: Tensor | None = None
    reasons: tuple[str, ...] = ()
    columns: Tensor | None = None


@torch.no_grad()
def parts_of(
    model: Distribution, x: Tensor, context: Tensor | None, num_samples: int, chunk: int, most: int
) -> tuple[LogLikelihood, RowParts] | None:
    """log p of rows that fit, exactly, and its parts; None for a density that does not tell them apart.

    num_samples: what the effective sample size stands for. chunk: rows at once. most: reasons.
    """
    if not isinstance(model, RowDensity):
        return None
    told = model.log_prob_in_columns if isinstance(model, Mixed) else model.log_prob_parts
    with evaluation_mode(model):
        parts = [
            told(rows, None if context is None else context[start : start + chunk])
            for start, rows in zip(range(0, len(x), chunk), x.split(chunk), strict=True)
        ]
    discrete, real, *columns = (torch.cat(each).double() for each in zip(*parts, strict=True))
    log_prob = discrete + real
    outside = log_prob.isneginf().nonzero().flatten()[:most]
    schema = model.schema
    has_real = any(column.kind in CONTINUOUS for column in schema.modelled)
    reasons = tuple(misfit(x[i].cpu(), schema) for i in outside.tolist())
    no_error, sizes = torch.zeros_like(log_prob), torch.full_like(log_prob, num_samples)
    result = LogLikelihood(log_prob=log_prob, bound=log_prob, standard_error=no_error, effective_sample_size=sizes)
    return result, RowParts(discrete, real if has_real else None, reasons, *columns)
