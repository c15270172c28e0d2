"""EM for a mixture of Gaussians."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

from marginflow.base.devices import evaluation_mode, rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.base.transform import Transform
from marginflow.data import Split
from marginflow.data.require import bring_to
from marginflow.distributions.em import EM
from marginflow.distributions.gaussian_mixture import SIZE, GaussianMixture

START_ROWS = 20_000  # that k-means takes, at most
STARTS = 3  # of k-means, of which the best is taken
NEVER_NONE = 1e-9  # rows that each component's weight has beforehand; with fewer it stays where it is


class GaussianEM(EM):
    """EM for a `GaussianMixture`, on rows as its preprocessing leaves them.

    It starts from k-means. A step gives each component the weight, mean and covariance of its share of the rows, no
    variance in any direction below the ridge: the largest likelihood under that bound, so no step lowers that of the
    rows but for rounding. Sums are taken in float64, about the mean of all rows.

    model: the mixture, as it is or at the end of flows. transforms: theirs. mixture: itself. rows: training rows.
    check: called now and then, and may raise.
    """

    def __init__(
        self,
        model: Distribution,
        transforms: Iterable[Transform],
        mixture: GaussianMixture,
        rows: Split,
        check: Callable[[], None],
    ) -> None:
        if rows.context is not None:
            raise ValueError(
                "a GaussianMixture takes no context: leave the context out, or take a flow, such as "
                f"models.maf({mixture.features}, context_features={rows.context.shape[1]})"
            )
        self.model, self.transforms, self.mixture = model, list(transforms), mixture
        self.rows, self.check = rows, check

    @cached_property
    @torch.no_grad()
    def preprocessed(self) -> tuple[Tensor, Tensor]:
        """The rows that reach the mixture (N, D), when their preprocessing has its statistics, and its log_det (N,)."""
        found, log_dets = [], []
        with evaluation_mode(self.model):
            for start in range(0, len(self.rows.x), at_once := rows_at_once(self.model)):
                self.check()
                x = bring_to(self.model, self.rows.take(slice(start, start + at_once))).x
                total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
                for transform in self.transforms:
                    x, log_det = transform(x)
                    total += log_det
                found.append(x.double())
                log_dets.append(total)
        return torch.cat(found), torch.cat(log_dets)

    @property
    def x(self) -> Tensor:
        """The rows that reach the mixture, (N, D)."""
        return self.preprocessed[0]

    @cached_property
    def weight(self) -> Tensor:
        """Of each row, of sum N."""
        weight = self.rows.weight
        return (
            torch.ones_like(self.x[:, 0]) if weight is None else (weight.double() / weight.double().mean()).to(self.x)
        )

    @cached_property
    def centre(self) -> Tensor:
        """The mean of the rows, about which sums are taken."""
        return self.weight @ self.x / self.weight.sum()

    @torch.no_grad()
    def start(self, seed: int) -> None:
        """Let each component be one of the clusters of k-means.

        Clusters of few rows have few directions: each is given D + 1 rows of the covariance that all have on average.
        """
        used = self.weight.nonzero()[:, 0].cpu()
        used = used[torch.randperm(len(used), generator=torch.Generator().manual_seed(seed))[:START_ROWS]]
        x, weight = self.x[used.to(self.x.device)], self.weight[used.to(self.x.device)]
        cluster = clusters(x, weight, self.mixture.num_components, seed)
        share = torch.nn.functional.one_hot(cluster, self.mixture.num_components) * weight[:, None]
        parts = zip(x.split(self._at_once), share.split(self._at_once), strict=True)
        weights, means, covariances = self._moments(parts)
        own, beforehand = weights[:, None, None], self.mixture.features + 1
        average = (own * covariances).sum(0) / weights.sum()
        covariances = (own * covariances + beforehand * average) / (own + beforehand)
        self.mixture.set_components(weights + NEVER_NONE, means + self.centre, covariances)

    @torch.no_grad()
    def step(self) -> float:
        total, mixture = -(self.weight @ self.preprocessed[1]), self.mixture

        def shared_out() -> Iterable[tuple[Tensor, Tensor]]:
            for x, weight in zip(self.x.split(self._at_once), self.weight.split(self._at_once), strict=True):
                self.check()
                joint = mixture.log_of_each(x)
                log_p = joint.logsumexp(1)
                total.sub_(weight @ log_p)
                yield x, (joint - log_p[:, None]).exp_().mul_(weight[:, None])

        weights, means, covariances = self._moments(shared_out())
        none = weights < NEVER_NONE
        means = torch.where(none[:, None], mixture.means.double(), means + self.centre)
        covariances = torch.where(none[:, None, None], mixture.covariances(), covariances)
        mixture.set_components(weights + NEVER_NONE, means, covariances)
        return float(total) / len(self.x)

    @property
    def _at_once(self) -> int:
        """How many rows are taken at once."""
        features = self.mixture.features
        return max(1, SIZE // (features * max(self.mixture.num_components, (features + 1) // 2)))

    def _moments(self, parts: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (C,), means about the centre (C, D) and covariances (C, D, D) of rows and shares (n, C) in them."""
        features = self.mixture.features
        rows, columns = torch.tril_indices(features, features, device=self.x.device)
        weights, first, second = (
            self.x.new_zeros(self.mixture.num_components, *shape) for shape in ((), (features,), (len(rows),))
        )
        for x, share in parts:
            off = x - self.centre
            weights += share.sum(0)
            first.addmm_(share.T, off)
            second.addmm_(share.T, off[:, rows] * off[:, columns])
        some = weights.clamp_min(torch.finfo(weights.dtype).tiny)[:, None]
        means, squares = first / some, self.x.new_empty(len(weights), features, features)
        squares[:, rows, columns] = squares[:, columns, rows] = second / some
        return weights, means, squares - means[:, :, None] * means[:, None]


def clusters(x: Tensor, weight: Tensor, components: int, seed: int) -> Tensor:
    """The cluster of each row by k-means (N,); fewer clusters than components where fewer rows differ."""
    from sklearn.cluster import KMeans  # a second to load
    from sklearn.exceptions import ConvergenceWarning

    number = min(components, len(x))
    k_means = KMeans(number, n_init=STARTS, random_state=seed % 2**32)  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that are the same
        k_means.fit(x.cpu().numpy(), sample_weight=weight.cpu().numpy())
    return torch.as_tensor(k_means.labels_, device=x.device).long()
