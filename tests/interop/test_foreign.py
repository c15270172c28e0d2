"""Densities of the real libraries behind our contracts: the same numbers, trained, marginalised, sampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import FrEIA.framework
import FrEIA.modules
import normflows
import pytest
import torch
import zuko
from nflows import distributions as nflows_distributions
from nflows import flows as nflows_flows
from nflows import transforms as nflows_transforms
from torch import Tensor, nn
from torch.distributions import (
    Beta,
    Categorical,
    Dirichlet,
    Exponential,
    ExpTransform,
    Gamma,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    TransformedDistribution,
)
from torch.distributions import Uniform as TorchUniform

import marginflow as mf
from marginflow.base.distribution import Distribution
from marginflow.distributions import StandardNormal
from marginflow.interop import from_freia, from_nflows, from_normflows, from_torch, from_zuko, to_torch
from marginflow.transforms import Logit


def zuko_flow(features: int, context: int) -> nn.Module:
    return zuko.flows.NSF(features, context, transforms=2, hidden_features=[16])


def nflows_flow(features: int, context: int) -> nn.Module:
    layers = [
        nflows_transforms.MaskedAffineAutoregressiveTransform(features, 16, context_features=context or None),
        nflows_transforms.ReversePermutation(features),
        nflows_transforms.MaskedAffineAutoregressiveTransform(features, 16, context_features=context or None),
    ]
    base = nflows_distributions.StandardNormal([features])
    return nflows_flows.Flow(nflows_transforms.CompositeTransform(layers), base)


def normflows_flow(features: int, context: int) -> nn.Module:
    given = {"num_context_channels": context, "init_identity": False} if context else {}
    layers = [normflows.flows.AutoregressiveRationalQuadraticSpline(features, 1, 16, **given) for _ in range(2)]
    base = normflows.distributions.DiagGaussian(features, trainable=False)
    kind = normflows.ConditionalNormalizingFlow if context else normflows.NormalizingFlow
    return kind(base, layers)


def freia_flow(features: int, context: int) -> nn.Module:
    inn = FrEIA.framework.SequenceINN(features)
    given = {"cond": 0, "cond_shape": (context,)} if context else {}
    for _ in range(2):
        inn.append(FrEIA.modules.AllInOneBlock, subnet_constructor=small_network, **given)
    return inn


def small_network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))


class Laplaces(nn.Module):
    """A torch distribution with parameters to train, and a context that shifts it."""

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(features))
        self.shift = nn.Linear(context, features) if context else None

    def forward(self, context: Tensor | None) -> torch.distributions.Distribution:
        mean = self.mean if self.shift is None else self.mean + self.shift(context)
        return Independent(Laplace(mean, 1.0), 1)


def standard(z: Tensor) -> Tensor:
    return Normal(0.0, 1.0).log_prob(z).sum(1)


def freia_log_prob(inn: Any, x: Tensor, context: Tensor | None) -> Tensor:
    z, log_det = inn(x, c=None if context is None else [context])
    return standard(z) + log_det


@dataclass(frozen=True)
class Library:
    """How to build a flow of a library, wrap it, and ask the library itself for its density and its samples."""

    build: Callable[[int, int], nn.Module]
    wrap: Callable[..., Distribution]
    log_prob: Callable[[Any, Tensor, Tensor | None], Tensor]
    sample: Callable[[Any, int], Tensor]


def given(context: Tensor | None) -> dict[str, Tensor]:
    return {} if context is None else {"context": context}


LIBRARIES = {
    "zuko": Library(zuko_flow, from_zuko, lambda f, x, c: f(c).log_prob(x), lambda f, n: f().sample((n,))),
    "nflows": Library(nflows_flow, from_nflows, lambda f, x, c: f.log_prob(x, c), lambda f, n: f.sample(n)),
    "normflows": Library(
        normflows_flow, from_normflows, lambda f, x, c: f.log_prob(x, **given(c)), lambda f, n: f.sample(n)[0]
    ),
    "FrEIA": Library(freia_flow, from_freia, freia_log_prob, lambda f, n: f(torch.randn(n, 3), rev=True)[0]),
    "torch": Library(Laplaces, from_torch, lambda f, x, c: f(c).log_prob(x), lambda f, n: f(None).sample((n,))),
}
pytestmark = pytest.mark.usefixtures("single")


@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_wrapped_flow_says_what_its_library_says(name: str, context_features: int) -> None:
    torch.default_generator.manual_seed(0)
    library = LIBRARIES[name]
    flow = library.build(3, context_features)
    ours = library.wrap(flow, context_features=context_features)
    x, context = torch.randn(6, 3), torch.randn(6, context_features) if context_features else None
    assert ours.event_shape == (3,)
    assert ours.context_features == context_features
    torch.testing.assert_close(ours.log_prob(x, context), library.log_prob(flow, x, context), rtol=0, atol=1e-5)
    drawn, log_prob = ours.sample_and_log_prob(6, context)
    assert drawn.requires_grad
    torch.testing.assert_close(log_prob, library.log_prob(flow, drawn, context), rtol=0, atol=1e-3)
    assert ours.sample(6, context).shape == (6, 3)
    assert ours.sample(0, None if context is None else context[:0]).shape == (0, 3)
    if context is not None:
        assert ((ours.log_prob(x, context + 1) - ours.log_prob(x, context)).abs() > 1e-6).all()
        for wrong in (None, context[:, :1], context[:-1]):
            with pytest.raises(ValueError, match="context"):
                ours.log_prob(x, wrong)
        each = ours.sample_each(4, context)
        assert each.shape == (6, 4, 3)


@pytest.mark.parametrize("name", LIBRARIES)
def test_unwrapped_it_is_a_flow_of_ours_with_the_librarys_density_where_it_shows_its_map(name: str) -> None:
    library = LIBRARIES[name]
    flow = library.build(3, 2)
    ours, x, context = library.wrap(flow, context_features=2).eval(), torch.randn(6, 3), torch.randn(6, 2)
    inside, *seen = ours.unwrap(x, context)
    assert seen == [x, context]
    assert isinstance(inside, mf.Flow) == (name != "torch")
    torch.testing.assert_close(inside.log_prob(x, context), library.log_prob(flow, x, context), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_samples_are_the_librarys(name: str) -> None:
    library = LIBRARIES[name]
    flow = library.build(3, 0)
    ours = library.wrap(flow)
    torch.default_generator.manual_seed(1)
    expected = library.sample(flow, 8)
    torch.default_generator.manual_seed(1)
    torch.testing.assert_close(ours.sample(8), expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_wrapped_flow_is_marginalised_trained_saved_and_sampled(name: str, tmp_path: Any) -> None:
    torch.default_generator.manual_seed(0)
    library = LIBRARIES[name]
    data = mf.data.load("half_moons", num_train=2000, num_validation=500, num_test=500)
    model = mf.Marginalising(library.wrap(library.build(3, 0)), StandardNormal(1))
    before = mf.evaluate(model, data.test, num_samples=20)
    history = mf.fit(model, data, mf.TrainConfig(epochs=2, lr=5e-3, ema=0.9), tmp_path / "run")
    after = mf.evaluate(model, data.test, num_samples=20)
    assert after.bound.value < before.bound.value - 0.02
    assert history[-1].validation_nll is not None
    assert model.sample(7).shape == (7, 2)
    twin = mf.Marginalising(library.wrap(library.build(3, 0)), StandardNormal(1))
    twin.load_state_dict(model.state_dict())
    eps = torch.randn(5, 1)
    torch.testing.assert_close(
        twin.eval().log_joint(data.test.x[:5], eps), model.log_joint(data.test.x[:5], eps), rtol=0, atol=1e-6
    )


def test_what_has_no_log_prob_is_refused() -> None:
    for wrap in (from_nflows, from_normflows):
        with pytest.raises(ValueError, match="Linear has no log_prob and no sample"):
            wrap(nn.Linear(2, 2))
    for wrap in (from_zuko, from_torch):
        with pytest.raises(ValueError, match="returns Tensor; expected a distribution, which has log_prob"):
            wrap(Constant())
        with pytest.raises(ValueError, match="no parameters, as it is not a module"):
            wrap(len)
    with pytest.raises(ValueError, match="expected a SequenceINN or GraphINN of FrEIA"):
        from_freia(nn.Linear(2, 2))


class Constant(nn.Module):
    def forward(self, context: Tensor | None) -> Tensor:
        return torch.zeros(3)


def test_another_event_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"events of shape \(3,\); got shape=4"):
        from_nflows(nflows_flow(3, 0), shape=4)
    with pytest.raises(ValueError, match=r"events of shape \(3,\); got shape=4"):
        from_normflows(normflows_flow(3, 0), shape=4)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 3\)"):
        from_zuko(zuko_flow(3, 0)).log_prob(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="more than the 3 noise dimensions"):
        mf.Marginalising(from_zuko(zuko_flow(3, 0)), StandardNormal(3))
    with pytest.raises(ValueError, match=r"network of FrEIA takes events of shape \(3,\); got \(4,\)"):
        mf.Flow(from_freia(freia_flow(3, 0)).transform, StandardNormal(4))


@pytest.mark.parametrize(("built", "said"), [(2, 5), (2, 0), (0, 2)])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_context_that_the_flow_was_not_built_for_is_refused(name: str, built: int, said: int) -> None:
    library = LIBRARIES[name]
    with pytest.raises(ValueError, match=r"context|condition"):
        library.wrap(library.build(3, built), context_features=said)


def test_a_distribution_that_is_there_takes_no_context() -> None:
    normal = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    with pytest.raises(ValueError, match="is there already and takes no context"):
        from_torch(normal, context_features=7)
    with pytest.raises(ValueError, match="nothing in this model uses a context"):
        to_torch(mf.models.maf(2), torch.randn(5, 2))
    with pytest.raises(ValueError, match=r"context must have shape \(N, 3\), .*; got \(5, 2\)"):
        to_torch(mf.models.maf(2, context_features=3), torch.randn(5, 2))


def test_wrapping_leaves_layers_that_initialise_themselves_alone() -> None:
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(3), [normflows.flows.ActNorm(3)])
    from_normflows(flow)
    assert not flow.flows[0].data_dep_init_done


@pytest.mark.parametrize("name", LIBRARIES)
def test_no_row_is_no_trouble(name: str) -> None:
    library = LIBRARIES[name]
    ours = library.wrap(library.build(3, 0)).double()
    assert ours.log_prob(torch.zeros(0, 3).double()).shape == (0,)
    x, log_prob = ours.sample_and_log_prob(0)
    assert (x.shape, log_prob.shape, ours.sample(0).dtype) == ((0, 3), (0,), torch.float64)


def test_preprocessing_in_front_of_a_wrapped_flow_is_preprocessing() -> None:
    torch.default_generator.manual_seed(0)
    model = mf.Flow([Logit(0.05)], base=from_zuko(zuko_flow(3, 0)))
    x = torch.rand(200, 3)
    result = mf.evaluate(model, x)
    assert result.log_det.value == pytest.approx(float(Logit(0.05)(x)[1].mean()), abs=1e-4)
    assert result.exact


def test_torch_distributions_with_a_batch_or_without_events_are_refused() -> None:
    with pytest.raises(ValueError, match=r"batch shape \(3,\).*Independent"):
        from_torch(Normal(torch.zeros(3), torch.ones(3)))
    with pytest.raises(ValueError, match="over numbers"):
        from_torch(Normal(0.0, 1.0))
    discrete = from_torch(Independent(Poisson(torch.ones(2)), 1))
    with pytest.raises(ValueError, match="no reparameterised draws"):
        discrete.sample_and_log_prob(3)


BOUNDED = {
    "gamma": (Independent(Gamma(torch.ones(2), 2.0), 1), [[-1.0, 1.0]]),
    "uniform": (Independent(TorchUniform(torch.zeros(2), torch.ones(2)), 1), [[0.5, 1.5], [-0.5, 0.5]]),
    "unchecked": (
        Independent(Exponential(torch.ones(2), validate_args=False), 1, validate_args=False), [[0.5, -0.5]]
    ),
    "dirichlet": (Dirichlet(torch.tensor([1.0, 2.0])), [[0.5, 0.6]]),
    "counts": (Independent(Poisson(torch.ones(2)), 1), [[0.5, 1.0], [-1.0, 2.0]]),
    "mixture": (
        MixtureSameFamily(Categorical(torch.ones(3)), Independent(Beta(torch.ones(3, 2), 2.0), 1)), [[0.5, 1.5]]
    ),
    "transformed": (
        TransformedDistribution(Independent(Normal(torch.zeros(2), 1.0), 1), [ExpTransform()]), [[-1.0, 1.0]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED)
def test_outside_the_support_of_a_torch_distribution_the_density_is_0(name: str) -> None:
    torch.default_generator.manual_seed(0)
    distribution, outside = BOUNDED[name]
    x, there = distribution.sample((5,)), torch.tensor(outside)
    density = from_torch(distribution)
    expected = distribution.log_prob(x)
    torch.testing.assert_close(density.log_prob(x), expected)
    none = there.new_full((len(there),), -torch.inf)
    torch.testing.assert_close(density.log_prob(torch.cat([there, x, there])), torch.cat([none, expected, none]))
    assert bool(density.log_prob(torch.full((1, 2), torch.nan)).isnan())
    with pytest.raises(ValueError, match="within the support"):
        to_torch(density, validate_args=True).log_prob(there)


def test_the_support_may_depend_on_the_context() -> None:
    class UpTo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, context: Tensor) -> Independent:
            return Independent(TorchUniform(torch.zeros_like(context), self.scale * context), 1)

    density = from_torch(UpTo(), context_features=1)
    x, context = torch.tensor([[0.5], [1.5], [1.5], [-1.0]]), torch.tensor([[1.0], [1.0], [2.0], [2.0]])
    log_prob = density.log_prob(x, context)
    torch.testing.assert_close(log_prob, torch.tensor([0.0, -torch.inf, -torch.tensor(2.0).log(), -torch.inf]))
    log_prob[[0, 2]].sum().backward()
    torch.testing.assert_close(density.module.scale.grad, torch.tensor(-2.0))  # of -log scale, twice
    assert to_torch(density, context).support.event_dim == 1


def test_a_graph_of_freia_with_two_outputs_is_refused() -> None:
    start = FrEIA.framework.InputNode(4)
    split = FrEIA.framework.Node(start, FrEIA.modules.Split, {"section_sizes": [2, 2]})
    ends = [FrEIA.framework.OutputNode(split.out0), FrEIA.framework.OutputNode(split.out1)]
    with pytest.raises(ValueError, match="1 inputs and 2 outputs"):
        from_freia(FrEIA.framework.GraphINN([start, split, *ends], verbose=False))


def test_a_graph_of_freia_is_a_flow() -> None:
    torch.default_generator.manual_seed(0)
    start = FrEIA.framework.InputNode(4)
    block = FrEIA.framework.Node(start, FrEIA.modules.GLOWCouplingBlock, {"subnet_constructor": small_network})
    inn = FrEIA.framework.GraphINN([start, block, FrEIA.framework.OutputNode(block)], verbose=False)
    x = torch.randn(5, 4)
    torch.testing.assert_close(from_freia(inn).log_prob(x), freia_log_prob(inn, x, None))


def test_our_density_is_a_torch_distribution() -> None:
    torch.default_generator.manual_seed(0)
    flow = mf.models.realnvp(3, hidden=[8])
    ours = to_torch(flow)
    assert isinstance(ours, torch.distributions.Distribution)
    assert (ours.batch_shape, ours.event_shape) == ((), (3,))
    x = ours.sample((4, 5))
    torch.testing.assert_close(ours.log_prob(x), flow.log_prob(x.view(20, 3)).view(4, 5))
    assert ours.sample().shape == (3,)
    assert ours.log_prob(ours.sample()).shape == ()
    assert not ours.sample((2,)).requires_grad
    assert ours.rsample((2,)).requires_grad
    assert ours.has_rsample
    scaled = torch.distributions.TransformedDistribution(ours, torch.distributions.AffineTransform(1.0, 2.0, 1))
    y = 1 + 2 * x
    torch.testing.assert_close(scaled.log_prob(y), ours.log_prob(x) - 3 * torch.tensor(2.0).log(), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"must end in the event shape \(3,\)"):
        ours.log_prob(torch.zeros(5, 4))


def test_a_context_makes_the_batch_of_a_torch_distribution() -> None:
    torch.default_generator.manual_seed(0)
    flow = mf.models.maf(3, hidden=[16], context_features=2)
    context = torch.randn(6, 2)
    ours = to_torch(flow, context)
    assert (ours.batch_shape, ours.sample((4,)).shape) == ((6,), (4, 6, 3))
    x = torch.randn(4, 6, 3)
    expected = torch.stack([flow.log_prob(rows, context) for rows in x])
    torch.testing.assert_close(ours.log_prob(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.log_prob(x[0, 0]), flow.log_prob(x[0, 0].expand(6, 3), context))
    one = to_torch(flow, context[0])
    assert one.batch_shape == ()
    torch.testing.assert_close(one.log_prob(x[0]), flow.log_prob(x[0], context[:1].expand(6, 2)))


def test_there_and_back_again() -> None:
    torch.default_generator.manual_seed(0)
    flow = mf.models.realnvp(2, hidden=[8])
    x = torch.randn(5, 2)
    torch.testing.assert_close(from_torch(to_torch(flow)).log_prob(x), flow.log_prob(x))
    normal = MultivariateNormal(torch.zeros(2), torch.eye(2))
    torch.testing.assert_close(to_torch(from_torch(normal)).log_prob(x), normal.log_prob(x))


def test_an_estimated_density_never_looks_exact_in_torch() -> None:
    torch.default_generator.manual_seed(0)
    model = mf.Marginalising(mf.models.planar(3), StandardNormal(1))
    with pytest.raises(ValueError, match="estimated, not exact: give num_samples=K"):
        to_torch(model)
    estimate = to_torch(model, num_samples=500)
    assert not estimate.has_rsample
    x = estimate.sample((50,))
    bound = torch.stack([model.log_prob(x) for _ in range(500)]).mean(0)
    assert estimate.log_prob(x).mean() >= bound.mean() - 1e-3
