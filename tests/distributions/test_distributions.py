"""The battery that every distribution of the registry goes through, and the bases against closed forms."""

from __future__ import annotations

import copy

import pytest
import torch
from registry import DISTRIBUTIONS, build_distribution, concrete_classes
from torch import Tensor

from marginflow.base.distribution import Density, Distribution
from marginflow.base.seeds import seeded
from marginflow.distributions import DiagonalNormal, Flow, StandardNormal, Uniform
from marginflow.transforms import Permutation

N = 6
NAMES = list(DISTRIBUTIONS)
EXACT = [name for name in NAMES if build_distribution(name).exact]
DRAWN = [name for name in EXACT if not name.startswith("from elsewhere")]  # with gradients


def rows(name: str, n: int = N) -> tuple[Tensor, Tensor | None]:
    torch.default_generator.manual_seed(1)
    return DISTRIBUTIONS[name].x(n), DISTRIBUTIONS[name].context(n)


def test_every_concrete_distribution_is_in_the_registry() -> None:
    covered = {type(module) for name in NAMES for module in build_distribution(name).modules()}
    missing = concrete_classes(Distribution) - covered
    assert not missing, f"not in the registry: {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name: str) -> None:
    distribution = build_distribution(name)
    x, context = rows(name)
    assert isinstance(distribution, Density)
    assert distribution.event_shape == x.shape[1:]
    assert distribution.log_prob(x, context).shape == (N,)
    drawn = distribution.sample(N, context)
    assert drawn.shape == x.shape
    assert drawn.dtype == x.dtype
    assert not drawn.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_takes_pixels(name: str) -> None:
    x, _ = rows(name)
    assert build_distribution(name).takes_pixels == (x.dtype == torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_over_the_base_that_it_has_it_is_itself(name: str) -> None:
    distribution = build_distribution(name)
    x, context = rows(name)
    found: list[object] = []
    same = distribution.with_base(lambda base: found.append(base) or base).train(distribution.training)
    assert found
    with seeded(3):
        expected = distribution.log_prob(x, context)
    with seeded(3):
        torch.testing.assert_close(same.log_prob(x, context), expected)


@pytest.mark.parametrize("name", NAMES)
def test_calling_it_is_log_prob(name: str) -> None:
    distribution = build_distribution(name)
    x, context = rows(name)
    torch.default_generator.manual_seed(3)
    expected = distribution.log_prob(x, context)
    torch.default_generator.manual_seed(3)
    torch.testing.assert_close(distribution(x, context), expected)


@pytest.mark.parametrize("name", DRAWN)
def test_sample_and_log_prob_agrees_with_log_prob_and_keeps_gradients(name: str) -> None:
    distribution = build_distribution(name)
    _, context = rows(name, 50)
    x, log_prob = distribution.sample_and_log_prob(50, context)
    torch.testing.assert_close(log_prob, distribution.log_prob(x.detach(), context), rtol=0, atol=1e-8)
    if not distribution.reparameterised:
        assert not x.requires_grad
        assert not log_prob.requires_grad
    elif list(distribution.parameters()):
        (x.square().sum() + log_prob.square().sum()).backward()
        for key, parameter in distribution.named_parameters():
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(DRAWN)))
def test_what_is_not_exact_or_comes_from_elsewhere_refuses_sample_and_log_prob(name: str) -> None:
    with pytest.raises(ValueError, match="log_likelihood"):
        build_distribution(name).sample_and_log_prob(3, DISTRIBUTIONS[name].context(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in EXACT if "image" not in name and "uniform" not in name and "mixed" not in name]
)
def test_samples_follow_the_density(name: str) -> None:
    """E_p[q(x) / p(x)] = 1 for any density q that p covers."""
    distribution = build_distribution(name)
    _, context = rows(name, 1)
    n = 20_000
    given = None if context is None else context.expand(n, -1)
    x = distribution.sample(n, given)
    q = torch.distributions.MultivariateNormal(x.mean(0), 0.5 * x.T.cov())
    ratio = (q.log_prob(x) - distribution.log_prob(x, given)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / n**0.5


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_saving_and_copying(name: str) -> None:
    distribution, other = build_distribution(name), build_distribution(name, seed=5)
    x, context = rows(name)
    other.load_state_dict(distribution.state_dict())
    for twin in (other, copy.deepcopy(distribution)):
        torch.default_generator.manual_seed(2)
        expected = distribution.log_prob(x, context)
        torch.default_generator.manual_seed(2)
        torch.testing.assert_close(twin.log_prob(x, context), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_another_shape_are_refused(name: str) -> None:
    distribution = build_distribution(name)
    x, context = rows(name)
    with pytest.raises(ValueError, match=r"must have shape .* got"):
        distribution.log_prob(torch.cat([x, x], 1), context)


@pytest.mark.parametrize("name", NAMES)
def test_context_is_checked_where_it_is_used(name: str) -> None:
    distribution = build_distribution(name)
    x, context = rows(name)
    assert distribution.context_features == DISTRIBUTIONS[name].context_features
    if context is not None:
        torch.default_generator.manual_seed(2)
        here = distribution.log_prob(x, context)
        torch.default_generator.manual_seed(2)
        other = context.roll(1, 1) if DISTRIBUTIONS[name].labels else context + 1
        assert ((distribution.log_prob(x, other) - here).abs() > 1e-9).all()
        with pytest.raises(ValueError, match="context"):
            distribution.log_prob(x, context[:, 1:])
        with pytest.raises(ValueError, match="context"):
            distribution.sample(N + 1, context)


class Broken(Permutation):
    """Its inverse gives no numbers."""

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * torch.nan, z.new_zeros(len(z))


def test_samples_that_are_not_finite_come_with_one_warning_of_the_callers_line() -> None:
    model = Flow([Permutation(2)], base=Flow([Broken(2)], base=StandardNormal(2)))
    with pytest.warns(RuntimeWarning, match="3 of 3 samples are not finite") as warned:
        model.sample(3)
    assert [each.filename for each in warned] == [__file__]


def test_normals_against_torch() -> None:
    x = torch.randn(N, 3)
    reference = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    torch.testing.assert_close(StandardNormal(3).log_prob(x), reference)
    normal = DiagonalNormal(3)
    with torch.no_grad():
        normal.mean.normal_()
        normal.log_scale.normal_()
    reference = torch.distributions.Normal(normal.mean, normal.log_scale.exp()).log_prob(x).sum(1)
    torch.testing.assert_close(normal.log_prob(x), reference)
    drawn = normal.sample(200_000)
    torch.testing.assert_close(drawn.mean(0), normal.mean.detach(), rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.std(0), normal.log_scale.exp().detach(), rtol=0.01, atol=0)


def test_uniform_has_its_volume_inside_and_nothing_outside() -> None:
    uniform = Uniform(2, torch.tensor([0.0, -1.0]), torch.tensor([2.0, 3.0]))
    x = torch.tensor([[1.0, 0.0], [2.5, 0.0], [1.0, -1.5]])
    torch.testing.assert_close(uniform.log_prob(x).exp(), torch.tensor([1 / 8, 0.0, 0.0]))
    drawn = uniform.sample(1000)
    assert (uniform.log_prob(drawn) > -3).all()
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, 1.0]), rtol=0, atol=0.15)


def test_zero_noise_dimensions_weigh_nothing() -> None:
    torch.testing.assert_close(StandardNormal(0).log_prob(torch.zeros(4, 0)), torch.zeros(4))


@pytest.mark.parametrize("shape", [-1, (3, -2), (), "ab"])
def test_impossible_shapes_are_refused(shape: object) -> None:
    with pytest.raises(ValueError, match="event shape"):
        StandardNormal(shape)


def test_whole_numbers_are_refused_where_reals_are_meant() -> None:
    with pytest.raises(ValueError, match="Dequantise"):
        StandardNormal(2).log_prob(torch.zeros(3, 2, dtype=torch.uint8))


def test_a_box_without_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        Uniform(2, 1.0, 1.0)


def test_a_conditioner_needs_to_know_its_context() -> None:
    with pytest.raises(ValueError, match="go together"):
        DiagonalNormal(2, torch.nn.Linear(3, 4))


def test_a_moved_model_samples_in_its_own_precision() -> None:
    model = build_distribution("planar flow").float()
    assert model.sample(3).dtype == torch.float32
