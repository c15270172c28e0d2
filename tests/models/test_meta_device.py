"""Models whose sizes come first and whose weights come later: on the meta device, and off it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from registry import DISTRIBUTIONS, TRANSFORMS, build_distribution, build_transform
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from marginflow.base.distribution import Distribution

READ_VALUES = ("flow with batch norm", "from torch", "from elsewhere", "from elsewhere, with context")  # when built
NAMES = [name for name in DISTRIBUTIONS if name not in READ_VALUES]


def given(name: str, rows: int = 4) -> tuple[Tensor, ...]:
    x, context = DISTRIBUTIONS[name].x(rows), DISTRIBUTIONS[name].context(rows)
    return (x,) if context is None else (x, context)


def on_meta(name: str, _: Distribution) -> Distribution:
    with torch.device("meta"):
        return build_distribution(name).eval()


def moved(_: str, model: Distribution) -> Distribution:
    return copy.deepcopy(model).to("meta")


def with_memory(empty: Distribution, weights: dict[str, Tensor]) -> None:
    empty.to_empty(device="cpu")
    empty.load_state_dict(weights)


def assigned(empty: Distribution, weights: dict[str, Tensor]) -> None:
    empty.load_state_dict(weights, assign=True)


Build, Load = Callable[[str, Distribution], Distribution], Callable[[Distribution, dict[str, Tensor]], None]


@pytest.mark.parametrize(("build", "load"), [(on_meta, with_memory), (on_meta, assigned), (moved, with_memory)])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_memory_is_given_it_later(name: str, build: Build, load: Load) -> None:
    model, args = build_distribution(name).eval(), given(name)
    later = build(name, model)
    without = later(*(each.to("meta") for each in args))
    assert without.is_meta
    assert without.shape == (4,)
    assert list(later.state_dict()) == list(model.state_dict())
    load(later, model.state_dict())
    for (key, mine), (_, expected) in zip(later.named_buffers(), model.named_buffers(), strict=True):
        assert torch.equal(mine, expected), key
    torch.default_generator.manual_seed(1)
    expected = model(*args)
    torch.default_generator.manual_seed(1)
    assert torch.equal(later(*args), expected)
    assert later.sample(2, *(each[:2] for each in args[1:])).shape == (2, *args[0].shape[1:])


@pytest.mark.parametrize("name", NAMES)
def test_memory_renewed_in_place_and_copies_keep_the_constants(name: str) -> None:
    """`to_empty` on the CPU itself, copies, another precision and shared memory."""
    model, args = build_distribution(name).eval(), given(name)
    weights = copy.deepcopy(model.state_dict())
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    for again in (
        copy.deepcopy(model),
        copy.deepcopy(model).float().to(torch.get_default_dtype()),
        copy.deepcopy(model).share_memory(),
    ):
        assert all(torch.equal(buffer, buffers[key]) for key, buffer in again.named_buffers())
    renewed = copy.deepcopy(model).to_empty(device="cpu")
    renewed.load_state_dict(weights)
    torch.default_generator.manual_seed(1)
    expected = model(*args)
    torch.default_generator.manual_seed(1)
    assert torch.equal(renewed(*args), expected)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if "freia" not in name and "another" not in name])
def test_every_transform_is_built_on_meta(name: str) -> None:
    if name in ("batch norm", "batch norm of images", "standardise", "standardise images"):
        pytest.skip("takes statistics, whose values it reads")
    with torch.device("meta"):
        transform = build_transform(name)
    assert all(each.is_meta for each in transform.parameters())
    x, context = TRANSFORMS[name].x(3).to("meta"), TRANSFORMS[name].context(3)
    z, log_det = transform(x, None if context is None else context.to("meta"))
    assert z.is_meta
    assert log_det.shape == (3,)


@pytest.mark.parametrize("name", ["maf flow", "realnvp flow", "nsf flow", "planar flow", "glow image flow"])
def test_fake_tensors_go_through(name: str) -> None:
    model, args = build_distribution(name).eval(), given(name)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        weights = {key: mode.from_tensor(each) for key, each in model.named_parameters()}
        fake = torch.func.functional_call(model, weights, tuple(mode.from_tensor(each) for each in args))
    assert type(fake).__name__ == "FakeTensor"
    assert fake.shape == (4,)
