"""Gradients that are written out: when autograd must do without them, and how they are differentiated themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from marginflow.base.surroundings import becomes_graph, in_torch_func


def left_to_autograd() -> bool:
    """Whether torch should see ordinary operations: in a graph, torch.func, autocast, forward-mode gradients."""
    return becomes_graph() or in_torch_func() or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


def differentiable(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    grads: Sequence[Tensor],
) -> list[Tensor | None]:
    """The gradients of ordinary operations, for those inputs that need one, in a graph of their own.

    A written-out backward ends here where its own gradient is wanted. The inputs may depend on each other; each is
    taken for itself, so they enter as views, on which nothing else depends.

    Args:
        function: ordinary operations, from the inputs to one output or several.
        inputs: of the function; None where it takes none there.
        needed: whether each input needs a gradient.
        grads: the gradient of each output.

    Returns:
        The gradient of each input; None where it needs none.
    """
    inputs = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    outputs = function(*inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    pairs = [pair for pair in zip(outputs, grads, strict=True) if pair[0].requires_grad]  # others need none of it
    wanted = [tensor for tensor, need in zip(inputs, needed, strict=True) if need and tensor is not None]
    found = iter(
        torch.autograd.grad(
            [output for output, _ in pairs],
            wanted,
            [grad for _, grad in pairs],
            create_graph=True,
            materialize_grads=True,
        )
    )
    return [next(found) if need else None for need in needed]
