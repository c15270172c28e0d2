"""Standardise over sixty orders of magnitude, far from 0, and through every change of precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import marginflow as mf
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.transforms import Flatten, Logit, Permutation, Sequential, Standardise
from marginflow.transforms.calibrate import calibrate

SCALES = torch.tensor([1e-30, 1e-12, 1.0, 1e12, 1e30], dtype=torch.float64)
OFFSETS = torch.tensor([1e-21, -1e-3, 1e9, -1e21, 1e38], dtype=torch.float64)

MOVES: dict[str, Callable[[Standardise], torch.nn.Module]] = {
    "as it was calibrated": lambda layer: layer,
    "float": lambda layer: layer.float(),
    "to(float32)": lambda layer: layer.to(torch.float32),
    "double, then float": lambda layer: layer.double().float(),
    "a copy": lambda layer: copy.deepcopy(layer).float(),
    "a state that is loaded": lambda layer: loaded(layer, torch.float32),
    "a state that is assigned": lambda layer: loaded(layer, torch.float32, assign=True),
    "from the meta device": lambda layer: from_meta(layer),
}


def loaded(layer: Standardise, dtype: torch.dtype, assign: bool = False) -> Standardise:
    other = Standardise(len(SCALES)).to(dtype)
    other.load_state_dict(layer.state_dict(), assign=assign)
    return other


def from_meta(layer: Standardise) -> Standardise:
    with torch.device("meta"):
        other = Standardise(len(SCALES)).float()
    other.to_empty(device="cpu").load_state_dict(layer.state_dict())
    return other


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(500, len(SCALES)) * SCALES + OFFSETS


@pytest.mark.parametrize("how", MOVES)
def test_it_is_right_from_1e_30_to_1e30_in_float32(how: str, rows: torch.Tensor) -> None:
    layer = Standardise(len(SCALES)).float()
    calibrate(layer, rows.split(64))
    moved = MOVES[how](layer)
    z, log_det = moved(rows)
    deviation = rows.std(0, correction=0)
    assert z.dtype == log_det.dtype == torch.float32
    torch.testing.assert_close(z.double(), (rows - rows.mean(0)) / deviation, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(log_det.double(), -deviation.log().sum().expand(500), rtol=1e-6, atol=1e-4)
    assert isinstance(moved, Standardise)
    back, log_det_back = moved.inverse(z)
    assert back.dtype == torch.float64  # float32 has steps of 64 at 1e9
    assert float(((back - rows) / deviation).abs().max()) < 1e-6
    torch.testing.assert_close(log_det_back, -log_det)


def test_its_inverse_is_as_precise_as_the_model_where_that_holds_the_values() -> None:
    layer = Standardise(2).float()
    calibrate(layer, [torch.randn(100, 2) + 100])
    assert layer.inverse(torch.zeros(3, 2, dtype=torch.float32))[0].dtype == torch.float32
    assert layer.double().inverse(torch.zeros(3, 2))[0].dtype == torch.float64


@given(st.integers(-30, 30), st.floats(-1e3, 1e3), st.integers(0, 10_000))
def test_a_flow_has_the_density_of_the_rows_whatever_their_unit(exponent: int, offset: float, seed: int) -> None:
    """log p of rows in another unit is off by the logarithm of the unit, as the change of variables has it."""
    scale = 10.0**exponent
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    flows = [Flow([Standardise(2)], StandardNormal(2)).float() for _ in range(2)]
    calibrate(flows[0], [x])
    calibrate(flows[1], [(x + offset) * scale])
    expected = flows[0].log_prob(x).double() - 2 * torch.tensor(scale).double().log()
    torch.testing.assert_close(flows[1].log_prob((x + offset) * scale).double(), expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(
    ("transforms", "takes"),
    [
        ([Standardise(2)], True),
        ([Permutation(2), Standardise(2)], True),
        ([Sequential(Permutation(2)), Sequential(Standardise(2))], True),
        ([Logit(0.05), Standardise(2)], True),
        ([Permutation(2)], False),
        ([Logit(0.05)], False),
        ([], False),
    ],
)
def test_float64_goes_as_far_as_a_layer_that_hands_down_less(transforms: list[torch.nn.Module], takes: bool) -> None:
    model = Flow(transforms, base=mf.models.maf(2, hidden=[8])).float()
    assert model.takes_float64 is takes
    for layer in model.modules():
        if isinstance(layer, Standardise):
            layer.set_statistics(torch.zeros(2), torch.ones(2))
    x = torch.rand(4, 2, dtype=torch.float64)
    assert model.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(model.log_prob(x), model.log_prob(x.float()), atol=1e-5, rtol=1e-5)


def test_images_are_flattened_in_the_precision_of_the_rows() -> None:
    model = Flow([Flatten((1, 2, 2)), Standardise(4)], StandardNormal(4)).float()
    x = 1e9 + torch.randn(100, 1, 2, 2, dtype=torch.float64)
    calibrate(model, [x])
    expected = StandardNormal(4).log_prob((x.flatten(1) - x.flatten(1).mean(0)) / x.flatten(1).std(0, correction=0))
    log_prob = model.log_prob(x)
    assert log_prob.dtype == torch.float32
    scale = x.flatten(1).std(0, correction=0).log().sum()
    torch.testing.assert_close(log_prob.double(), expected - scale, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("single")
@pytest.mark.slow
def test_a_training_at_an_offset_is_that_at_0(tmp_path: Path) -> None:
    """Trained, evaluated, saved, loaded and sampled: the offset changes nothing but the samples' place."""
    found, sampled = [], []
    for offset in (0.0, 1e9):
        torch.default_generator.manual_seed(0)
        x = (torch.randn(2000, 3, dtype=torch.float64) * 2**20).round() / 2**20 + offset  # exact at both
        flow = mf.models.maf(5, hidden=[16], blocks=2)
        model = Flow([Standardise(3)], base=Marginalising(flow, StandardNormal(2)))
        mf.fit(model, x, mf.TrainConfig(epochs=3, lr=1e-2))
        again = mf.load(mf.save(model, tmp_path / f"{offset}.safetensors"))
        found.append(mf.evaluate(again, x, num_samples=10).raw_nll)
        torch.default_generator.manual_seed(1)
        sampled.append(mf.sample(again, 500).x.double() - offset)
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    torch.testing.assert_close(sampled[1], sampled[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-100, 1e-45, 1e-35, 1e35, 1e100])
def test_samples_of_any_scale_are_in_the_unit_of_the_rows(scale: float) -> None:
    """Float32 ends at 1e-45 and 3e38."""
    model = Flow([Standardise(1)], StandardNormal(1)).float()
    calibrate(model, [torch.randn(2000, 1) * scale])
    drawn = model.sample(2000).double()
    assert float(drawn.std() / scale) == pytest.approx(1, rel=0.1)
