"""Named models: densities that integrate to one, that can be trained, compiled and put in a marginalising flow."""

from __future__ import annotations

import math

import pytest
import torch

from marginflow import Marginalising, TrainConfig, data, evaluate, fit, log_likelihood, models, samples
from marginflow.calibration import calibrate
from marginflow.distributions import StandardNormal
from marginflow.flow import Flow
from marginflow.transforms import BatchNorm, Dequantise, MaskedAutoregressive, Permutation, Planar, Standardise


def trained(model: Flow | Marginalising, epochs: int = 3) -> Flow | Marginalising:
    fit(model, data.load("half_moons", num_train=5000), TrainConfig(epochs=epochs, lr=2e-3))
    return model


def grid(reach: float, size: int) -> tuple[torch.Tensor, float]:
    line = torch.linspace(-reach, reach, size)
    return torch.cartesian_prod(line, line), (line[1] - line[0]).item() ** 2


@pytest.mark.parametrize(
    "build",
    [
        lambda: models.planar(2),
        lambda: models.maf(2, hidden=[32], blocks=3),
        lambda: models.maf(2, hidden=[32], blocks=3, batch_norm=True, activation="tanh"),
        lambda: Marginalising(models.planar(3), StandardNormal(1)),
    ],
)
def test_two_dimensional_densities_integrate_to_one_after_training(build: object) -> None:
    model = trained(build())
    x, area = grid(8, 400)
    k = 1 if model.exact else 64
    total = log_likelihood(model, x, num_samples=k, chunk=200_000).log_prob.exp().sum() * area
    assert float(total) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("num_noise", [0, 1])
@pytest.mark.parametrize("name", ["planar", "maf"])
def test_no_half_moons_nll_beats_the_entropy(name: str, num_noise: int) -> None:
    options = {"planar": {"blocks": 16}, "maf": {"hidden": [64, 64], "blocks": 5}}[name]
    model: Flow | Marginalising = getattr(models, name)(2 + num_noise, **options)
    if num_noise:
        model = Marginalising(model, StandardNormal(num_noise))
    moons = data.load("half_moons", num_train=10_000)
    fit(model, moons, TrainConfig(epochs=5, lr=2e-3, batch_size=200))
    result = evaluate(model, moons.test, num_samples=50)
    assert moons.entropy is not None
    assert result.importance_weighted.value > moons.entropy - 0.010 - 3 * result.importance_weighted.standard_error
    assert result.importance_weighted.value < 1.95  # it has learned something: a fitted normal has 1.97


def test_planar_is_its_layers_over_a_normal() -> None:
    model = models.planar(4, blocks=3, activation="arctan")
    assert [type(each) for each in model.transform] == [Planar] * 3
    assert isinstance(model.base, StandardNormal)


def test_maf_alternates_its_order_and_places_batch_norm_as_asked() -> None:
    def kinds(**options: object) -> list[type]:
        return [type(each) for each in models.maf(3, hidden=[4], blocks=2, **options).transform]

    assert kinds() == [MaskedAutoregressive] * 2
    assert kinds(batch_norm=True) == kinds(batch_norm="after") == [MaskedAutoregressive, BatchNorm] * 2
    assert kinds(batch_norm="before") == [BatchNorm, MaskedAutoregressive] * 2
    orders = [made.order.tolist() for made in models.maf(3, hidden=[4], blocks=3).transform]
    assert orders == [[0, 1, 2], [2, 1, 0], [0, 1, 2]]
    for order, expected in (("sequential", [0, 1, 2]), ("reversed", [2, 1, 0])):
        assert [made.order.tolist() for made in models.maf(3, hidden=[4], blocks=2, order=order).transform] == [
            expected
        ] * 2
    by_list = [made.order.tolist() for made in models.maf(3, hidden=[4], blocks=2, order=[1, 0, 2]).transform]
    assert by_list == [[1, 0, 2], [2, 0, 1]]
    first, second = (made.order.tolist() for made in models.maf(20, hidden=[4], blocks=2, order="random").transform)
    assert first != second


def test_an_affine_maf_of_one_block_has_the_closed_form_of_the_maf_paper() -> None:
    """log p(x) = sum of log N(x_i; m_i, exp(2 a_i)), with m and a from the dense masked weights."""
    model = models.maf(3, hidden=[7], blocks=1, degrees="sequential")
    (made,) = model.transform
    first, last = made.network.hidden_layers[0], made.network.output_layer
    x = torch.randn(10, 3)
    h = torch.relu(x @ first.dense_weight().T + first.bias)
    params = (h @ last.dense_weight().T + last.bias).view(10, 3, 2)
    mean, log_scale = params[..., 0], 5 * torch.tanh(params[..., 1] / 5)
    expected = torch.distributions.Normal(mean, log_scale.exp()).log_prob(x).sum(1)
    torch.testing.assert_close(model.log_prob(x), expected)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch, about itself
@pytest.mark.parametrize(
    "build", [lambda: models.planar(3), lambda: models.maf(3, hidden=[8], blocks=2, batch_norm=True)]
)
def test_log_prob_compiles_whole(build: object) -> None:
    model: Flow = build()
    calibrate(model, [torch.randn(50, 3)])
    model.eval()
    x = torch.randn(7, 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_an_untrained_model_without_batch_norm_is_usable_at_once() -> None:
    for model in (models.planar(2), models.maf(2)):
        assert torch.isfinite(model.eval().log_prob(model.sample(10))).all()


def test_samples_of_a_diverged_model_come_with_a_warning() -> None:
    model = models.maf(2, hidden=[4], blocks=1)
    with torch.no_grad():
        next(model.parameters()).fill_(math.inf)
    with pytest.warns(RuntimeWarning, match="of 5 samples are not finite"):
        model.sample(5)


def test_black_pictures_of_a_diverged_model_come_with_a_warning_too() -> None:
    model = Flow([Dequantise(256)], models.maf(2, hidden=[4], blocks=1))
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.warns(RuntimeWarning, match="of 5 samples are not finite"):
        model.sample(5)
    with pytest.raises(ValueError, match="the model has diverged"):
        samples.draw(model, data.DataSpec((2,), levels=256), 5, seed=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Flow([Standardise(1)], StandardNormal(3)),
        lambda: Flow([Planar(3)], StandardNormal(2)),
        lambda: Flow([Permutation(2), MaskedAutoregressive(3, [4])], StandardNormal(3)),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused_at_once(build: object) -> None:
    with pytest.raises(ValueError, match=r"was built for \d features; got \d"):
        build()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks must be at least 1"):
        models.planar(2, blocks=0)
    with pytest.raises(ValueError, match='order must be "alternating"'):
        models.maf(2, order="sideways")
    with pytest.raises(ValueError, match="batch_norm must be True"):
        models.maf(2, batch_norm="beside")
    with pytest.raises(ValueError, match=r"put Flatten\(\(1, 28, 28\)\) in front"):
        models.maf((1, 28, 28))
