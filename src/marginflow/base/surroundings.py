"""What torch does with a computation: whether it becomes a graph, is mapped or differentiated, and shows its values."""

from __future__ import annotations

import torch
import torch._C._functorch as functorch
from torch import Tensor
from torch.autograd import forward_ad


def becomes_graph() -> bool:
    """Whether what is computed is compiled, exported or traced, so that it must hold for any number of rows."""
    return torch.compiler.is_compiling() or torch._C._is_tracing()


def is_compiled() -> bool:
    """Whether what is computed is compiled for this process, and not exported for others."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def in_torch_func() -> bool:
    """Whether a transform of torch.func is at work, or forward-mode gradients are."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def stands_for_many(x: Tensor) -> bool:
    """Whether a tensor is one of many that torch computes at once: inside vmap, or of several gradients together."""
    return functorch.is_functorch_wrapped_tensor(x) or functorch.is_legacy_batchedtensor(x)


def values_are_visible(x: Tensor) -> bool:
    """Whether the values of a tensor can be looked at: not while torch compiles, exports, traces or maps a function."""
    return not (x.is_meta or becomes_graph() or torch._C._are_functorch_transforms_active())
