"""Transforms whose gradients are written out, and a chain of them as one node of the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, TypeGuard

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from marginflow.base.transform import Transform
from marginflow.nets.autograd import Written, left_to_autograd

# Numbers that a chain keeps for its gradient, and weights, at most: of more, a node takes no time, memory that is given
# back part by part is still in the cache when it is taken again, and gradients come part by part
JOINED = 2**17


class WrittenOut(Transform, ABC):
    """A transform that has a `Written` form, of x, context and its tensors.

    Its `__init__` sets `num_weights` and `num_units`.
    """

    num_weights: int
    """How many numbers its parameters hold."""

    num_units: int
    """How many numbers it computes for a row, about."""

    @property
    def is_written(self) -> bool:
        """Whether it has one; else it computes in its own way."""
        return True

    @property
    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """The parameters that the written form takes beside x and context."""

    @abstractmethod
    def written(self, x: Tensor, context: Tensor | None) -> Written:
        """The form for rows x: (x, context, *tensors) -> z, log_det.

        Its gradient looks at what was kept alone, not at its inputs. ValueError where x or context do not fit.
        """


class Chain(Written):
    """Written forms one after the other: (x, context, *tensors of all) -> z, log_det."""

    def __init__(self, parts: Sequence[Written], num_tensors: Sequence[int]) -> None:
        self.parts, self.num_tensors = parts, num_tensors
        self.kept_by: list[int] = []  # how many tensors each part keeps

    @property
    def must_be_plain(self) -> bool:
        return any(part.must_be_plain for part in self.parts)

    def _own(self, of_all: Sequence[Any]) -> list[Sequence[Any]]:
        """What belongs to the tensors of each part."""
        own, start = [], 0
        for count in self.num_tensors:
            own.append(of_all[start : start + count])
            start += count
        return own

    def plain(self, x: Tensor, context: Tensor | None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        total: Any = None
        for part, own in zip(self.parts, self._own(tensors), strict=True):
            x, log_det = part.plain(x, context, *own)
            total = log_det if total is None else total + log_det
        return x, total

    def quick(
        self, kept: list[Tensor] | None, x: Tensor, context: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        total: Any = None
        for part, own in zip(self.parts, self._own(tensors), strict=True):
            before = 0 if kept is None else len(kept)
            x, log_det = part.quick(kept, x, context, *own)
            total = log_det if total is None else total + log_det
            if kept is not None:
                self.kept_by.append(len(kept) - before)
        return x, total

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        of_x, of_context, *of_tensors = needed
        grad: Any
        (grad, grad_log), end, found, in_context = grads, len(kept), [], None
        parts = zip(self.parts, self.kept_by, self._own(inputs[2:]), self._own(of_tensors), strict=True)
        for part, count, tensors, wanted in reversed(list(parts)):
            asked = [of_x or part is not self.parts[0], of_context, *wanted]
            own_kept = kept[end - count : end]
            grad, more, *own = part.gradients(own_kept, [None, inputs[1], *tensors], asked, grad, grad_log)
            in_context = more if in_context is None else in_context if more is None else in_context + more
            found, end = [*own, *found], end - count
        return [grad, in_context, *found]


def in_one_node(transforms: Sequence[WrittenOut], x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """z and log_det of transforms in sequence, as one node of the graph; ValueError where x or context do not fit."""
    parts = [transform.written(x, context) for transform in transforms]
    tensors = [transform.tensors for transform in transforms]
    given = None
    if context is not None and any(transform.context_features for transform in transforms):
        given = context.to(x.dtype)
    chain = parts[0] if len(parts) == 1 else Chain(parts, [len(own) for own in tensors])
    return chain(x, given, *(tensor for own in tensors for tensor in own))


def joined(transforms: Iterable[Transform], x: Tensor) -> list[list[Transform]]:
    """Transforms in groups, those of a chain together: small neighbours, into which nothing looks.

    x: the rows. Where autograd must see what happens, nothing is gained, and graphs are to hold for any number of them.
    """
    if left_to_autograd():
        return [[transform] for transform in transforms]
    groups: list[list[Transform]] = []
    room, num_rows = 0, x.shape[0] if isinstance(x, Tensor) and x.ndim else 0
    for transform in transforms:
        small = may_be_joined(transform)
        size = max(transform.num_weights, transform.num_units * num_rows) if small else JOINED + 1
        if size > room:
            groups.append([])
            room = JOINED
        groups[-1].append(transform)
        room -= size
    return groups


def may_be_joined(transform: Transform) -> TypeGuard[WrittenOut]:
    """Whether it has a written form, its forward is no other, and nothing looks at what goes in or comes out."""
    return (
        isinstance(transform, WrittenOut)
        and transform.is_written
        and _forwards_as_written(type(transform))
        and "forward" not in transform.__dict__
        and not is_watched(transform)
    )


@cache
def _forwards_as_written(kind: type[WrittenOut]) -> bool:
    """Whether no subclass has a forward of its own beside the written form that it inherits."""
    forward, written = (
        next(i for i, each in enumerate(kind.__mro__) if name in vars(each)) for name in ("forward", "written")
    )
    return forward >= written


def is_watched(module: nn.Module) -> bool:
    """Whether hooks look at what goes into a module and comes out of it, or at the gradients of these.

    Or whether it was compiled by itself, by `module.compile()`.
    """
    if module._compiled_call_impl is not None:
        return True
    own = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(own or _has_any_global_hook())
