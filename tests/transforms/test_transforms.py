"""The battery that every transform of the registry goes through."""

from __future__ import annotations

import copy

import pytest
import torch
from registry import TRANSFORMS, build_transform, concrete_classes
from torch import Tensor

from marginflow.base.transform import Transform

N = 6
NAMES = list(TRANSFORMS)
EXACT = [name for name in NAMES if build_transform(name).exact]


def rows(name: str, n: int = N) -> tuple[Tensor, Tensor | None]:
    torch.default_generator.manual_seed(1)
    return TRANSFORMS[name].x(n), TRANSFORMS[name].context(n)


def test_every_concrete_transform_is_in_the_registry() -> None:
    covered = {type(module) for name in NAMES for module in build_transform(name).modules()}
    missing = concrete_classes(Transform) - covered
    assert not missing, f"not in the registry: {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    z, log_det = transform(x, context)
    assert log_det.shape == (N,)
    assert z.shape[1:] == transform.forward_shape(x.shape[1:])
    assert transform.inverse_shape(z.shape[1:]) == x.shape[1:]


@pytest.mark.parametrize("name", NAMES)
def test_inverse_undoes_forward(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    back, log_det = transform.inverse(transform(x, context)[0], context)
    assert log_det.shape == (N,)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_forward_undoes_inverse_and_log_dets_cancel(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    z, log_det = transform(x, context)
    back, inverse_log_det = transform.inverse(z, context)
    torch.testing.assert_close(transform(back, context)[0], z, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", EXACT)
def test_log_det_is_that_of_the_jacobian(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    _, log_det = transform(x, context)
    for i in range(N):
        given = None if context is None else context[i : i + 1]

        def flat(row: Tensor, given: Tensor | None = given) -> Tensor:
            return transform(row.reshape(1, *x.shape[1:]), given)[0].flatten()

        jacobian = torch.autograd.functional.jacobian(flat, x[i].flatten())
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[i], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name, 64)
    z, log_det = transform(x, context)
    if not z.requires_grad:
        assert not list(transform.parameters())
        return
    (z.square().sum() + log_det.square().sum()).backward()
    for key, parameter in transform.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.numel() == 0 or parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_context_matters_where_it_is_declared_and_only_there(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    declared = TRANSFORMS[name].context_features
    assert transform.context_features == declared
    if declared:
        assert context is not None
        with torch.no_grad():
            difference = transform(x, context)[0] - transform(x, context + 1)[0]
        assert (difference.abs() > 1e-9).any(0).all(), "a dimension that no context reaches"
        with pytest.raises(ValueError, match="context"):
            transform(x)
        with pytest.raises(ValueError, match="context"):
            transform(x, context[:, :-1])
        with pytest.raises(ValueError, match="context"):
            transform(x, context[:-1])
    elif transform.exact:
        torch.testing.assert_close(transform(x, torch.randn(N, 3))[0], transform(x)[0])


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_saving_and_copying(name: str) -> None:
    transform, other = build_transform(name), build_transform(name, seed=5)
    x, context = rows(name)
    other.load_state_dict(transform.state_dict())
    for twin in (other, copy.deepcopy(transform)):
        torch.default_generator.manual_seed(2)
        expected = transform(x, context)
        torch.default_generator.manual_seed(2)
        actual = twin(x, context)
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_is_as_good_as_many(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    z, log_det = transform(x[:1], None if context is None else context[:1])
    assert len(z) == len(log_det) == 1
    if transform.exact:
        torch.testing.assert_close((z, log_det), tuple(each[:1] for each in transform(x, context)))


@pytest.mark.parametrize("name", EXACT)
def test_float32_stays_close_to_float64(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    x = x.float().double()  # the same rows in both
    context = None if context is None else context.float().double()
    transform.float().double()  # the same weights in both
    z, log_det = transform(x, context)
    single = copy.deepcopy(transform).float()
    given = None if context is None else context.float()
    z32, log_det32 = single(x.float(), given)
    assert z32.dtype == log_det32.dtype == torch.float32
    torch.testing.assert_close(z32.double(), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_det32.double(), log_det, rtol=1e-4, atol=1e-4)
    back, _ = single.inverse(z32, given)
    assert torch.isfinite(back).all()
    torch.testing.assert_close(back.double(), x, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", [name for name in EXACT if "inverse of planar" not in name])
def test_nothing_stays_on_the_cpu_when_a_transform_moves(name: str) -> None:
    """The meta device stands for any other: a tensor left behind would be an error."""
    transform = build_transform(name).to("meta")
    x, context = rows(name)
    z, log_det = transform(x.to("meta"), None if context is None else context.to("meta"))
    assert z.device.type == log_det.device.type == "meta"


@pytest.mark.parametrize("name", [name for name in EXACT if build_transform(name).features])
def test_another_width_is_refused(name: str) -> None:
    transform = build_transform(name)
    x, context = rows(name)
    with pytest.raises(ValueError, match=r"was built for \d+ features; got"):
        transform(torch.cat([x, x], 1), context)
    with pytest.raises(ValueError, match=r"was built for \d+ features; got"):
        transform.inverse(torch.cat([x, x], 1), context)
