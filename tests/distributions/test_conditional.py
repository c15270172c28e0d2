"""Conditional densities: networks on the context, several samples a row, learned noise, noise between blocks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import marginflow as mf
from marginflow import models
from marginflow.data import DataSpec
from marginflow.distributions import Conditional, DiagonalNormal, LabelMixture, StandardNormal
from marginflow.distributions.temperature import at_temperature
from marginflow.models import MODELS, augmented_between, diagonal_normal
from marginflow.nets import MLP
from marginflow.runs.build import build
from marginflow.runs.read_toml import parse
from marginflow.training import TrainConfig
from marginflow.transforms import Augment


def options(name: str) -> dict[str, object]:
    return {} if name in ("planar", "radial") else {"hidden": [24]}


def two_classes(n: int) -> tuple[Tensor, Tensor]:
    """Rows around (2, 0) and (-2, 0), and their one-hot labels."""
    label = torch.arange(n) % 2
    return torch.randn(n, 2) * 0.4 + torch.stack([2.0 - 4 * label, 0.0 * label], 1), torch.eye(2)[label]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_from_its_context(name: str) -> None:
    torch.default_generator.manual_seed(0)
    model = MODELS[name](2, context_features=2, **options(name))
    x, context = two_classes(2000)
    mf.fit(model, mf.data.Split(x, context), TrainConfig(epochs=10, lr=1e-2, batch_size=100))
    given, other = model.log_prob(x, context).mean(), model.log_prob(x, context.flip(1)).mean()
    assert given > other + 1
    drawn = model.sample_each(300, torch.eye(2))
    assert drawn.shape == (2, 300, 2)
    assert drawn[0, :, 0].mean() > 1 > -1 > drawn[1, :, 0].mean()


@pytest.mark.slow
def test_a_network_on_the_context_is_trained_with_the_flow() -> None:
    torch.default_generator.manual_seed(0)
    network = MLP(1, 4, [16])
    model = Conditional(models.realnvp(2, hidden=[16], context_features=4), network, context_features=1)
    angle = torch.rand(3000, 1) * 2 * math.pi
    x = torch.cat([angle.cos(), angle.sin()], 1) * 3 + 0.3 * torch.randn(3000, 2)
    before = [parameter.clone() for parameter in network.parameters()]
    mf.fit(model, mf.data.Split(x, angle), TrainConfig(epochs=25, lr=1e-2))
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    mean = model.sample_each(500, torch.tensor([[0.5 * math.pi], [math.pi]])).mean(1)
    torch.testing.assert_close(mean, torch.tensor([[0.0, 3.0], [-3.0, 0.0]]), rtol=0, atol=0.5)


def test_a_density_without_context_has_no_use_for_a_network() -> None:
    with pytest.raises(ValueError, match="takes no context"):
        Conditional(models.maf(2), MLP(3, 2), 3)


def test_a_mixture_over_labels_may_see_them_through_a_network() -> None:
    torch.default_generator.manual_seed(0)
    conditional = Conditional(models.maf(2, hidden=[8], context_features=5), MLP(3, 5, [8]), 3)
    model, x = LabelMixture(conditional, 3), torch.randn(6, 2)
    each = torch.stack([conditional.log_prob(x, torch.eye(3)[y].expand(6, 3)) for y in range(3)])
    torch.testing.assert_close(model.log_prob(x), each.logsumexp(0) - math.log(3))
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 2; got 3"):
        model.one_hot([0, 3])
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 2; got -1"):
        model.one_hot([-1])


class Joint(nn.Module):
    """x and eps normal, correlated by 0.9: p(x) = N(0, 1), p(eps | x) = N(0.9 x, 0.19)."""

    event_shape, context_features, exact = torch.Size([2]), 0, True

    def __init__(self) -> None:
        super().__init__()
        self.normal = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1, 0.9], [0.9, 1]]))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.normal.log_prob(x)

    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        return self.normal.sample((num_samples,))


def learned_diagonal() -> DiagonalNormal:
    return diagonal_normal(1, context_features=1, hidden=[])


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [1, 8])
@pytest.mark.parametrize(
    "noise", [learned_diagonal, lambda: models.iaf(1, hidden=[8], blocks=1, context_features=1)], ids=["normal", "flow"]
)
def test_learned_noise_closes_the_bound(noise: object, num_samples: int) -> None:
    """Trained by the bound, q becomes p(eps | x) and one draw log p(x) itself; by that of K draws, K draws do."""
    torch.default_generator.manual_seed(0)
    model, x = mf.Marginalising(Joint(), noise()), torch.randn(4000, 1)
    before = mf.log_likelihood(model, x, num_samples=20).bound.mean()
    mf.fit(model, x, TrainConfig(epochs=30, lr=2e-2, num_samples=num_samples, schedule="cosine"))
    after = mf.log_likelihood(model, x, num_samples=num_samples)
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(x[:, 0])
    assert before < truth.mean() - 0.5
    assert after.log_prob.mean() == pytest.approx(float(truth.mean()), abs=0.02)
    assert (after.log_prob - truth).abs().median() < 0.1
    assert after.effective_sample_size.median() > 0.8 * num_samples


def test_noise_between_blocks_is_a_density_and_bounded_by_it() -> None:
    """Against the integral over eps on a grid, where the noise is one normal dimension."""
    torch.default_generator.manual_seed(0)
    noise = diagonal_normal(1, context_features=2, hidden=[8])
    flow = augmented_between(models.realnvp, 2, noise, after_blocks=1, blocks=3, hidden=[8])
    assert [type(part) for part in flow.transform][1] is Augment
    x = torch.randn(5, 2)
    first, _, last = flow.transform
    h, log_det = first(x)
    eps = torch.linspace(-12, 12, 4001)
    inner = mf.Flow(last, flow.base)
    joint = torch.cat([h.repeat_interleave(len(eps), 0), eps.repeat(5)[:, None]], 1)
    integral = inner.log_prob(joint).view(5, -1).logsumexp(1) + math.log(float(eps[1] - eps[0])) + log_det
    result = mf.log_likelihood(flow, x, num_samples=20_000, chunk=200_000)
    assert result.standard_error is not None
    assert ((result.log_prob - integral).abs() < 5 * result.standard_error + 1e-3).all()
    assert (result.standard_error < 0.2).all()
    assert (result.bound < integral + 1e-3).all()


@pytest.mark.parametrize("after_blocks", [0, 3, 4])
def test_noise_between_blocks_needs_blocks_on_both_sides(after_blocks: int) -> None:
    with pytest.raises(ValueError, match=f"got after_blocks={after_blocks} of 3 blocks"):
        augmented_between(models.maf, 2, StandardNormal(1), after_blocks=after_blocks, blocks=3)


def experiment(**tables: dict[str, object]) -> object:
    table = {"data": {"name": "half_moons"}, "model": {"name": "realnvp", "hidden": [8], "blocks": 4}, **tables}
    return parse(table, "test")


SPEC = DataSpec((2,))


def test_the_configuration_builds_every_kind_of_noise() -> None:
    plain = build(experiment(noise={"features": 2}), SPEC).base
    assert isinstance(plain.augment.noise, StandardNormal)
    normal = build(experiment(noise={"name": "diagonal_normal", "features": 2, "hidden": [5]}), SPEC).base
    assert isinstance(normal.augment.noise, DiagonalNormal)
    assert [layer.out_features for layer in normal.augment.noise.conditioner.layers] == [5, 4]
    flow = build(experiment(noise={"name": "iaf", "features": 3, "blocks": 1, "hidden": [8]}), SPEC).base
    assert (flow.augment.noise.context_features, flow.augment.noise.event_shape) == (2, (3,))
    between = build(experiment(noise={"features": 2, "after_blocks": 3}), SPEC).base
    assert [type(part).__name__ for part in between.transform] == ["Sequential", "Augment", "Sequential"]
    assert (len(between.transform[0]), len(between.transform[2])) == (3, 1)
    for each in (plain, normal, flow, between):
        assert not each.exact
        assert each.event_shape == (2,)


def test_the_configuration_puts_a_network_on_the_context() -> None:
    spec = DataSpec((2,), context_features=3, labels=("a", "b", "c"))
    density = build(experiment(context={"features": 7, "hidden": [5]}), spec).base
    assert isinstance(density, LabelMixture)
    assert isinstance(density.flow, Conditional)
    assert density.flow.flow.context_features == 7
    assert density.log_prob(torch.zeros(4, 2)).shape == (4,)
    assert isinstance(build(experiment(), spec).base.flow, mf.Flow)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"noise": {"name": "iaf", "features": 2, "blokcs": 2}},
            r"unknown key noise\.blokcs; .* did you mean noise\.blocks",
        ),
        ({"noise": {"features": 2, "hidden": [3]}}, r"unknown key noise\.hidden; known here: features, after_blocks"),
        ({"noise": {"name": "pink", "features": 2}}, "unknown noise 'pink'; there are standard_normal, diagonal"),
        ({"noise": {"name": "iaf", "features": 2, "hidden": 3}}, r"noise\.hidden = 3"),
        ({"noise": {"name": "iaf"}}, r"noise: there are no noise dimensions: say how many, noise\.features = 2"),
        ({"noise": {"after_blocks": 2}}, "there are no noise dimensions"),
        ({"noise": {"name": "realnvp", "features": 2, "batch_norm": True}}, r"unknown key noise\.batch_norm"),
        ({"context": {"feature": 3}}, r"unknown key context\.feature; .* did you mean context\.features"),
        ({"model": {"name": "nsf", "structure": "triangle"}}, r"model\.structure = 'triangle'"),
    ],
)
def test_mistakes_in_noise_and_context_are_named(tables: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        experiment(**tables)


def test_a_network_on_a_context_needs_a_context() -> None:
    with pytest.raises(ValueError, match=r"context\.features is for data with a context"):
        build(experiment(context={"features": 4}), SPEC)


def test_lists_of_orders_are_for_one_number_of_features() -> None:
    with pytest.raises(ValueError, match="order is a list for one number of features"):
        augmented_between(models.maf, 2, StandardNormal(1), after_blocks=1, blocks=2, order=[1, 0])


def test_no_two_blocks_draw_from_one_seed_on_either_side_of_the_noise() -> None:
    options = {"after_blocks": 1, "blocks": 2, "hidden": [4], "degrees": "random", "order": "random", "seed": 5}
    flow = augmented_between(models.maf, 20, StandardNormal(0), **options)
    (first,), _, (second,) = flow.transform
    assert first.order.tolist() != second.order.tolist()
    assert (
        second.order.tolist()
        == models.maf(20, hidden=[4], blocks=2, order="random", seed=5).transform[1].order.tolist()
    )


def test_noise_between_blocks_may_see_a_context_beside_x() -> None:
    torch.default_generator.manual_seed(0)
    noise = diagonal_normal(1, context_features=2 + 3)
    flow = augmented_between(models.maf, 2, noise, after_blocks=1, blocks=2, hidden=[8])
    assert flow.context_features == 3
    x, context = torch.randn(50, 2), torch.randn(50, 3)
    assert flow.log_prob(x, context).shape == (50,)
    mf.fit(flow, mf.data.Split(x, context), TrainConfig(epochs=1, batch_size=10))
    with pytest.raises(ValueError, match="sees 1 features, x has 2"):
        augmented_between(models.maf, 2, diagonal_normal(1, context_features=1), after_blocks=1, blocks=2)
    with pytest.raises(ValueError, match="sees 2 features, x has 3"):
        mf.Marginalising(models.maf(4), diagonal_normal(1, context_features=2))


@pytest.mark.parametrize(
    ("network", "context_features"), [(MLP(3, 4), 2), (MLP(2, 5), 2), (MLP(2, 4), 0)], ids=["in", "out", "none"]
)
def test_networks_of_another_size_are_refused(network: MLP, context_features: int) -> None:
    with pytest.raises(ValueError, match=r"the network must take the|context_features must be at least 1"):
        Conditional(models.maf(2, hidden=[8], context_features=4), network, context_features)


@pytest.mark.parametrize("labels", [[1.5], [[0, 1]], 1])
def test_labels_that_are_no_labels_are_refused(labels: object) -> None:
    mixture = LabelMixture(models.maf(2, hidden=[8], context_features=3), 3)
    with pytest.raises(ValueError, match="whole numbers, one a row"):
        mixture.one_hot(labels)


def test_learned_noise_is_bounded_and_takes_any_precision() -> None:
    torch.default_generator.manual_seed(0)
    noise = diagonal_normal(2, context_features=2)
    eps, log_q = noise.sample_and_log_prob(3, torch.tensor([[5e4, 40.0], [-1e6, 0.0], [0.0, 1e6]]))
    assert torch.isfinite(eps).all()
    assert torch.isfinite(log_q).all()
    assert noise.sample(3, torch.zeros(3, 2, dtype=torch.float32)).dtype == torch.float64


def test_a_temperature_reaches_through_a_network_on_the_context() -> None:
    torch.default_generator.manual_seed(0)
    model = Conditional(models.maf(2, hidden=[8], context_features=4), MLP(3, 4), 3)
    cold = at_temperature(model, 1e-3)
    assert cold.sample_each(50, torch.randn(4, 3)).std(1).max() < 0.05
    with pytest.raises(ValueError, match="this model has a StandardLogistic, as made_mog and maf_mog do"):
        at_temperature(models.made_mog(2, hidden=[8]), 0.7)


def test_one_network_alone_has_no_blocks_between_which_noise_could_join() -> None:
    table = {"model": {"name": "made", "hidden": [8]}, "noise": {"features": 1, "after_blocks": 1}}
    with pytest.raises(ValueError, match="for models of several blocks; made is one"):
        build(experiment(**table), SPEC)
