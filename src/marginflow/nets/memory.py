"""Memory that stays mapped between the steps of a training, for gradients of weights."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.nets.back_ends import KINDS

LEAST = 2**16  # numbers, below which memory is at hand anyway
KEPT = 2  # blocks for one gradient: its own, and one for what is accumulated into it

# the C library keeps as much freed memory as twice the largest block that it ever got back, up to 32 MiB: a block that
# is never written into teaches it to, at no cost
torch.empty(31 * 2**18, device="cpu", dtype=torch.float32)


def _names(blocks: list[np.ndarray]) -> int:
    """How many references Python counts of a block that no tensor stands on: 2, or fewer in newer versions."""
    block = blocks.pop(0)
    return sys.getrefcount(block)


NAMES = _names([np.empty(0)])


class Memory:
    """Blocks of memory, each lent to one tensor at a time.

    The system hands out memory that it has zeroed, page after page, and gradients that are freed in each step are
    mapped anew in the next. A block that is kept costs nothing. It is lent again when no tensor stands on it any more:
    a gradient that someone holds is never written into. A copy of what has a `Memory` has an empty one.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def empty(self, shape: tuple[int, int], like: Tensor) -> Tensor | None:
        """A tensor of a shape, not initialised, in the precision of `like`; None where any other is as good."""
        if shape[0] * shape[1] < LEAST or like.device.type != "cpu" or not _is_ordinary(like):
            return None
        for _ in range(len(self._blocks)):
            try:
                block = self._blocks.pop(0)  # so that no other thread takes it
            except IndexError:
                break
            tensor = torch.from_numpy(block) if sys.getrefcount(block) == NAMES else None
            if block.shape != shape or block.itemsize != like.element_size():
                continue  # the model's precision has changed
            self._blocks.append(block)
            if tensor is not None:
                return tensor
        if len(self._blocks) >= KEPT:
            return None
        block = torch.empty(shape, dtype=like.dtype, device="cpu").numpy()
        self._blocks.append(block)
        return torch.from_numpy(block)

    def release(self) -> None:
        """Keep no block any longer; tensors keep theirs."""
        self._blocks = []

    def __deepcopy__(self, _: Any) -> Memory:
        return Memory()

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        return Memory, ()


def _is_ordinary(x: Tensor) -> bool:
    """Whether NumPy knows the precision, and no other code must see how what is like this tensor is made."""
    plain = type(x) in KINDS and torch._C._len_torch_dispatch_stack() == 0
    return plain and x.dtype in (torch.float32, torch.float64)
