"""Where and how a model computes: on which device, in evaluation mode, how many rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_LOCK = Lock()
_INSIDE: dict[nn.Module, tuple[int, list[tuple[nn.Module, bool]] | None]] = {}  # who is in evaluation mode, how often


def fabric_on(device: str, precision: Literal["32-true", "64-true"] = "32-true") -> Fabric:
    """A Fabric on one device: "auto" (CUDA where there is any, else the CPU), "cpu", "cuda", ...

    ValueError where there is no such device here, or it has no float64, in which sums are taken.
    """
    from lightning_fabric import Fabric  # a second to load

    if device == "mps":
        raise ValueError("device 'mps' cannot be used: it has no float64; use 'cpu'")
    try:
        return Fabric(accelerator=_meant(device), devices=1, precision=precision)
    except (ValueError, RuntimeError, ImportError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {error}") from error


def device_on(device: str) -> torch.device:
    """The device of `fabric_on`, which is made for others than the CPU alone."""
    return torch.device("cpu") if _meant(device) == "cpu" else fabric_on(device).device


def _meant(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Inside, a model that is a module is in evaluation mode; afterwards each of its parts is as it was.

    Of several threads inside with one model, the last to leave puts back what the first found.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    with _LOCK:
        inside, modes = _INSIDE.get(model, (0, None))
        modes = [(module, module.training) for module in model.modules()] if modes is None else modes
        _INSIDE[model] = inside + 1, modes
        for module, _ in modes:
            module.training = False
    try:
        yield
    finally:
        with _LOCK:
            inside, modes = _INSIDE.pop(model)
            if inside > 1:
                _INSIDE[model] = inside - 1, modes
            else:
                for module, mode in modes or []:
                    module.training = mode


def like_of(model: object) -> Tensor | None:
    """A tensor of a model that is a module, whose device and precision are the model's; None where it has none.

    The first parameter, or else the first buffer, of real numbers.
    """
    if not isinstance(model, nn.Module):
        return None
    parameter = _first(model, "_parameters")
    return _first(model, "_buffers") if parameter is None else parameter


def _first(module: nn.Module, kind: str) -> Tensor | None:
    """The first tensor of real numbers of a kind; `parameters()` takes several times as long, and every call asks."""
    for tensor in getattr(module, kind).values():
        if tensor is not None and tensor.is_floating_point():
            return tensor
    for child in module._modules.values():
        found = None if child is None else _first(child, kind)
        if found is not None:
            return found
    return None


def to_like(x: Tensor, like: Tensor | None) -> Tensor:
    """x on the device and in the precision of `like`; whole numbers, as pixels are, stay whole."""
    if like is None or (x.device == like.device and (x.dtype == like.dtype or not x.is_floating_point())):
        return x
    return x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)


def like_model(model: object, x: Tensor) -> Tensor:
    """x on the device and in the precision of a model that is a module; whole numbers, as pixels are, stay whole."""
    return to_like(x, like_of(model))


def rows_at_once(model: object) -> int:
    """How many rows go through a model at once where no gradient is wanted.

    Fewer where its hidden layers are as large as images: where it convolves, or where a transform says that an
    event is many rows to its network, `rows_of_network`.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    if any(isinstance(module, nn.Conv2d) for module in modules):
        return 250
    of_network = max((getattr(module, "rows_of_network", 1) for module in modules), default=1)
    return max(1, min(4096, 16_000 // of_network))
