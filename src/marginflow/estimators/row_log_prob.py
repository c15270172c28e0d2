"""log p of rows in float64, of a row the same in whatever company it comes."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.distributions import log_likelihood

BLOCK = 256  # rows at once, the last filled up: products of other sizes round otherwise


@torch.no_grad()
def row_log_prob(
    model: Distribution, x: Tensor, context: Tensor | None, *, num_samples: int = 100, seed: int = 0
) -> np.ndarray:
    """log p of each row, in nats: of a flow the same bits in whatever company the row comes, else but for the last bit.

    Args:
        model: of which a copy in float64 is evaluated.
        x: rows (N, D).
        context: of each row; None without one.
        num_samples: for a model that draws noise, how often; each row has the same draws, and is evaluated alone.
        seed: of this noise.

    Returns:
        (N,), float64.

    Raises:
        FloatingPointError: where log p is NaN or +inf, with the number of the row among those evaluated at once.

    Examples:
        >>> from marginflow import models
        >>> model, x = models.maf(2, hidden=[8]), torch.randn(300, 2)
        >>> bool((row_log_prob(model, x, None)[7:9] == row_log_prob(model, x[7:9], None)).all())
        True
    """
    double, parts = copy.deepcopy(model).double().eval(), []
    at_once = BLOCK if model.exact else 1
    for rows in torch.arange(len(x)).split(at_once):
        filled = torch.cat([rows, rows[:1].expand(at_once - len(rows))])
        with seeded(seed):
            found = log_likelihood(
                double, x[filled], None if context is None else context[filled], num_samples=num_samples
            )
        parts.append(found.log_prob[: len(rows)].cpu())
    return torch.cat(parts).numpy()
