"""Activation normalisation: it starts from data, once, however it is reached, and never again."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from registry import image_model
from torch import Tensor

from marginflow import Marginalising, TrainConfig, VariationalConfig, fit, fit_to_density, models
from marginflow.distributions import Flow, StandardNormal
from marginflow.transforms import ActNorm, BatchNorm, Dequantise, Flatten
from marginflow.transforms.calibrate import calibrate


def test_act_norms_start_where_each_gives_mean_0_and_variance_1() -> None:
    torch.default_generator.manual_seed(0)
    model = models.glow((1, 8, 8), blocks=2, hidden=[4])
    x = 3 * torch.randn(50, 1, 8, 8) + 7
    calibrate(model, [x])
    found: list[Tensor] = []
    for norm in (each for each in model.modules() if isinstance(each, ActNorm)):
        norm.register_forward_hook(lambda _, inputs, outputs: found.append(outputs[0]))
    model(x)
    assert len(found) == 4
    for z in found:
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(z.shape[1]), rtol=0, atol=1e-9)
        torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(z.shape[1]))


def test_one_batch_calibrates_in_one_pass_as_several_do_in_many() -> None:
    torch.default_generator.manual_seed(0)
    x = torch.randn(60, 1, 4, 4)
    once = models.maf_conv((1, 4, 4), hidden=[8], blocks=3)
    often = copy.deepcopy(once)
    calibrate(once, [x])
    calibrate(often, [x[:25], x[25:]])
    torch.testing.assert_close(once.state_dict(), often.state_dict())


def test_a_layer_that_is_passed_twice_starts_from_the_first_time() -> None:
    twice, once = ActNorm(2), ActNorm(2)
    x = 5 * torch.randn(100, 2) + 3
    calibrate(Flow([twice, twice, once], StandardNormal(2)), [x])
    for z in (twice(x)[0], once(twice(twice(x)[0])[0])[0]):
        torch.testing.assert_close((z.mean(0), z.var(0, correction=0)), (torch.zeros(2), torch.ones(2)))


@pytest.mark.filterwarnings("ignore:columns reach the density far", "ignore:the training has failed")  # on purpose
def test_act_norm_starts_once_and_never_again_after_loading() -> None:
    torch.default_generator.manual_seed(0)
    x = 2 * torch.randn(200, 1, 4, 4) + 1
    model = image_model("glow")
    norms = [each for each in model.modules() if isinstance(each, ActNorm)]
    assert all(norm.needs_statistics for norm in norms)
    fit(model, x, TrainConfig(epochs=1, lr=1e-9, batch_size=50))
    assert not any(norm.needs_statistics for norm in norms)
    assert all(bool((norm.shift != 0).all()) for norm in norms)
    loaded = image_model("glow")
    loaded.load_state_dict(model.state_dict())
    before = copy.deepcopy(loaded.state_dict())
    calibrate(loaded, [100 * x])
    torch.testing.assert_close(loaded.state_dict(), before, rtol=0, atol=0)
    fit(loaded, 100 * x, TrainConfig(epochs=1, lr=1e-9, batch_size=50))
    torch.testing.assert_close(loaded.state_dict(), before, rtol=1e-6, atol=1e-6)


def test_act_norm_starts_from_rows_of_everywhere_beside_batch_norm() -> None:
    """249 of 499 rows lie far from the others; batch norm in front has no statistics yet when training begins."""
    x = torch.cat([torch.randn(250, 2), 10 + torch.randn(249, 2)])
    for before in ([], [BatchNorm(2)]):
        norm = ActNorm(2)
        fit(Flow([*before, norm, BatchNorm(2)], StandardNormal(2)), x, TrainConfig(epochs=1, lr=1e-9))
        z = norm(x if not before else (x - x.mean(0)) / x.std(0))[0]
        torch.testing.assert_close(z.mean(0), torch.zeros(2), rtol=0, atol=0.2)
        torch.testing.assert_close(z.std(0), torch.ones(2), rtol=0.1, atol=0)


def test_act_norm_of_a_noise_model_beside_batch_norm_is_trained_from_the_identity() -> None:
    noise = models.glow((1, 4, 4), levels=1, blocks=1, hidden=[4], context_features=1)
    flow = models.maf(16, hidden=[8], blocks=1, batch_norm=True)
    model = Flow([Dequantise(5, noise), Flatten((1, 4, 4))], flow)
    pixels = torch.randint(5, (60, 1, 4, 4), dtype=torch.uint8)
    fit(model, pixels, TrainConfig(epochs=1, lr=1e-3, batch_size=20))
    (norm,) = (each for each in noise.modules() if isinstance(each, ActNorm))
    assert not norm.needs_statistics
    assert 0 < float(norm.shift.detach().abs().max()) < 0.1


def test_what_was_fitted_to_a_density_is_not_started_again() -> None:
    norm = ActNorm(2)
    flow = Flow([norm], StandardNormal(2))
    fit_to_density(flow, lambda x: -0.5 * (x - 3).square().sum(1), VariationalConfig(steps=200, lr=3e-2))
    shift = norm.shift.detach().clone()
    assert bool((shift < -2).all())
    fit(flow, torch.randn(100, 2), TrainConfig(epochs=1, lr=1e-9, batch_size=50))
    torch.testing.assert_close(norm.shift.detach(), shift, rtol=0, atol=1e-6)


def test_a_training_with_an_average_resumes_as_if_not_stopped(tmp_path: Path) -> None:
    x = 3 * torch.randn(80, 1, 4, 4, generator=torch.Generator().manual_seed(0)) + 2
    weights = []
    for stops in ((3,), (1, 3)):
        torch.default_generator.manual_seed(0)
        model = image_model("glow")
        for epochs in stops:
            config = TrainConfig(epochs=epochs, lr=1e-3, batch_size=20, ema=0.9)
            fit(model, x, config, tmp_path / str(len(stops)), resume=True)
        weights.append(model.state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_an_act_norm_that_no_data_reach_stays_the_identity() -> None:
    noise = image_model("glow", context_features=1)
    model = Marginalising(image_model("glow", 2), noise)
    calibrate(model, [torch.randn(20, 1, 4, 4)])
    with pytest.raises(ValueError, match="there are no batches"):
        calibrate(model, [])
    assert all(each.needs_statistics for each in noise.modules() if isinstance(each, ActNorm))
    assert not any(each.needs_statistics for each in model.flow.modules() if isinstance(each, ActNorm))
