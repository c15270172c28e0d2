"""A mixture of normals of full covariances, fitted by expectation maximisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEPS = 40  # of expectation maximisation, at most
SETTLED = 1e-3  # nats a row, that a step must gain
RIDGE = 1e-9  # on the diagonal of each covariance
FAR = 25.0  # squared distance, from which on a row is no likelier to begin a component


def squares(y: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """(y - m)' P (y - m) of rows (N, D) for each component, (N, K), by matrix products."""
    across = (y[:, :, None] * y[:, None, :]).flatten(1)
    pulled = torch.einsum("kij,kj->ki", precisions, means)
    found = across @ precisions.flatten(1).T - 2 * y @ pulled.T + (pulled * means).sum(1)
    return found.clamp_min(0)


def fit_mixture(y: Tensor, components: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, D) and covariances (K, D, D) of a mixture for rows (N, D) in float64.

    Components with too few rows for a covariance are dropped, so that there may be fewer than asked for.

    References:
        Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
    """
    features = y.shape[1]
    unit = torch.eye(features, dtype=y.dtype)
    across = (y[:, :, None] * y[:, None, :]).flatten(1)
    shares = torch.nn.functional.one_hot(torch.cdist(y, _spread_out(y, components, generator)).argmin(1)).to(y)
    before, step = -math.inf, 0
    while True:
        step += 1
        counts = shares.sum(0)
        enough = counts >= min(2 * (features + 1), len(y))
        counts, shares = counts[enough], shares[:, enough]
        means = shares.T @ y / counts[:, None]
        second = (shares.T @ across / counts[:, None]).view(-1, features, features)
        covariances = second - means[:, :, None] * means[:, None, :] + RIDGE * unit
        weights = counts / counts.sum()
        factors = torch.linalg.cholesky(covariances)
        volume = factors.diagonal(dim1=1, dim2=2).log().sum(1)
        each = weights.log() - volume - 0.5 * squares(y, means, torch.cholesky_inverse(factors))
        whole = torch.logsumexp(each, 1, keepdim=True)
        shares = (each - whole).exp()
        now = float(whole.mean())
        if now - before < SETTLED or step == STEPS:
            return weights, means, covariances
        before = now


def _spread_out(y: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Rows to begin with, each drawn with odds that grow with the squared distance from those before, up to a limit.

    References:
        Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
    """
    chosen = [y[int(torch.randint(len(y), (1,), generator=generator))]]
    distance = (y - chosen[0]).square().sum(1)
    while len(chosen) < number:
        at = int(torch.multinomial(distance.clamp(1e-12, FAR), 1, generator=generator))
        chosen.append(y[at])
        distance = torch.minimum(distance, (y - y[at]).square().sum(1))
    return torch.stack(chosen)
