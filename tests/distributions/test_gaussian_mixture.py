"""The mixture of Gaussians: torch's own, moments of draws, the bound on variances, what is far, gradients."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import marginflow as mf
from marginflow import models
from marginflow.distributions import Flow, GaussianMixture
from marginflow.transforms import Standardise


def drawn(features: int, components: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances."""
    torch.manual_seed(seed)
    roots = torch.randn(components, features, features) + torch.eye(features)
    return torch.rand(components) + 0.2, torch.randn(components, features) * 3, roots @ roots.mT


def reference(weights: Tensor, means: Tensor, covariances: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariances))


def mixture_of(weights: Tensor, means: Tensor, covariances: Tensor, ridge: float = 1e-6) -> GaussianMixture:
    mixture = GaussianMixture(means.shape[1], len(weights), ridge)
    mixture.set_components(weights, means, covariances)
    return mixture


@pytest.mark.parametrize(("features", "components"), [(1, 1), (1, 4), (2, 3), (5, 7), (12, 2)])
def test_log_p_is_that_of_torch(features: int, components: int) -> None:
    parts = drawn(features, components)
    mixture, x = mixture_of(*parts), torch.randn(200, features) * 4
    expected = reference(*parts).log_prob(x)
    torch.testing.assert_close(mixture.log_prob(x), expected)
    torch.testing.assert_close(mixture.covariances(), parts[2])
    found = mixture.float().log_prob(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_many_rows_go_in_pieces() -> None:
    parts = drawn(4, 50)
    mixture, x = mixture_of(*parts), torch.randn(3000, 4)
    assert len(mixture.pieces(x)) > 2
    torch.testing.assert_close(mixture.log_prob(x), reference(*parts).log_prob(x))


def test_a_new_one_is_a_density_whose_components_differ() -> None:
    one = GaussianMixture(3)
    torch.testing.assert_close(one.log_prob(torch.ones(1, 3)), torch.full((1,), -1.5 - 1.5 * math.log(2 * math.pi)))
    several = GaussianMixture(3, 4)
    assert float(torch.pdist(several.means.detach()).min()) > 0.01


@pytest.mark.parametrize(("features", "components"), [(1, 3), (3, 4)])
def test_draws_have_its_moments_and_components_their_weights(features: int, components: int) -> None:
    weights, means, covariances = drawn(features, components, seed=1)
    means = 30 * means
    truth = reference(weights, means, covariances)
    x = mixture_of(weights, means, covariances).sample(60_000)
    error = (truth.variance / len(x)).sqrt()
    assert ((x.mean(0) - truth.mean).abs() < 5 * error).all()
    nearest = torch.cdist(x, means).argmin(1)
    torch.testing.assert_close(nearest.bincount() / len(x), weights / weights.sum(), rtol=0, atol=0.02)
    for c in range(components):
        own = (x[nearest == c] - means[c]).T.cov().reshape(features, features)
        size = covariances[c].diagonal().max()
        torch.testing.assert_close(own / size, covariances[c] / size, rtol=0, atol=0.06)


def test_no_draws_and_no_rows_are_none() -> None:
    mixture = mixture_of(*drawn(3, 2))
    assert mixture.sample(0).shape == (0, 3)
    assert mixture.log_prob(torch.zeros(0, 3)).shape == (0,)


def test_variances_below_the_ridge_are_raised_to_it_in_any_direction() -> None:
    along = torch.tensor([1.0, 2.0, -1.0]) / math.sqrt(6)
    flat = 4 * along[:, None] * along  # of rank 1
    mixture = mixture_of(torch.ones(1), torch.zeros(1, 3), flat[None], ridge=1e-3)
    expected = flat + 1e-3 * (torch.eye(3) - along[:, None] * along)
    torch.testing.assert_close(mixture.covariances()[0], expected)
    assert torch.isfinite(mixture_of(torch.ones(1), torch.zeros(1, 3), 1e20 * flat[None]).log_prob([[1.0, 2, -1]]))


def test_what_is_far_or_no_number_leaves_others_and_gradients_as_they_were() -> None:
    mixture, good = mixture_of(*drawn(2, 3)), torch.randn(2, 2)
    wanted = list(mixture.parameters())
    expected = torch.autograd.grad(mixture.log_prob(good).sum(), wanted)
    rows = torch.cat([good, torch.tensor([[math.inf, 0.0], [1e100, 0.0], [math.nan, -math.inf]])])
    log_p = mixture.log_prob(rows)
    assert log_p[2] == -math.inf
    assert -1e220 < float(log_p[3].detach()) < -1e180
    assert log_p[4].isnan()
    torch.testing.assert_close(torch.autograd.grad(log_p[:2].sum(), wanted), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    mixture, x = mixture_of(*drawn(3, 2)), torch.randn(4, 3)
    names, values = zip(*mixture.named_parameters(), strict=True)

    def log_prob(*values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(mixture, given, (x,))

    assert torch.autograd.gradcheck(log_prob, values)


def test_gradients_train_it_too() -> None:
    """As the base of a flow that has weights of its own, where there is no EM."""
    truth = mixture_of(torch.tensor([0.5, 0.5]), torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), torch.eye(2).expand(2, 2, 2))
    torch.manual_seed(0)
    x = truth.sample(2000)
    model = GaussianMixture(2, 2)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss = -model.log_prob(x).mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < -float(truth.log_prob(x).mean().detach()) + 0.01


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    model = Flow([Standardise(3)], base=models.gaussian_mixture(3, components=4, ridge=1e-3))
    x = torch.randn(50, 3) + 100
    mf.calibrate(model, [x])
    model.base.base.set_components(*drawn(3, 4))
    mf.save(model, tmp_path / "model.safetensors")
    loaded = mf.load(tmp_path / "model.safetensors")
    torch.testing.assert_close(loaded.log_prob(x), model.log_prob(x), rtol=0, atol=0)
    assert loaded.base.base.ridge == 1e-3


def test_likelihoods_are_accounted_for_on_standardised_rows_as_those_of_flows_are() -> None:
    model = Flow([Standardise(2)], base=models.gaussian_mixture(2))
    assert model.density is model.base
    assert model.exact


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": 0}, "features must be at least 1"), ({"features": 2, "components": 0}, "components must be"),
        ({"features": 2, "components": 2.5}, "components must be"), ({"features": 2, "ridge": 0.0}, "ridge must be"),
        ({"features": 2, "ridge": "a"}, "ridge must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**arguments)


def test_images_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="gaussian_mixture works on vectors"):
        models.gaussian_mixture((1, 2, 2))
