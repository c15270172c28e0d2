"""Products of float32 matrices on the CPU, by the back end that is quickest on this machine.

torch multiplies by MKL, which on some processors runs at half of what oneDNN does; torch brings both. Which is quicker,
from which size on, is measured once for a machine, a number of threads and a version of torch, for each kind of
product. All compute in float32: none rounds its factors to bfloat16, and no setting is changed that others see.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.settings import as_choice
from marginflow.base.surroundings import becomes_graph
from marginflow.nets.back_ends import BACK_ENDS, LEAST, BackEnd, by_torch, fits_onednn, has_onednn
from marginflow.nets.product_choice import PRODUCTS, TORCH, Choice, as_choice_of, measured, on_disk

WORTH = 10_000_000  # multiplications of the largest product, below which it is not worth the seconds of measuring
VARIABLE = "MARGINFLOW_PRODUCTS"  # "torch" or "onednn" for all products; without it, what was measured
_fixed: ContextVar[Choice | None] = ContextVar("_fixed", default=None)


def usable() -> list[str]:
    """The back ends that are here."""
    return [name for name in BACK_ENDS if name == "torch" or has_onednn()]


def all_by(back_end: str) -> Choice:
    """The choice of one back end for every product that is large enough; ValueError for an unknown one."""
    as_choice(back_end, tuple(BACK_ENDS), VARIABLE)
    return TORCH if back_end == "torch" else Choice(back_end, LEAST, LEAST, LEAST)


def chosen() -> Choice:
    """The choice in force: the one fixed by `using`, by the environment, or what was measured on this machine before.

    A process looks at the environment and the disk once. A back end that the environment asks for is tried first, where
    that was not done yet.
    """
    fixed = _fixed.get()
    if fixed is not None:
        return fixed
    threads = torch.get_num_threads()
    found = _found.get(threads)
    if found is None:
        found = _found[threads] = _told(threads) or on_disk(threads) or TORCH
    return found


_found: dict[int, Choice] = {}  # by the number of threads


def _told(threads: int) -> Choice | None:
    """What the environment asks for, or torch's own where that is not usable; None where it asks for nothing."""
    told = os.environ.get(VARIABLE)
    if not told:
        return None
    wanted = all_by(told)
    return wanted if wanted is TORCH or measured(threads).back_end == told else TORCH


def _is_told() -> bool:
    """Whether the choice is fixed, by `using` or by the environment, so that what was measured does not matter."""
    return _fixed.get() is not None or bool(os.environ.get(VARIABLE))


def known() -> Choice | None:
    """The choice in force, as `chosen`; None where it was never measured on this machine."""
    if not _is_told() and on_disk(torch.get_num_threads()) is None:
        return None
    return chosen()


def choice_for(model: nn.Module, num_rows: int, *, repeatable: bool = False) -> Choice:
    """The choice for a training in batches of so many rows: `chosen`, measured before where it was not and is worth it.

    repeatable: torch's own where what was measured could not be kept on disk, for another process to repeat it.
    """
    weights = [each for each in model.parameters() if each.ndim == 2 and each.numel() * num_rows >= WORTH]
    is_worth = any(each.dtype == torch.float32 and each.device.type == "cpu" for each in weights)
    if is_worth and not _is_told():
        _found[torch.get_num_threads()] = measured(torch.get_num_threads())
    return TORCH if repeatable and known() is None else chosen()


def recorded(fields: dict[str, Any] | None, stacklevel: int = 1) -> Choice:
    """The choice that a training was started with, from its fields; torch's own where there are none.

    A RuntimeWarning says where its back end is not here, or does not compute right here.
    """
    choice = TORCH if fields is None else as_choice_of(fields)
    if choice.back_end == "torch" or measured(torch.get_num_threads()).back_end == choice.back_end:
        return choice
    warnings.warn(
        f"this training multiplied by {choice.back_end}, which is not usable here: torch's own products take its place "
        "and weights will differ in the last digits from those of a training without a break",
        RuntimeWarning,
        stacklevel=stacklevel + 1,
    )
    return TORCH


@contextmanager
def using(choice: Choice) -> Iterator[None]:
    """Inside, in this thread, products are computed as chosen."""
    token = _fixed.set(choice)
    try:
        yield
    finally:
        _fixed.reset(token)


def are_anothers(x: Tensor, weight: Tensor) -> bool:
    """Whether a back end other than torch's serves some product of a layer: x (N, I), weight (O, I)."""
    if becomes_graph():
        return False
    least = chosen().least
    if least is None or (size := x.shape[0] * weight.numel()) < least:  # every layer asks, most are smaller
        return False
    return any(_another(x, size, kind) is not None for kind in PRODUCTS)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The output of a layer with its bias, x W^T + b: x (N, I), weight (O, I), bias (O,) -> (N, O)."""
    by_torch_at_once = becomes_graph() or x.shape[0] * weight.numel() < LEAST or x.device.type != "cpu"
    if by_torch_at_once or x.dtype not in (torch.float32, torch.float64):
        return functional.linear(x, weight, bias)
    return forward(x, weight).add_(bias)  # quicker than to begin with the bias in memory that is not in the cache


def forward(x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """The output of a layer, x W^T: x (N, I), weight (O, I) -> (N, O), written into `out` where that is given."""
    return _multiplied("forward", x, weight.t(), out)


def input_gradient(grad: Tensor, weight: Tensor, out: Tensor | None = None, *, accumulate: bool = False) -> Tensor:
    """The gradient of the input of a layer, grad W: grad (N, O), weight (O, I) -> (N, I), perhaps added to `out`."""
    return _multiplied("input_gradient", grad, weight, out, accumulate=accumulate)


def weight_gradient(grad: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """The gradient of the weight of a layer, grad^T x: grad (N, O), x (N, I) -> (O, I)."""
    return _multiplied("weight_gradient", grad.t(), x, out)


def _another(a: Tensor, size: int, kind: str) -> BackEnd | None:
    """The back end other than torch's that serves a product of so many multiplications; None where none does."""
    if becomes_graph() or size < LEAST or a.dtype != torch.float32 or a.device.type != "cpu":
        return None  # a graph first: a size there would bound the number of rows
    choice = chosen()
    least = getattr(choice, kind)
    return None if least is None or size < least else BACK_ENDS[choice.back_end]


def _multiplied(kind: str, a: Tensor, b: Tensor, out: Tensor | None, *, accumulate: bool = False) -> Tensor:
    another = _another(a, a.shape[0] * b.numel(), kind)
    if another is not None:
        target = a.new_empty(a.shape[0], b.shape[1]) if out is None else out
        if fits_onednn(a, b, target):
            return another(a, b, target, accumulate=accumulate)
    return torch.mm(a, b) if out is None else by_torch(a, b, out, accumulate=accumulate)
