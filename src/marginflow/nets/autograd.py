"""Gradients that are written out: when autograd must do without them, and how they are differentiated themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from marginflow.base.surroundings import becomes_graph, in_torch_func, stands_for_many

Outputs = Tensor | tuple[Tensor, ...]


def left_to_autograd() -> bool:
    """Whether torch should see ordinary operations: in a graph, torch.func, autocast, forward-mode gradients."""
    return becomes_graph() or is_cast_or_mapped()


def is_cast_or_mapped() -> bool:
    """Whether autocast or a transform of torch.func is at work, or forward-mode gradients are."""
    return in_torch_func() or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


class Written(ABC):
    """A function of tensors whose gradient is written out: one node of the graph, however many operations it takes.

    It is made for one call, with the tensors that it depends on, None for one that it does without; it holds all else.
    Where autograd must see what happens, it is `plain`.
    """

    plain: Callable[..., Any]
    """The outputs of the inputs, in operations that autograd sees."""

    quick: Callable[..., Any]
    """(kept, *inputs) -> the outputs without a graph, in few new tensors; what gradients need is added to `kept`."""

    @abstractmethod
    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        """The gradient of each input that needs one, from those of the outputs, without a graph."""

    @property
    def must_be_plain(self) -> bool:
        """Whether its gradient cannot be written out, so that autograd must see what happens wherever one is wanted."""
        return False

    def __call__(self, *inputs: Tensor | None) -> Any:
        """The outputs, and a node of the graph where gradients are recorded."""
        recorded = torch.is_grad_enabled()
        if left_to_autograd() or (recorded and self.must_be_plain):
            return self.plain(*inputs)
        return _Node.apply(self, *inputs) if recorded else self.quick(None, *inputs)


class _Node(torch.autograd.Function):
    """The node of a `Written`."""

    @staticmethod
    def forward(ctx: Any, written: Written, *inputs: Tensor | None) -> Any:
        kept: list[Tensor] = []
        outputs = written.quick(kept, *inputs)
        ctx.written, ctx.num_inputs = written, len(inputs)
        ctx.save_for_backward(*inputs, *kept)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, written, needed = ctx.saved_tensors, ctx.written, ctx.needs_input_grad[1:]
        inputs, kept = saved[: ctx.num_inputs], saved[ctx.num_inputs :]
        if torch.is_grad_enabled() or any(map(stands_for_many, grads)):  # it is differentiated itself, or mapped
            with torch.enable_grad():
                return None, *differentiable(written.plain, inputs, needed, grads)
        return None, *written.gradients(kept, inputs, needed, *grads)


def differentiable(
    function: Callable[..., Outputs],
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
