"""Marginalising against a joint normal, whose marginal is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from marginflow import models
from marginflow.distributions import DiagonalNormal, Flow, Marginalising, StandardNormal, Uniform, log_likelihood
from marginflow.transforms import Augment, Dequantise, Flatten

MEAN = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.5, 0.4, 0.3], [0.4, 0.8, -0.2], [0.3, -0.2, 1.2]], dtype=torch.float64)


class JointNormal:
    """Not one of ours and not a module: just log_prob and sample. Two data dimensions, one noise dimension."""

    def __init__(self) -> None:
        self.normal = torch.distributions.MultivariateNormal(MEAN, COVARIANCE)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.normal.log_prob(x)

    def sample(self, num_samples: int) -> Tensor:
        return self.normal.sample((num_samples,))


def marginal() -> torch.distributions.MultivariateNormal:
    return torch.distributions.MultivariateNormal(MEAN[:2], COVARIANCE[:2, :2])


def exact_posterior() -> DiagonalNormal:
    """p(eps | x) = N(mean + S_ex S_xx^-1 (x - mean), S_ee - S_ex S_xx^-1 S_xe)."""
    gain = COVARIANCE[2:, :2] @ torch.linalg.inv(COVARIANCE[:2, :2])
    variance = COVARIANCE[2, 2] - (gain @ COVARIANCE[:2, 2:]).squeeze()
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.cat([gain, torch.zeros(1, 2)]))
        linear.bias.copy_(torch.stack([MEAN[2] - gain[0] @ MEAN[:2], 0.5 * variance.log()]))
    return DiagonalNormal(1, linear, context_features=2)


@pytest.fixture
def x() -> Tensor:
    return marginal().sample((40,))


def test_bound_lies_below_and_importance_weighting_converges_to_the_truth(x: Tensor) -> None:
    model = Marginalising(JointNormal(), StandardNormal(1))
    truth = marginal().log_prob(x)
    gaps = []
    for k in (1, 10, 10_000):
        result = log_likelihood(model, x.repeat(20, 1), num_samples=k)
        gaps.append(float((truth.repeat(20) - result.log_prob).mean()))
    assert gaps[0] > gaps[1] > abs(gaps[2])
    assert abs(gaps[2]) < 2e-3
    # the gap of the bound is KL(q || p(eps | x)), here between two normals in closed form
    q = torch.distributions.Normal(0.0, 1.0)
    posterior = exact_posterior()
    mean, log_scale = posterior.conditioner(x).unbind(1)
    gap = torch.distributions.kl_divergence(q, torch.distributions.Normal(mean, log_scale.exp()))
    result = log_likelihood(model, x, num_samples=20_000)
    torch.testing.assert_close(truth - result.bound, gap.detach(), rtol=0.05, atol=0.02)


def test_the_exact_posterior_makes_one_draw_exact(x: Tensor) -> None:
    model = Marginalising(JointNormal(), exact_posterior())
    torch.testing.assert_close(model.log_prob(x), marginal().log_prob(x))
    result = log_likelihood(model, x, num_samples=7)
    torch.testing.assert_close(result.log_prob, marginal().log_prob(x))
    torch.testing.assert_close(result.bound, result.log_prob)
    torch.testing.assert_close(result.effective_sample_size, torch.full((40,), 7.0))
    assert result.standard_error is not None
    assert (result.standard_error < 1e-6).all()


def test_standard_error_is_the_spread_over_repetitions(x: Tensor) -> None:
    model = Marginalising(JointNormal(), StandardNormal(1))
    repeated = x[:1].repeat(4000, 1)
    result = log_likelihood(model, repeated, num_samples=200)
    assert result.standard_error is not None
    torch.testing.assert_close(result.standard_error.mean(), result.log_prob.std(), rtol=0.1, atol=0)


def test_weights_add_up_as_by_hand(x: Tensor) -> None:
    """The same draws, averaged without chunks and without the log-sum-exp trick."""
    model = Marginalising(JointNormal(), StandardNormal(1))
    torch.default_generator.manual_seed(5)
    result = log_likelihood(model, x, num_samples=8, chunk=40 * 8)
    torch.default_generator.manual_seed(5)
    eps = torch.randn(8, 40, 1)
    log_w = torch.stack([model.log_joint(x, e) - StandardNormal(1).log_prob(e) for e in eps])
    w = log_w.exp()
    torch.testing.assert_close(result.log_prob, w.mean(0).log())
    torch.testing.assert_close(result.bound, log_w.mean(0))
    torch.testing.assert_close(result.effective_sample_size, w.sum(0) ** 2 / w.square().sum(0))
    torch.testing.assert_close(result.standard_error, (w.std(0) / 8**0.5) / w.mean(0))
    entropy = torch.stack([-StandardNormal(1).log_prob(e) for e in eps]).mean(0)
    torch.testing.assert_close(result.noise_entropy, entropy)


@pytest.mark.parametrize("chunk", [1, 7, 39, 40, 100, 10_000])
def test_chunks_change_nothing_but_the_draws(x: Tensor, chunk: int) -> None:
    class Constant(JointNormal):
        """A joint under which every draw has the same weight."""

        def log_prob(self, x: Tensor) -> Tensor:
            return x[:, 0] + StandardNormal(1).log_prob(x[:, 2:])

    result = log_likelihood(Marginalising(Constant(), StandardNormal(1)), x, num_samples=9, chunk=chunk)
    torch.testing.assert_close(result.log_prob, x[:, 0])
    torch.testing.assert_close(result.bound, x[:, 0])


def test_tiny_likelihoods_do_not_underflow() -> None:
    class Far(JointNormal):
        def log_prob(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), -5000.0) + StandardNormal(1).log_prob(x[:, 2:])

    result = log_likelihood(Marginalising(Far(), StandardNormal(1)), torch.zeros(3, 2), num_samples=10)
    torch.testing.assert_close(result.log_prob, torch.full((3,), -5000.0))
    torch.testing.assert_close(result.effective_sample_size, torch.full((3,), 10.0))


def test_an_exact_model_is_evaluated_once_and_has_no_error() -> None:
    model = models.planar(2, blocks=2)
    x = torch.randn(5, 2)
    result = log_likelihood(model, x, num_samples=50)
    torch.testing.assert_close(result.log_prob, model.log_prob(x).detach())
    assert result.standard_error is not None
    assert (result.standard_error == 0).all()
    assert (result.effective_sample_size == 50).all()
    assert result.noise_entropy is None


def test_one_draw_has_no_standard_error(x: Tensor) -> None:
    assert log_likelihood(Marginalising(JointNormal(), StandardNormal(1)), x).standard_error is None


def test_float32_draws_are_summed_in_float64(single: None) -> None:
    model = Marginalising(models.planar(3), StandardNormal(1))
    result = log_likelihood(model, torch.randn(4, 2), num_samples=10)
    assert result.log_prob.dtype == result.bound.dtype == torch.float64


@pytest.mark.parametrize(("num_samples", "chunk"), [(0, 10), (-1, 10), (1, 0)])
def test_fewer_than_one_draw_is_refused(num_samples: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        log_likelihood(models.planar(2), torch.zeros(3, 2), num_samples=num_samples, chunk=chunk)


def test_log_prob_is_joint_minus_noise(x: Tensor) -> None:
    model = Marginalising(JointNormal(), StandardNormal(1))
    torch.default_generator.manual_seed(1)
    log_prob = model.log_prob(x)
    torch.default_generator.manual_seed(1)
    eps = torch.randn(40, 1)
    torch.testing.assert_close(log_prob, model.log_joint(x, eps) - torch.distributions.Normal(0, 1).log_prob(eps)[:, 0])


def test_samples_are_those_of_the_marginal() -> None:
    drawn = Marginalising(JointNormal(), StandardNormal(1)).sample(100_000)
    torch.testing.assert_close(drawn.mean(0), MEAN[:2], rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.T.cov(), COVARIANCE[:2, :2], rtol=0, atol=0.03)


def test_sampling_never_evaluates_the_noise() -> None:
    class Unwilling(StandardNormal):
        def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
            raise AssertionError("the noise was evaluated")

    assert Marginalising(models.planar(3), Unwilling(1)).sample(5).shape == (5, 2)
    assert Flow([Augment(Unwilling(1))], models.planar(3)).sample(5).shape == (5, 2)


def test_flow_with_augment_in_front_is_the_same_density() -> None:
    flow = models.planar(3)
    model, as_transform = Marginalising(flow, StandardNormal(1)), Flow([Augment(StandardNormal(1))], flow)
    x = torch.randn(5, 2)
    torch.default_generator.manual_seed(0)
    expected = model.log_prob(x)
    torch.default_generator.manual_seed(0)
    torch.testing.assert_close(as_transform.log_prob(x), expected)
    assert not as_transform.exact


def test_images_get_noise_channels_and_see_x_and_the_users_context() -> None:
    noise = DiagonalNormal((1, 2, 2), nn.Conv2d(3, 2, 1), context_features=3)
    flow = Flow([Flatten((3, 2, 2))], models.maf(12, hidden=[8], blocks=1, context_features=1))
    model = Marginalising(flow, noise)
    x, context = torch.randn(5, 2, 2, 2), torch.randn(5, 1)
    assert model.event_shape == (2, 2, 2)
    assert model.context_features == 1
    assert model.log_prob(x, context).shape == (5,)
    assert model.sample(4, context[:4]).shape == (4, 2, 2, 2)


def test_gradients_reach_flow_and_noise() -> None:
    model = Marginalising(models.planar(3), DiagonalNormal(1, nn.Linear(2, 2), 2))
    model.log_prob(torch.randn(50, 2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_peers_flows_can_be_marginalised() -> None:
    """nflows' flows have log_prob and sample of our form, and know nothing of event shapes."""
    from nflows.distributions import StandardNormal as TheirNormal
    from nflows.flows import Flow as TheirFlow
    from nflows.transforms import MaskedAffineAutoregressiveTransform

    theirs = TheirFlow(MaskedAffineAutoregressiveTransform(4, 16), TheirNormal([4]))
    model = Marginalising(theirs, StandardNormal(2))
    x = torch.randn(6, 2)
    assert model.event_shape is None
    assert log_likelihood(model, x, num_samples=5).log_prob.shape == (6,)
    assert model.sample(3).shape == (3, 2)
    model.log_prob(x).sum().backward()
    assert all(p.grad is not None for p in theirs.parameters() if p.requires_grad)


def test_any_object_with_the_two_methods_will_do() -> None:
    """zuko's distributions take a shape where we take a number: two lines make a density of one."""
    import zuko

    distribution = zuko.flows.MAF(features=4, transforms=2, hidden_features=(16,))()

    class Theirs:
        def log_prob(self, x: Tensor) -> Tensor:
            return distribution.log_prob(x)

        def sample(self, num_samples: int) -> Tensor:
            return distribution.sample((num_samples,))

    model = Marginalising(Theirs(), StandardNormal(1))
    x, eps = torch.randn(6, 3), torch.randn(6, 1)
    torch.testing.assert_close(model.log_joint(x, eps), distribution.log_prob(torch.cat([x, eps], 1)))
    assert model.sample(3).shape == (3, 3)


def test_what_cannot_be_marginalised_is_refused() -> None:
    with pytest.raises(ValueError, match="log_prob and sample; got Linear"):
        Marginalising(nn.Linear(2, 2), StandardNormal(1))
    with pytest.raises(ValueError, match="more than the 2 noise dimensions"):
        Marginalising(models.planar(2), StandardNormal(2))
    with pytest.raises(ValueError, match="noise must be an exact distribution"):
        Marginalising(models.planar(4), Marginalising(models.planar(3), StandardNormal(1)))


def test_noise_entropy_of_256_dimensions_is_known() -> None:
    model = Marginalising(models.planar(258, blocks=1), StandardNormal(256))
    entropy = log_likelihood(model, torch.randn(200, 2), num_samples=20).noise_entropy
    assert entropy is not None
    assert abs(float(entropy.mean()) - 256 * 0.5 * math.log(2 * math.pi * math.e)) < 1


def test_whole_models_average_the_dequantisation_noise_too() -> None:
    model = Flow([Dequantise(4)], models.planar(2, blocks=1))
    pixels = torch.randint(4, (10, 2), dtype=torch.uint8)
    many = log_likelihood(model, pixels, num_samples=500)
    assert (many.log_prob > many.bound).all()
    assert many.noise_entropy is None


def test_likelihoods_are_taken_in_evaluation_mode_and_modes_are_restored() -> None:
    from marginflow.transforms.calibrate import calibrate

    model = Marginalising(models.maf(3, hidden=[8], blocks=2, batch_norm=True), StandardNormal(1))
    calibrate(model, [torch.randn(100, 2)])
    x = torch.randn(10, 2)
    torch.default_generator.manual_seed(0)
    expected = log_likelihood(model.eval(), x, num_samples=5).log_prob
    model.train()
    frozen = next(model.children())
    frozen.eval()
    torch.default_generator.manual_seed(0)
    assert torch.equal(log_likelihood(model, x, num_samples=5).log_prob, expected)
    assert model.training
    assert not frozen.training


def test_no_density_at_all_is_minus_infinity_without_error() -> None:
    result = log_likelihood(Uniform(2), torch.tensor([[5.0, 5.0]]), num_samples=3)
    assert result.log_prob == -math.inf
    assert result.standard_error == 0
    assert result.effective_sample_size == 3


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        log_likelihood(models.planar(2), torch.zeros(0, 2))


def test_a_context_of_another_length_than_x_is_refused() -> None:
    model = models.maf(3, hidden=[8], context_features=2)
    with pytest.raises(
        ValueError, match=r"context must have shape \(5, 2\), a row for each row, or \(2,\), one for all; got \(9, 2\)"
    ):
        log_likelihood(model, torch.randn(5, 3), torch.randn(9, 2))


def test_a_row_outside_the_support_has_no_density_and_spoils_nothing() -> None:
    model = Marginalising(Flow([], Uniform(3)), StandardNormal(1))
    result = log_likelihood(model, torch.tensor([[5.0, 0.5], [0.5, 0.5]]), num_samples=50)
    assert result.log_prob[0] == -math.inf
    assert result.effective_sample_size[0] == 1
    assert torch.isfinite(result.effective_sample_size).all()
    assert not result.standard_error.isnan().any()


def test_noise_sees_x_alone_where_it_takes_no_more() -> None:
    """A flow with a context and q(eps | x): the context is the flow's alone."""
    flow = models.maf(3, hidden=[8], context_features=2)
    for noise in (StandardNormal(1), DiagonalNormal(1, nn.Linear(2, 2), context_features=2)):
        model = Marginalising(flow, noise)
        assert model.context_features == 2
        assert model.log_prob(torch.randn(5, 2), torch.randn(5, 2)).shape == (5,)
    wide = Marginalising(flow, DiagonalNormal(1, nn.Linear(4, 2), context_features=4))
    assert wide.context_features == 2
    assert wide.log_prob(torch.randn(5, 2), torch.randn(5, 2)).shape == (5,)
