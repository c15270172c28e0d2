"""One solver for increasing scalar equations: bracketed, batched, differentiable."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ValueAndSlope = Callable[[Tensor], tuple[Tensor, Tensor]]
State = tuple[Tensor | int, Tensor, Tensor, Tensor, Tensor]  # steps so far, x, the last step, the bracket


@torch.no_grad()
def _bracketed(function: ValueAndSlope, target: Tensor, low: Tensor, high: Tensor, steps: int) -> Tensor:
    """Newton's method, with bisection where a step would leave the bracket or would not halve the step before."""
    tolerance = 2 * torch.finfo(target.dtype).eps

    def unfinished(count: Tensor | int, x: Tensor, step: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return (step.abs() > tolerance * x.abs()).any() & (count < steps)

    def further(count: Tensor | int, x: Tensor, step: Tensor, low: Tensor, high: Tensor) -> State:
        value, slope = function(x)
        residual = value - target
        low = torch.where(residual <= 0, x, low)
        high = torch.where(residual >= 0, x, high)
        newton = x - residual / slope
        trusted = (newton >= low) & (newton <= high) & ((newton - x).abs() <= 0.5 * step.abs())
        following = torch.where(trusted, newton, 0.5 * (low + high))
        return count + 1, following, following - x, low, high

    if torch.compiler.is_compiling():  # the loop becomes a part of the graph; none of its state may be another's memory
        count = torch.zeros((), dtype=torch.long, device=target.device)
        state = count, 0.5 * (low + high), high - low, low.clone(), high.clone()
        return torch.while_loop(unfinished, further, state)[1]
    state = 0, 0.5 * (low + high), high - low, low, high
    while not target.is_meta and bool(unfinished(*state)):
        state = further(*state)
    return state[1]


def solve_increasing(function: ValueAndSlope, target: Tensor, low: Tensor, high: Tensor, *, steps: int = 200) -> Tensor:
    """The x in [low, high] with function(x) = target, for an increasing function.

    function: x -> (value, slope), elementwise; may close over tensors that need gradients.
    target, low, high: tensors of one shape; every root must lie in its bracket.

    The gradient is that of the implicit function theorem, dx = (d target - d function) / slope, whatever
    the solver did on its way: one Newton step from the detached root carries it. Where the function is as good as
    flat and the step would leave the bracket, it carries the gradient alone.

    >>> import torch
    >>> y = torch.tensor([8.0], requires_grad=True)
    >>> x = solve_increasing(lambda x: (x**3, 3 * x**2), y, torch.tensor([0.0]), torch.tensor([9.0]))
    >>> x.detach(), torch.autograd.grad(x, y)[0]
    (tensor([2.]), tensor([0.0833]))
    """
    root = _bracketed(function, target, low, high, steps)
    value, slope = function(root)
    slope = slope.clamp_min(torch.finfo(root.dtype).tiny ** 0.5)
    residual = target - value
    with torch.no_grad():
        moved = root + residual / slope
        trusted = (moved >= low) & (moved <= high)
    return root + torch.where(trusted, residual, residual - residual.detach()) / slope
