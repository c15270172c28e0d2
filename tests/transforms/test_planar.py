"""Planar flows: always invertible, however strong."""

from __future__ import annotations

import pytest
import torch

from marginflow.transforms import Planar
from marginflow.transforms.planar import ACTIVATIONS, BOUND, _direction


def strong_planar(activation: str, features: int, scale: float) -> Planar:
    planar = Planar(features, activation)
    with torch.no_grad():
        for parameter in planar.parameters():
            parameter.normal_().mul_(scale)
    return planar


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_inverse_is_exact_for_strong_parameters(activation: str, scale: float) -> None:
    for _ in range(50):
        planar = strong_planar(activation, 5, scale)
        z = 5 * torch.randn(200, 5)
        with torch.no_grad():
            x, log_det = planar.inverse(z)
            again, forward_log_det = planar(x)
        torch.testing.assert_close(again, z, rtol=0, atol=1e-10)
        torch.testing.assert_close(forward_log_det, -log_det, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_constraint_holds_whatever_the_parameters(scale: float) -> None:
    for _ in range(100):
        planar = strong_planar("tanh", 4, scale)
        u_hat, w_u_hat, *_ = _direction(planar.u, planar.w)
        torch.testing.assert_close(planar.w @ u_hat, w_u_hat, rtol=1e-9, atol=1e-9)
        assert w_u_hat >= -BOUND


def test_constraint_is_tight_against_the_worst_u() -> None:
    planar = Planar(2)
    with torch.no_grad():
        planar.w.copy_(torch.tensor([1.0, 0.0]))
        planar.u.copy_(torch.tensor([-1000.0, 3.0]))
    u_hat, w_u_hat, *_ = _direction(planar.u, planar.w)
    torch.testing.assert_close(w_u_hat, torch.tensor(-BOUND))
    assert u_hat[1] == 3.0  # what is orthogonal to w stays


def test_direction_stays_finite_as_w_vanishes(single: None) -> None:
    for length in (1e-3, 1e-8, 1e-15):
        planar = Planar(2)
        with torch.no_grad():
            planar.w.copy_(torch.tensor([length, 0.0]))
            planar.u.copy_(torch.tensor([-0.3, 0.2]))
        u_hat, *_ = _direction(planar.u, planar.w)
        torch.testing.assert_close(u_hat, planar.u, rtol=0, atol=1e-3)


def test_no_bend_for_zero_u_and_finite_for_zero_w() -> None:
    planar = Planar(3)
    with torch.no_grad():
        planar.u.zero_()
    x = torch.randn(5, 3)
    z, log_det = planar(x)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(5))
    with torch.no_grad():
        planar.u.normal_()
        planar.w.zero_()
    assert all(torch.isfinite(each).all() for each in planar(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [1e-25, 1e-6, 0.3, 10.0])
def test_the_written_gradient_is_that_of_autograd(activation: str, scale: float) -> None:
    """Where w.u is above 0 and below, where w vanishes, and where the bend is 0."""
    for direction in (1, -1):
        planar = strong_planar(activation, 5, 1.0)
        with torch.no_grad():
            planar.w.mul_(scale)
            planar.u.copy_(direction * planar.u * torch.sign(planar.w @ planar.u))
            planar.b.zero_()
        x = torch.randn(7, 5).index_fill_(0, torch.tensor([2]), 0).requires_grad_()
        wanted = [x, *planar.parameters()]
        found, others = (torch.autograd.grad(energy(*outputs), wanted) for outputs in (planar(x), plain(planar, x)))
        torch.testing.assert_close(found, others, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_and_second_gradients_are_finite_differences(activation: str) -> None:
    planar, x = strong_planar(activation, 3, 1.0), torch.randn(4, 3, requires_grad=True)

    def of(x: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return planar.written(x, None)(x, None, *values)

    inputs = (x, *(each.detach().requires_grad_() for each in planar.tensors))
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


def test_no_rows_have_no_gradient() -> None:
    planar, x = strong_planar("tanh", 3, 1.0), torch.empty(0, 3, requires_grad=True)
    z, log_det = planar(x)
    assert (z.shape, log_det.shape) == ((0, 3), (0,))
    (z.sum() + log_det.sum()).backward()
    assert all(not parameter.grad.any() for parameter in planar.parameters())


def plain(planar: Planar, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return planar.written(x, None).plain(x, None, *planar.tensors)


def energy(z: torch.Tensor, log_det: torch.Tensor) -> torch.Tensor:
    return z.pow(3).sum() + log_det.square().sum()


def test_gradients_pass_through_the_inverse() -> None:
    planar = strong_planar("tanh", 3, 1.0)
    z = torch.randn(4, 3, requires_grad=True)

    def inverse(
        z: torch.Tensor, u: torch.Tensor, w: torch.Tensor, b: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        parameters = {"u": u, "w": w, "b": b}
        return torch.func.functional_call(Inverted(planar), {f"planar.{k}": v for k, v in parameters.items()}, (z,))

    class Inverted(torch.nn.Module):
        def __init__(self, planar: Planar) -> None:
            super().__init__()
            self.planar = planar

        def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.planar.inverse(z)

    assert torch.autograd.gradcheck(inverse, (z, planar.u, planar.w, planar.b))


@pytest.mark.parametrize(("features", "activation"), [(0, "tanh"), (2, "relu")])
def test_bad_arguments_are_refused(features: int, activation: str) -> None:
    with pytest.raises(ValueError, match=r"at least 1|must be one of tanh"):
        Planar(features, activation)
