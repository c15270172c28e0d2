"""Flows of images: what each layer does to pixels, and that models sample at once, train and return every pixel."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from registry import SMALL_IMAGE_MODELS, image_model
from rich.console import Console
from torch import Tensor

from marginflow import Marginalising, TrainConfig, data, evaluate, fit, models
from marginflow.base.devices import rows_at_once
from marginflow.base.transform import Transform
from marginflow.distributions import Flow, StandardLogistic, StandardNormal, Uniform
from marginflow.models.images import checkerboard, half
from marginflow.nets import ConvNet, GatedConvNet
from marginflow.report.tables import accounting_table
from marginflow.training.recompute import recomputing
from marginflow.transforms import (
    ActNorm,
    Conv1x1,
    Coupling,
    Dequantise,
    FactorOut,
    Flatten,
    Inverse,
    Logit,
    Planar,
    Squeeze,
)


def test_squeeze_makes_channels_of_patches() -> None:
    x = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    z, _ = Squeeze()(x)
    assert z.shape == (1, 8, 2, 3)
    for i, j, c in ((0, 0, 1), (0, 1, 0), (1, 0, 1), (1, 1, 0)):
        torch.testing.assert_close(z[0, (2 * i + j) * 2 + c], x[0, c, i::2, j::2])
    assert set(z.flatten(1)[0].tolist()) == set(x.flatten(1)[0].tolist())


def changed_pixels(coupling: Transform, image: Tensor) -> Tensor:
    """Which pixels a coupling behind a Squeeze changes: (H, W)."""
    squeezed, _ = Squeeze()(image)
    z, _ = Inverse(Squeeze())(coupling(squeezed)[0])
    return (z != image).any(1)[0]


def test_masks_of_squeezed_channels_are_checkerboards_and_rows_of_pixels() -> None:
    image = torch.randn(1, 3, 4, 4)
    rows, columns = torch.arange(4)[:, None], torch.arange(4)
    for mask, changes in (
        (checkerboard(12), (rows + columns) % 2 == 1),
        (checkerboard(12, white_stays=False), (rows + columns) % 2 == 0),
        (half(12), (rows % 2 == 1).expand(4, 4)),
        (half(12, first_stays=False), (rows % 2 == 0).expand(4, 4)),
    ):
        network = ConvNet(6, 12, [4])
        torch.nn.init.normal_(network.layers[-1].weight)
        assert torch.equal(changed_pixels(Coupling(mask, network), image), changes)


def test_couplings_of_realnvp_alternate_their_masks_and_compute_nothing_for_what_stays() -> None:
    level = list(models.realnvp_images((2, 8, 8), hidden=[4]).transform)
    couplings = [each for each in level if isinstance(each, Coupling)]
    kept = [set(each.order.dimensions[: each.num_kept].tolist()) for each in couplings]
    assert kept == [{0, 1, 6, 7}, {2, 3, 4, 5}, {0, 1, 6, 7}, {0, 1, 2, 3}, {4, 5, 6, 7}, {0, 1, 2, 3}]
    assert all(each.conditioner.out_features == 2 * each.num_transformed for each in couplings)


def test_the_parts_of_multiscale_models() -> None:
    outer = models.glow((1, 8, 8), levels=2, blocks=2, hidden=[4]).transform
    kinds = [type(each) for each in outer]
    assert kinds == [Squeeze, *[ActNorm, Conv1x1, Coupling] * 2, Coupling, FactorOut, Inverse]
    leaving = outer[-2]
    assert isinstance(leaving, FactorOut)
    assert (leaving.going_on, leaving.leaving) == (2, 2)
    x = torch.randn(3, 1, 8, 8)
    last = Squeeze()(outer(x)[0])[0]
    before = x
    for each in list(outer)[:-2]:
        before, _ = each(before)
    torch.testing.assert_close(last[:, 2:], before[:, 2:], rtol=0, atol=0)  # what left is as it was


@pytest.mark.parametrize("name", ["realnvp_images", "glow"])
def test_scales_are_bounded_as_asked(name: str) -> None:
    """With parameters however large, a coupling scales by exp(bound) at most."""
    model = models.IMAGE_MODELS[name]((1, 8, 8), **SMALL_IMAGE_MODELS[name], bound=0.5)
    couplings = [each for each in model.transform if isinstance(each, Coupling)]
    coupling = couplings[0]
    torch.nn.init.constant_(coupling.conditioner.layers[-1].bias, 1e3)
    _, log_det = coupling(torch.randn(3, 4, 4, 4))
    torch.testing.assert_close(log_det, torch.full((3,), -0.5 * 2 * 16))


def test_every_1x1_convolution_starts_from_a_seed_of_its_own() -> None:
    """Level by level: seed, seed + 1, seed + 2, ..."""
    model = models.glow((1, 8, 8), levels=2, blocks=2, hidden=[4], seed=5)
    found = [each.weight() for each in model.modules() if isinstance(each, Conv1x1)]
    expected = [Conv1x1(len(weight), seed=5 + k).weight() for k, weight in enumerate(found)]
    assert [len(weight) for weight in found] == [4, 4, 8, 8]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_what_leaves_a_level_is_normal_given_what_stays() -> None:
    """The learned prior against the density of a normal whose mean and scale the convolution gives."""
    prior = [each for each in models.glow((1, 4, 4), blocks=1, hidden=[4]).transform if isinstance(each, Coupling)][-1]
    torch.nn.init.normal_(prior.conditioner.layers[-1].weight, std=0.2)
    x = torch.randn(5, 4, 2, 2)
    z, log_det = prior(x)
    params = prior.conditioner(x[:, :2]).view(5, 2, 2, 2, 2)
    truth = torch.distributions.Normal(params[:, :, 0], torch.exp(5 * torch.tanh(params[:, :, 1] / 5)))
    expected = truth.log_prob(x[:, 2:]).sum((1, 2, 3)) + StandardNormal((2, 2, 2)).log_prob(x[:, :2])
    torch.testing.assert_close(StandardNormal((4, 2, 2)).log_prob(z) + log_det, expected)


def test_a_1x1_convolution_is_a_matrix_at_every_pixel() -> None:
    conv, x = Conv1x1(5, seed=3), torch.randn(2, 5, 3, 4)
    identity = torch.eye(5)
    torch.testing.assert_close(conv.weight() @ conv.weight().T, identity)  # it starts orthogonal
    with torch.no_grad():
        conv.factors.add_(0.3 * torch.randn(5, 5))
    torch.testing.assert_close(conv.weight() @ conv.inverse_weight(), identity)
    z, log_det = conv(x)
    torch.testing.assert_close(z, torch.nn.functional.conv2d(x, conv.weight()[..., None, None]))
    torch.testing.assert_close(log_det, 12 * torch.linalg.slogdet(conv.weight()).logabsdet.expand(2))
    assert not torch.equal(Conv1x1(5, seed=4).weight(), Conv1x1(5, seed=3).weight())


@pytest.mark.parametrize("name", SMALL_IMAGE_MODELS)
def test_a_new_model_samples_before_any_forward_call_and_remembers_nothing(name: str) -> None:
    model = models.IMAGE_MODELS[name]((2, 8, 4), **SMALL_IMAGE_MODELS[name])
    assert model.event_shape == (2, 8, 4)
    weights = copy.deepcopy(model.state_dict())
    attributes = [set(vars(module)) for module in model.modules()]
    assert model.sample(3).shape == (3, 2, 8, 4)
    model(torch.randn(5, 2, 8, 4))
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    assert [set(vars(module)) for module in model.modules()] == attributes


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", SMALL_IMAGE_MODELS)
def test_every_pixel_returns(single: None, name: str, trained: bool) -> None:
    """uint8 -> z -> uint8 at u = 1/2, in float32."""
    torch.default_generator.manual_seed(0)
    images = data.load("digits")
    model = Flow([Dequantise(17), Logit(0.05)], models.IMAGE_MODELS[name]((1, 8, 8), **SMALL_IMAGE_MODELS[name]))
    if trained:
        fit(model, images, TrainConfig(epochs=3, lr=5e-3, clip_norm=10.0))
    model.eval()
    pixels = images.test.x[:]
    with torch.no_grad():
        x = model.transform[1]((pixels + 0.5) / 17)[0]
        back, _ = model.transform.inverse(model.base.transform.inverse(model.base.transform(x)[0])[0])
    assert torch.equal(back, pixels)


@pytest.mark.parametrize("levels", [2, 17, 200, 256])
def test_modelled_dequantisation_noise_never_leaves_its_level(single: None, levels: int) -> None:
    noise = StandardNormal((1, 4, 4))
    pixels = torch.full((200, 1, 4, 4), levels - 1, dtype=torch.uint8)
    pixels[:100] = 0
    transform = Dequantise(levels, noise)
    z, _ = transform(pixels)
    assert torch.equal(transform.inverse(z)[0], pixels)
    for shift in (-1e3, 1e3):  # as far out as a model may draw
        far = ActNorm(1)
        with torch.no_grad():
            far.shift.fill_(shift)
        transform = Dequantise(levels, Flow([far], noise))
        assert torch.equal(transform.inverse(transform(pixels)[0])[0], pixels)


def test_modelled_dequantisation_weighs_its_noise() -> None:
    """E[exp(log_det)] over u ~ q is the volume of a grey level to the power D, whatever q is, but for its two edges."""
    torch.default_generator.manual_seed(0)
    model = image_model("realnvp_images", context_features=1, levels=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)  # the tamer, the more can be told from a mean of weights
    noise = Flow(model.transform, StandardLogistic((1, 4, 4)))  # whose tails are those of a uniform u
    pixels = torch.randint(5, (1, 1, 4, 4), dtype=torch.uint8)
    _, log_det = Dequantise(5, noise)(pixels.expand(20_000, -1, -1, -1))
    weights = torch.exp(log_det + 16 * math.log(5))
    width = (1 - 2**-12) ** 16
    assert abs(weights.mean() - width) < 5 * weights.std() / len(weights) ** 0.5
    assert 0.1 < weights.std() < 2  # it tells, and the mean can be trusted


def test_the_accounting_says_where_dequantisation_is_modelled() -> None:
    pixels = torch.randint(5, (30, 1, 4, 4), dtype=torch.uint8)
    spec = data.DataSpec((1, 4, 4), levels=5)
    for noise in (None, image_model("realnvp_images", levels=1, context_features=1)):
        model = Flow([Dequantise(5, noise), Logit(0.05)], image_model("glow"))
        result = evaluate(model, pixels, spec=spec)
        assert (result.exact, result.modelled_dequantisation) == (True, noise is not None)
        console = Console(width=200)
        with console.capture() as shown:
            console.print(accounting_table({"glow": result}))
        assert ("exactly, at one draw of u" in shown.get()) == (noise is not None)


def test_modelled_dequantisation_sees_the_pixels() -> None:
    torch.default_generator.manual_seed(0)
    transform = Dequantise(5, image_model("realnvp_images", context_features=1, levels=1))
    dark = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    torch.default_generator.manual_seed(1)
    u = transform(dark)[0] * 5
    torch.default_generator.manual_seed(1)
    of_bright = transform(dark + 4)[0] * 5 - 4
    assert ((u - of_bright).abs() > 1e-6).all()


def test_attention_reaches_every_pixel_and_convolutions_their_neighbours() -> None:
    torch.default_generator.manual_seed(0)
    x = torch.randn(1, 2, 12, 12)
    for heads, everywhere in ((2, True), (0, False)):
        network = GatedConvNet(2, 3, (12, 12), width=8, blocks=1, heads=heads)
        torch.nn.init.normal_(network.output.weight)
        other = x.clone()
        other[0, 0, 0, 0] += 1
        changed = (network(x) - network(other)).abs().amax(1)[0] > 1e-12
        assert bool(changed.all()) == everywhere
        assert bool(changed[:3, :3].all())


def test_dropout_is_left_out_in_evaluation_and_has_no_inverse_in_training() -> None:
    model = image_model("flowpp", dropout=0.5)
    x = torch.randn(3, 1, 4, 4)
    assert not torch.equal(model.train()(x), model(x))
    with pytest.raises(ValueError, match="dropout is random"):
        model.sample(2)
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize("name", ["realnvp_images", "glow", "flowpp"])
def test_new_couplings_do_not_see_their_context_yet(name: str) -> None:
    """All start at zero, the learned prior too, whose only layer meets the context at once."""
    model = models.IMAGE_MODELS[name]((1, 8, 8), **SMALL_IMAGE_MODELS[name], context_features=3)
    x, context = torch.randn(4, 1, 8, 8), torch.randn(4, 3)
    torch.testing.assert_close(model(x, context), model(x, context + 1), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["realnvp_images", "glow", "flowpp"])
def test_an_image_can_be_the_context_at_every_level(name: str) -> None:
    torch.default_generator.manual_seed(0)
    model = models.IMAGE_MODELS[name]((1, 8, 8), **SMALL_IMAGE_MODELS[name], context_features=3)
    for module in model.modules():
        if isinstance(module, ConvNet | GatedConvNet):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    x, context = torch.randn(4, 1, 8, 8), torch.randn(4, 3, 8, 8)
    z, log_det = model.transform(x, context)
    back, inverse = model.transform.inverse(z, context)
    torch.testing.assert_close((back, inverse), (x, -log_det))
    with pytest.raises(ValueError, match="or an image of 8 x 8"):
        model(x, context[..., :4])


def test_a_context_beside_an_image_is_a_vector_or_of_its_size() -> None:
    torch.default_generator.manual_seed(0)
    noise = image_model("realnvp_images", context_features=1 + 2, levels=1)
    model = Marginalising(image_model("glow", 2, context_features=2), noise)
    x = torch.randn(3, 1, 4, 4)
    for context in (torch.randn(3, 2), torch.randn(3, 2, 4, 4)):
        assert torch.isfinite(model(x, context)).all()
    with pytest.raises(ValueError, match=r"must be a vector or an image of their size; got shape \(3, 2, 2, 2\)"):
        model(x, torch.randn(3, 2, 2, 2))


def test_rows_of_images_go_through_in_smaller_portions() -> None:
    assert rows_at_once(models.planar(2)) == 4096
    assert rows_at_once(models.maf_local((1, 32, 32), hidden=[8], blocks=1)) == 250  # of 64 patches
    assert rows_at_once(models.maf_local((1, 8, 8), hidden=[8], blocks=1)) == 4000  # of 4
    assert rows_at_once(Flow([Dequantise(17)], image_model("glow"))) == 250
    assert rows_at_once(Flow([Dequantise(17, image_model("glow")), Flatten((1, 4, 4))], models.maf(16))) == 250


def kept_by_the_graph(call: Callable[[], object]) -> int:
    """How many numbers a call keeps for its gradient."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        call()
    return sum(kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_IMAGE_MODELS)
def test_recomputing_changes_no_weight_and_keeps_less(name: str) -> None:
    """In the flow, and in the noise model, from which training draws."""
    x = torch.randn(120, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    weights, of_flow, of_noise = [], [], []
    for on in (False, True):
        torch.default_generator.manual_seed(0)
        noise = image_model("glow", 1, context_features=1)
        model = Marginalising(image_model(name, 2, dropout=0.2), noise)
        fit(model, x, TrainConfig(epochs=2, lr=1e-3, batch_size=20, checkpoint=on))
        weights.append(model.state_dict())
        assert not any(getattr(module, "recompute", False) for module in model.modules())
        with recomputing(model, on):
            of_flow.append(kept_by_the_graph(lambda m=model: m.flow.log_prob(torch.randn(120, 2, 4, 4))))
            of_noise.append(kept_by_the_graph(lambda q=noise: q.sample_and_log_prob(120, x)))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    hidden_like_image = name == "maf_conv"
    assert of_flow[1] < (0.85 if hidden_like_image else 0.6) * of_flow[0]
    assert of_noise[1] < 0.96 * of_noise[0]  # its layers are hardly wider than its images either


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Squeeze()(torch.randn(1, 1, 5, 4)), r"multiples of 2; got 5 x 4: pad or crop"),
        (lambda: Inverse(Squeeze())(torch.randn(1, 6, 2, 2)), r"a multiple of 4; got 6"),
        (lambda: Squeeze()(torch.randn(3, 4)), r"works on images \(C, H, W\); got the event shape \(4,\)"),
        (lambda: Squeeze(0), "at least 1; got 0"),
        (lambda: models.glow((1, 28, 28), levels=3), r"multiples of 8; got 28 x 28: at most levels=2 fits"),
        (lambda: models.realnvp_images((3, 7, 8)), r"multiples of 4; got 7 x 8: pad or crop them to even sides"),
        (lambda: models.flowpp(5), r"flowpp works on images"),
        (lambda: models.maf_conv((1, 9, 9)), r"patch must divide both sides of the images, 9 x 9; got patch=2"),
        (lambda: models.glow((1, 8, 8), levels=0), "at least 1; got 0"),
        (lambda: models.flowpp((1, 8, 8), depth=0), "depth must be at least 1; got 0"),
        (lambda: GatedConvNet(1, 1, (8, 8), width=8)(torch.randn(1, 1, 4, 4)), "built for images of 8 x 8 pixels"),
        (
            lambda: Dequantise(17, image_model("glow", context_features=3)).forward_shape(torch.Size([1, 4, 4])),
            "sees x",
        ),
        (lambda: models.flowpp((1, 8, 8), width=30, heads=4), "heads must divide the width of 30; got 4"),
        (lambda: ConvNet(1, 1, kernel=2), "kernel must be an odd number"),
        (lambda: FactorOut(3, 3, Planar(3)), "between 1 and 2 may"),
        (
            lambda: FactorOut(4, 2, Squeeze()).forward_shape(torch.Size([4, 2, 2])),
            "end with the inverse of each Squeeze",
        ),
        (
            lambda: models.glow((3, 8, 8))(torch.randn(2, 1, 8, 8)),
            r"\(N, 3, 8, 8\), .* got \(2, 1, 8, 8\): convert the images",
        ),
        (lambda: Dequantise(17)(torch.full((1, 1, 2, 2), 17, dtype=torch.uint8)), r"0 ... 16; got 17"),
        (
            lambda: Dequantise(17, Uniform((1, 4, 4)))(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)),
            r"noise was built for shape \(1, 4, 4\)",
        ),
        (lambda: Dequantise(17, torch.nn.Linear(1, 1)), "exact distribution with the shape of the images"),
        (lambda: models.iaf((1, 8, 8)), "iaf works on vectors"),
    ],
)
def test_bad_input_is_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
