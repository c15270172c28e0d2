"""The solver against equations with known roots and gradients."""

from __future__ import annotations

import torch

from marginflow.transforms.roots import solve_increasing


def test_roots_of_a_hard_function_in_wide_brackets() -> None:
    x = torch.linspace(-9, 9, 1001)

    def steep(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = torch.tanh(50 * x)
        return x * 1e-3 + t, 1e-3 + 50 * (1 - t.square())

    target, _ = steep(x)
    found = solve_increasing(steep, target, torch.full_like(x, -1e4), torch.full_like(x, 1e4))
    torch.testing.assert_close(steep(found)[0], target, rtol=0, atol=1e-13)


def test_gradient_is_that_of_the_implicit_function() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    target = torch.tensor([5.0, 40.0], requires_grad=True)

    def root(scale: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        low, high = torch.zeros(2), torch.full((2,), 10.0)
        return solve_increasing(lambda x: (scale * x**3, 3 * scale * x**2), target, low, high)

    torch.testing.assert_close(root(scale, target), (target / scale) ** (1 / 3))
    assert torch.autograd.gradcheck(root, (scale, target))


def test_float32_ends_at_its_own_precision() -> None:
    target = torch.linspace(-3, 3, 101, dtype=torch.float32)
    found = solve_increasing(lambda x: (x + x**3, 1 + 3 * x**2), target, target.abs() * -2 - 1, target.abs() * 2 + 1)
    torch.testing.assert_close(found + found**3, target, rtol=0, atol=1e-6)
