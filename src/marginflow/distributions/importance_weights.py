"""Importance-weighted estimates: log p(x), its error and the effective sample size, from K weights a row."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def effective_sample_size(log_w: Tensor, dim: int = 0) -> Tensor:
    """(sum w)^2 / sum w^2 of weights along a dimension; 0 where none is above 0.

    >>> log_w = torch.tensor([0.0, 0.0, -math.inf])
    >>> float(effective_sample_size(log_w)), float(effective_sample_size(log_w[2:]))
    (2.0, 0.0)
    """
    return torch.exp(2 * log_w.logsumexp(dim) - (2 * log_w).logsumexp(dim)).nan_to_num(0.0)


class ImportanceWeights:
    """Running sums over samples of the importance weights of some rows, in float64."""

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self.count = 0
        self.log_sum = torch.full((num_rows,), -math.inf, dtype=torch.float64, device=device)
        self.log_sum_of_squares = self.log_sum.clone()
        self.sum_of_logs = torch.zeros_like(self.log_sum)
        self.sum_of_entropies = torch.zeros_like(self.log_sum)

    def add(self, log_w: Tensor, log_q: Tensor) -> None:
        """Take in log weights and log q, (samples, rows)."""
        log_w = log_w.double()
        self.count += len(log_w)
        self.log_sum = torch.logaddexp(self.log_sum, log_w.logsumexp(0))
        self.log_sum_of_squares = torch.logaddexp(self.log_sum_of_squares, (2 * log_w).logsumexp(0))
        self.sum_of_logs += log_w.sum(0)
        self.sum_of_entropies -= log_q.double().sum(0)

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """log_prob, bound, standard_error, effective_sample_size and noise_entropy of a `LogLikelihood`."""
        k = self.count
        ess = torch.exp(2 * self.log_sum - self.log_sum_of_squares).nan_to_num(1).clamp(1, k)  # 1: no weight at all
        # Var(mean w) / (mean w)^2 = (K / ESS - 1) / (K - 1); its root is the error of the logarithm
        error = torch.sqrt((k / ess - 1).clamp_min(0) / max(k - 1, 1))
        error = error.masked_fill(self.log_sum.isneginf(), math.inf)  # no weight at all, of which nothing follows
        return self.log_sum - math.log(k), self.sum_of_logs / k, error, ess, self.sum_of_entropies / k
