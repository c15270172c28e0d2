"""The tools of the normalisation check against closed forms: proposals, mixtures, cubature, tails."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Cauchy, MultivariateNormal, Normal

from marginflow.evaluation.check.cubature import _rule, integral
from marginflow.evaluation.check.integral import _least, tail_index
from marginflow.evaluation.check.mixture import fit_mixture, squares
from marginflow.evaluation.check.proposal import Proposal, coordinates, fitted, whitened


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_the_rule_is_exact_for_polynomials_of_degree_seven(features: int) -> None:
    points, seventh, fifth = _rule(features)
    powers = torch.cartesian_prod(*[torch.arange(8)] * features).view(-1, features)
    for power in powers[powers.sum(1) <= 7]:
        value = points.pow(power).prod(1)
        truth = float((((power + 1) % 2) / (power + 1)).prod())  # the mean over (-1, 1)^D
        assert abs(float(value @ seventh) - truth) < 1e-12
        if int(power.sum()) <= 5:
            assert abs(float(value @ fifth) - truth) < 1e-12


@pytest.mark.parametrize(
    ("log_prob", "draw", "truth"),
    [
        (lambda x: Normal(5.0, 0.1).log_prob(x).sum(1), lambda n: 5 + 0.1 * torch.randn(n, 1), 1.0),
        (lambda x: Normal(5.0, 0.1).log_prob(x).sum(1), lambda n: 5 + 0.1 * torch.randn(n, 2), 1.0),
        (lambda x: Cauchy(0.0, 1.0).log_prob(x).sum(1), lambda n: Cauchy(0.0, 1.0).sample((n, 1)), 1.0),
        (lambda x: -x.abs().sum(1), lambda n: torch.empty(n, 2).exponential_() * torch.randn(n, 2).sign(), 4.0),
        (lambda x: torch.where((x.abs() < 1).all(1), 0.0, -math.inf), lambda n: 2 * torch.rand(n, 1) - 1, 2.0),
    ],
)
def test_cells_integrate_within_the_error_that_they_state(log_prob: object, draw: object, truth: float) -> None:
    torch.default_generator.manual_seed(0)
    found, error = integral(log_prob, draw(2000))  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert error < 5e-3 * truth
    assert abs(found - truth) < 2 * error + 3e-3 * truth  # a share of 1 / 2000 may lie beyond all samples


def test_a_ring_between_the_points_of_cells_is_found_by_samples() -> None:
    torch.default_generator.manual_seed(0)
    angle = 2 * math.pi * torch.rand(4000)
    samples = (1 + 0.03 * torch.randn(4000, 1)) * torch.stack([angle.cos(), angle.sin()], 1)

    def log_prob(x: Tensor) -> Tensor:
        radius = x.norm(dim=1)
        return Normal(1.0, 0.03).log_prob(radius) - (2 * math.pi * radius).log()

    found, error = integral(log_prob, samples)
    assert abs(found - 1) < 2 * error + 1e-3


def test_a_mixture_is_fitted_to_clusters_of_any_shape() -> None:
    torch.default_generator.manual_seed(0)
    one = MultivariateNormal(torch.tensor([-5.0, 0.0]), torch.tensor([[1.0, 0.9999], [0.9999, 1.0]]))
    two = MultivariateNormal(torch.tensor([5.0, 0.0]), torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
    rows = torch.cat([one.sample((3000,)), two.sample((1000,))])
    weights, means, covariances = fit_mixture(rows, 2, generator())
    order = means[:, 0].argsort()
    torch.testing.assert_close(weights[order], torch.tensor([0.75, 0.25]), atol=1e-3, rtol=0)
    for k, truth in zip(order, (one, two), strict=True):
        torch.testing.assert_close(means[k], truth.mean, atol=0.1, rtol=0)
        torch.testing.assert_close(covariances[k], truth.covariance_matrix, atol=0.1, rtol=0)
    torch.testing.assert_close(
        squares(rows, means, torch.linalg.inv(covariances)),
        torch.stack(
            [((rows - m) @ torch.linalg.inv(c) * (rows - m)).sum(1) for m, c in zip(means, covariances, strict=True)],
            1,
        ),
    )


def test_a_proposal_is_the_mixture_that_it_draws_from() -> None:
    """A normal and a Cauchy density in one dimension, from torch."""
    proposal = Proposal(
        torch.tensor([3.0]), torch.tensor([[2.0]]), torch.tensor([0.25, 0.75]).log(), torch.tensor([[0.0], [1.0]]),
        torch.tensor([[[0.5]], [[2.0]]]), torch.tensor([False, True]),
    )  # fmt: skip
    x = torch.linspace(-50, 50, 11)[:, None]
    truth = (0.25 * Normal(3.0, 1.0).log_prob(x).exp() + 0.75 * Cauchy(5.0, 4.0).log_prob(x).exp()).log()
    torch.testing.assert_close(proposal.log_prob(x), truth[:, 0])
    torch.default_generator.manual_seed(0)
    drawn = proposal.sample(20_000)
    for at in (-10.0, 2.0, 3.0, 9.0):
        share = 0.25 * Normal(3.0, 1.0).cdf(torch.tensor(at)) + 0.75 * Cauchy(5.0, 4.0).cdf(torch.tensor(at))
        assert abs(float((drawn < at).double().mean() - share)) < 0.015


@pytest.mark.parametrize("features", [1, 2, 7])
def test_a_fitted_proposal_integrates_to_one(features: int) -> None:
    """By importance sampling from a multivariate Cauchy density of its own."""
    torch.default_generator.manual_seed(0)
    samples = torch.randn(2000, features)
    proposal = fitted(samples, samples[:100], 4, generator())
    drawn = 1.5 * torch.randn(50_000, features)
    log_q = Normal(0.0, 1.5).log_prob(drawn).sum(1)
    ratio = (proposal.log_prob(drawn) - log_q).exp()
    inside = float(ratio.mean())
    assert abs(inside - 1) < 0.06  # some of the two tails lies where nothing is drawn
    assert inside < 1.01


def test_coordinates_are_not_moved_by_outliers_and_undo_near_copies() -> None:
    torch.default_generator.manual_seed(0)
    base = torch.randn(4000, 1)
    samples = torch.cat([base, base + 1e-4 * torch.randn(4000, 1)], 1)
    samples[:40] *= 1e6
    y = whitened(samples, *coordinates(samples))[40:]
    assert float((torch.cov(y.T) - torch.eye(2)).abs().max()) < 1


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_the_tail_index_is_that_of_pareto_weights(k: float) -> None:
    torch.default_generator.manual_seed(0)
    found = [tail_index(-k * torch.rand(20_000).log()) for _ in range(10)]
    assert abs(sum(found) / 10 - k) < 0.1


def test_the_tail_index_of_bounded_weights_is_negative() -> None:
    torch.default_generator.manual_seed(0)
    assert tail_index(torch.rand(20_000).log()) < 0
    assert tail_index(torch.zeros(1000)) == 0


def test_a_lower_bound_holds_where_the_mean_is_infinite() -> None:
    torch.default_generator.manual_seed(0)
    assert _least(-1.5 * torch.rand(20_000).log()) > 1  # E w is infinite
    normal = 0.5 * torch.randn(20_000)
    assert -0.1 < _least(normal - 0.125) < 0  # E w = 1
