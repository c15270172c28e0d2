"""Named models: densities that integrate to one, that can be trained, compiled and put in a marginalising flow."""

from __future__ import annotations

import math

import pytest
import torch

from marginflow import Marginalising, TrainConfig, data, evaluate, fit, log_likelihood, models
from marginflow.distributions import Flow, StandardLogistic, StandardNormal
from marginflow.evaluation.sample import sample_raw
from marginflow.transforms import BatchNorm, Dequantise, MaskedAutoregressive, Permutation, Planar, Standardise
from marginflow.transforms.calibrate import calibrate


def trained(model: Flow | Marginalising, epochs: int = 3) -> Flow | Marginalising:
    fit(model, data.load("half_moons", num_train=5000), TrainConfig(epochs=epochs, lr=2e-3))
    return model


def grid(reach: float, size: int) -> tuple[torch.Tensor, float]:
    line = torch.linspace(-reach, reach, size)
    return torch.cartesian_prod(line, line), (line[1] - line[0]).item() ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        lambda: models.planar(2),
        lambda: models.maf(2, hidden=[32], blocks=3),
        lambda: models.maf(2, hidden=[32], blocks=3, batch_norm=True, activation="tanh"),
        lambda: Marginalising(models.planar(3), StandardNormal(1)),
        lambda: models.radial(2),
        lambda: models.nice(2, hidden=[32]),
        lambda: models.realnvp(2, hidden=[32]),
        lambda: models.made_mog(2, hidden=[32]),
        lambda: models.maf(2, hidden=[16, 16, 16], blocks=2, residual=True),
        lambda: models.maf_mog(2, hidden=[32], blocks=2),
        lambda: models.iaf(2, hidden=[32], blocks=2),
        lambda: models.nsf(2, hidden=[32], blocks=2),
        lambda: models.nsf(2, hidden=[32], blocks=2, structure="coupling"),
        lambda: Marginalising(models.realnvp(3, hidden=[32]), models.diagonal_normal(1, context_features=2)),
    ],
)
def test_two_dimensional_densities_integrate_to_one_after_training(build: object) -> None:
    model = trained(build())
    x, area = grid(8, 400 if model.exact else 200)
    k = 1 if model.exact else 64
    total = log_likelihood(model, x, num_samples=k, chunk=200_000).log_prob.exp().sum() * area
    assert float(total) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["standard_normal", "diagonal_normal", "iaf"])
@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_is_marginalised_trained_and_estimated(name: str, noise: str) -> None:
    torch.default_generator.manual_seed(0)
    hidden = {} if name in ("planar", "radial") else {"hidden": [16]}
    seen = {} if noise == "standard_normal" else {"context_features": 2, "hidden": [8]}
    model = Marginalising(models.MODELS[name](4, **hidden), models.NOISES[noise](2, **seen))
    x = torch.randn(400, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.3]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 0.73]]))
    before = evaluate(model, x, num_samples=20)
    fit(model, x, TrainConfig(epochs=3, lr=1e-2, batch_size=50))
    after = log_likelihood(model, x, num_samples=20)
    assert -after.bound.mean() < before.bound.value
    assert (after.bound <= after.log_prob + 1e-9).all()
    assert after.log_prob.mean() < truth.log_prob(x).mean() + 0.1  # no density beats the true one by more than chance
    assert after.noise_entropy is not None
    assert model.sample(7).shape == (7, 2)


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


def params_by_hand(made: MaskedAutoregressive, x: torch.Tensor) -> torch.Tensor:
    """The parameters of each dimension, from the dense masked weights: (N, D, P)."""
    first, last = made.network.hidden_layers[0], made.network.output_layer
    h = torch.relu(x @ first.dense_weight().T + first.bias)
    return (h @ last.dense_weight().T + last.bias).view(*x.shape, -1)


def test_made_mog_has_the_closed_form_of_the_maf_paper() -> None:
    """log p(x) = sum of log of a mixture of Gaussians, by torch's own mixture."""
    model = models.made_mog(3, hidden=[7], components=4, degrees="sequential")
    (made,) = model.transform
    x = torch.randn(10, 3) * 2
    logits, means, raw = params_by_hand(made, x).chunk(3, -1)
    normals = torch.distributions.Normal(means + torch.linspace(-2, 2, 4), (7 * torch.tanh(raw / 7)).exp())
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits), normals)
    torch.testing.assert_close(model.log_prob(x), mixture.log_prob(x).sum(1))


def test_maf_mog_is_a_maf_over_a_made_mog() -> None:
    torch.default_generator.manual_seed(0)
    model = models.maf_mog(3, hidden=[8], blocks=2, components=3, batch_norm=True)
    calibrate(model, [torch.randn(50, 3)])
    model.eval()
    *maf, last = model.transform
    assert [type(each) for each in maf] == [MaskedAutoregressive, BatchNorm] * 2
    u = x = torch.randn(6, 3)
    log_det = torch.zeros(6)
    for each in maf:
        u, added = each(u)
        log_det = log_det + added
    torch.testing.assert_close(model.log_prob(x), Flow([last], StandardLogistic(3)).log_prob(u) + log_det)


def test_nice_keeps_the_volume_but_for_its_scaling() -> None:
    torch.default_generator.manual_seed(0)
    model = models.nice(4, hidden=[8], blocks=3)
    with torch.no_grad():
        model.transform[-1].log_scale.normal_()
    log_det = model.transform(torch.randn(6, 4))[1]
    torch.testing.assert_close(log_det, model.transform[-1].log_scale.sum().expand(6))


def test_couplings_let_each_feature_stay_by_turns() -> None:
    for model in (models.nice(5, hidden=[4]), models.realnvp(5, hidden=[4]), models.nsf(5, structure="coupling")):
        masks = [
            each.order.dimensions[: each.num_kept].tolist() for each in model.transform if hasattr(each, "num_kept")
        ]
        assert masks[:3] == [[0, 2, 4], [1, 3], [0, 2, 4]]


def test_iaf_is_maf_backwards() -> None:
    options = {"hidden": [8], "blocks": 2, "seed": 3}
    torch.default_generator.manual_seed(0)
    maf = models.maf(3, **options)
    torch.default_generator.manual_seed(0)
    iaf = models.iaf(3, **options)
    z = torch.randn(5, 3)
    x, log_det = z, torch.zeros(5)
    for layer in reversed(list(maf.transform)):  # each inverse of an iaf is the forward of a maf's layer
        x, added = layer(x)
        log_det = log_det + added
    torch.testing.assert_close(iaf.transform.inverse(z), (x, log_det))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch, about itself
@pytest.mark.parametrize(
    "build",
    [
        lambda: models.planar(3),
        lambda: models.radial(3),
        lambda: models.maf(3, hidden=[8], blocks=2, batch_norm=True),
        lambda: models.maf(3, hidden=[8, 8, 8], blocks=2, residual=True),
        lambda: models.realnvp(3, hidden=[8], blocks=2, batch_norm=True),
        lambda: models.nice(3, hidden=[8]),
        lambda: models.nsf(3, hidden=[8], blocks=2),
        lambda: models.nsf(3, hidden=[8], blocks=2, structure="coupling"),
        lambda: models.maf_mog(3, hidden=[8], blocks=1),
    ],
)
def test_log_prob_compiles_whole(build: object) -> None:
    model: Flow = build()
    calibrate(model, [torch.randn(50, 3)])
    model.eval()
    x = torch.randn(7, 3)
    torch._dynamo.reset()  # the same code was compiled for other models before
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_an_untrained_model_without_batch_norm_is_usable_at_once() -> None:
    for model in (function(2) for function in models.MODELS.values()):
        assert torch.isfinite(model.eval().log_prob(model.sample(10))).all()


@pytest.mark.parametrize("name", models.MODELS)
def test_no_row_is_no_trouble(name: str) -> None:
    model = models.MODELS[name](3, context_features=2)
    assert model.log_prob(torch.zeros(0, 3), torch.zeros(0, 2)).shape == (0,)
    assert model.sample(0, torch.zeros(0, 2)).shape == (0, 3)
    plain = models.MODELS[name](3)
    assert plain.log_prob(torch.zeros(0, 3)).shape == (0,)
    assert plain.sample(0).shape == (0, 3)


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
    with pytest.raises(FloatingPointError, match="the model has diverged"):
        sample_raw(model, data.DataSpec((2,), levels=256), 5, seed=0)


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
    with pytest.raises(ValueError, match="order must be one of alternating, "):
        models.maf(2, order="sideways")
    with pytest.raises(ValueError, match="batch_norm must be one of before, after, True or False"):
        models.maf(2, batch_norm="beside")
    for coupling in (models.nice, models.realnvp):
        with pytest.raises(ValueError, match="needs at least 2; got 1"):
            coupling(1)
    with pytest.raises(ValueError, match="structure must be one of autoregressive, coupling"):
        models.nsf(2, structure="ring")
    with pytest.raises(ValueError, match="these degrees hide all 3 dimensions"):
        models.maf(3, hidden=[2], degrees=[[0, 0]])
    with pytest.raises(ValueError, match=r"put Flatten\(\(1, 28, 28\)\) in front"):
        models.maf((1, 28, 28))
