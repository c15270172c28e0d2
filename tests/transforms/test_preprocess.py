"""Preprocessing is part of the density: no constant gets lost."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from marginflow.distributions import Flow, Uniform
from marginflow.transforms import Dequantise, Flatten, Logit
from marginflow.transforms.preprocess import dequantisation_noise


def test_a_uniform_model_over_256_levels_is_exactly_8_bits() -> None:
    model = Flow([Dequantise(256), Flatten((3, 4, 4))], base=Uniform(48))
    x = torch.randint(256, (10, 3, 4, 4), dtype=torch.uint8)
    bits = -model.log_prob(x) / (48 * math.log(2))
    torch.testing.assert_close(bits, torch.full((10,), 8.0))


def test_every_pixel_survives_dequantising_in_float32(single: None) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(1000, 1)
    layer = Dequantise(256)
    z, _ = layer(pixels)
    assert z.dtype == torch.float32
    assert 0 < z.min() <= z.max() < 1
    assert torch.equal(layer.inverse(z)[0], pixels)


def test_pixels_survive_the_logit_at_the_middle_of_their_level(single: None) -> None:
    pixels = torch.arange(256, dtype=torch.uint8)[None]
    for alpha in (1e-6, 0.05):
        z, _ = Logit(alpha)((pixels.float() + 0.5) / 256)
        assert torch.equal(Dequantise(256).inverse(Logit(alpha).inverse(z)[0])[0], pixels)


def test_noise_is_uniform() -> None:
    u = dequantisation_noise(torch.zeros(20_000), torch.float64)
    assert 0 < u.min() <= u.max() < 1
    assert stats.kstest(u.numpy(), "uniform").pvalue > 0.01


def test_logit_in_float32_is_precise_at_both_ends(single: None) -> None:
    x = torch.tensor([[1 / 2**21], [1 - 1 / 2**21], [0.5]])
    z, log_det = Logit(1e-6)(x)
    z64, log_det64 = Logit(1e-6)(x.double())
    torch.testing.assert_close(z.double(), z64, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det.double(), log_det64, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("x", [torch.rand(2, 4), torch.tensor([[1.0, 2.0]]), torch.tensor([[True, False]])])
def test_anything_but_grey_levels_is_refused(x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="whole grey levels as uint8"):
        Dequantise(256)(x)


def test_levels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must lie in 0 ... 16; got 0 ... 17"):
        Dequantise(17)(torch.tensor([[0, 17]], dtype=torch.uint8))


@pytest.mark.parametrize(
    "build", [lambda: Dequantise(1), lambda: Dequantise(257), lambda: Logit(0.5), lambda: Logit(-1)]
)
def test_bad_arguments_are_refused(build: object) -> None:
    with pytest.raises(ValueError, match="got"):
        build()


def test_flatten_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"built for events of shape \(1, 2, 2\)"):
        Flatten((1, 2, 2)).forward_shape(torch.Size([1, 2, 3]))
    with pytest.raises(ValueError, match="makes 4 features"):
        Flatten((1, 2, 2)).inverse_shape(torch.Size([5]))
