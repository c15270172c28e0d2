"""What is trained, log p(x), its bound at one draw of noise, or the importance-weighted one; its mean over rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.data import Batch, Split


class Objective(nn.Module):
    """log p(x) of each row, or a lower bound of it: (N, *event) -> (N,), nats, gradients kept.

    log 1/K sum_k w_k,  w_k = p(x, eps_k) / q(eps_k | x),  eps_k ~ q(eps | x)

    K = 1 is the evidence lower bound. The preprocessing draws its noise once, the density K times.

    model: the distribution. num_samples: K; above 1 for densities that draw noise only, ValueError otherwise.

    Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016 (arXiv 1509.00519).
    """

    def __init__(self, model: Distribution, num_samples: int = 1) -> None:
        super().__init__()
        self.model, self.num_samples = model, num_samples
        if num_samples > 1 and model.density.exact:
            raise ValueError(
                f"num_samples = {num_samples} draws of noise are of no use to a model whose density is exact: "
                "leave it at 1, or add noise dimensions"
            )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.num_samples == 1:
            return self.model(x, context)
        rows, log_det = self.model.preprocessing(x, context)
        k = self.num_samples
        repeated = rows.repeat(k, *[1] * (rows.ndim - 1))
        given = None if context is None else context.repeat(k, *[1] * (context.ndim - 1))
        log_w = self.model.density._log_prob(repeated, given).view(k, -1)
        return log_w.logsumexp(0) - math.log(k) + log_det


@torch.no_grad()
def mean_nll(log_prob: Callable[..., Tensor], batches: Iterable[Batch], seed: int = 0) -> float:
    """-mean log_prob over batches of rows, in nats, one draw of noise a row from `seed`; weighted where rows are."""
    total, count = 0.0, 0.0
    with seeded(seed):
        for x, context, weight in batches:
            found = log_prob(x, context).double()
            total -= float(found.sum() if weight is None else (weight * found).sum())
            count += len(x) if weight is None else float(weight.double().sum())
    return total / count


def mean_weight(rows: Split) -> float:
    """The mean weight of rows, by which a weighted loss is divided, to be as large as one without weights."""
    return 1.0 if rows.weight is None else float(rows.weight.double().mean())
