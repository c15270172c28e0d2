"""Where and how a model computes: on which device, in evaluation mode, how many rows at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from marginflow.base.arguments import shown

if TYPE_CHECKING:
    from lightning_fabric import Fabric

P = ParamSpec("P")
T = TypeVar("T")
_LOCK = Lock()
_INSIDE = "_in_evaluation_mode"
SMALL = 3e7  # rows times weights of a step, up to which a second thread saves a fifth of its time at most


@dataclass
class _Inside:
    """Which parts of a model were in training mode, and how many threads have it in evaluation mode."""

    training: list[nn.Module]
    threads: int = 0

    def __deepcopy__(self, memo: object) -> _Inside:
        return _Inside([])  # a copy of the model is in evaluation mode for good


def fabric_on(device: str, precision: Literal["32-true", "64-true"] = "32-true") -> Fabric:
    """A Fabric on one device.

    Args:
        device: "auto" (CUDA where there is any, else the CPU), "cpu", "cuda", ...
        precision: of the weights.

    Returns:
        The Fabric.

    Raises:
        ValueError: where there is no such device here, or it has no float64, in which sums are taken.
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


def as_device(device: str | torch.device) -> torch.device:
    """A device that tensors can be brought to; ValueError where there is none such here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        known = "'cpu' or 'cuda'" if torch.cuda.is_available() else "'cpu'"
        raise ValueError(f"device {shown(device)} cannot be used here ({reason}): give {known}") from None
    return found


@contextmanager
def own_precision() -> Iterator[None]:
    """Inside, a model computes in its own precision, whatever autocast surrounds the call."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def require_weights(model: nn.Module) -> None:
    """Refuse a model on the meta device, which holds no numbers: ValueError."""
    if any(each.is_meta for each in (*model.parameters(), *model.buffers())):
        raise ValueError(
            "the model lies on the meta device, which holds no numbers: build it on another, or take "
            "model.to_empty(device='cpu') and load its weights"
        )


@contextmanager
def with_gradients(model: nn.Module) -> Iterator[None]:
    """Inside, gradients are recorded in the model's own precision, whatever surrounds the call.

    Args:
        model: whose weights take gradients.

    Returns:
        A context manager.

    Raises:
        ValueError: where its weights were made in torch.inference_mode, and so cannot take any.

    Examples:
        >>> with torch.no_grad(), with_gradients(nn.Linear(2, 1)):
        ...     torch.is_grad_enabled()
        True
    """
    if any(weight.is_inference() for weight in model.parameters()):
        raise ValueError(
            "the weights were made inside torch.inference_mode, so they take no gradients: build or load the model "
            "outside of it"
        )
    with torch.inference_mode(False), torch.enable_grad(), own_precision():
        yield


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Within a `with` statement, set a model to evaluation mode; afterwards each of its parts has its mode of before.

    It then computes in its own precision, whatever autocast surrounds the statement.

    A model that is in evaluation mode already, or is no module, is left as it is. Threads may share a model: the last
    to leave restores the modes that the first found.

    Args:
        model: any density.

    Returns:
        A context manager.

    Examples:
        >>> model = nn.Dropout(0.5)
        >>> with evaluation_mode(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    if not isinstance(model, nn.Module):
        with own_precision():
            yield
        return
    with _LOCK:
        inside = vars(model).get(_INSIDE)
        if inside is None or not inside.threads:
            inside = _Inside([module for module in model.modules() if module.training])
        if inside.training:
            inside.threads += 1
            vars(model)[_INSIDE] = inside
        for module in inside.training:
            module.training = False
    try:
        with own_precision():
            yield
    finally:
        with _LOCK:
            inside.threads -= 1
            if inside.training and inside.threads == 0:
                del vars(model)[_INSIDE]
                for module in inside.training:
                    module.training = True


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Inside, torch computes on the CPU by one thread where steps are so small that several would wait for each other.

    They wait busily: with another process on the same cores a step of two threads takes a hundred times as long.

    Args:
        work: of a step, rows times weights.

    Returns:
        A context manager.

    Examples:
        >>> with threads_for(1000):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    if before == 1 or work >= SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_cpu(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function create tensors on the CPU, whatever torch's default device is.

    For the structure of networks, whose values are read while they are built. So a network can be built on the meta
    device, and its parameters counted there.
    """

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return inside


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


def to_like(x: Tensor, like: Tensor | None, *, wide: bool = False) -> Tensor:
    """x on the device and in the precision of `like`; whole numbers, as pixels are, stay whole, `wide` float64 too."""
    if like is None:
        return x
    stays = not x.is_floating_point() or x.dtype == like.dtype or (wide and x.dtype == torch.float64)
    if stays and x.device == like.device:
        return x
    if x.is_meta and not like.is_meta:
        raise ValueError("a tensor on the meta device holds no numbers: give one on the model's device, or the CPU")
    return x.to(like.device, x.dtype if stays else like.dtype)


def like_model(model: object, x: Tensor) -> Tensor:
    """A tensor on the device and in the precision of a model.

    Args:
        model: any density; one that is no module, or holds no tensors, changes nothing.
        x: any tensor.

    Returns:
        x on the model's device and in its precision; whole numbers, as pixels are, stay whole.

    Examples:
        >>> like_model(nn.Linear(2, 1).double(), torch.zeros(3, 2)).dtype
        torch.float64
    """
    return to_like(x, like_of(model))


def rows_at_once(model: object) -> int:
    """How many rows go through a model at once where no gradient is wanted.

    Fewer where its hidden layers are as large as images: where it convolves, or where a transform states by its
    attribute `rows_of_network` that an event is many rows to its network.

    Args:
        model: any density.

    Returns:
        A number of rows: 250 for a model with convolutions, otherwise 4096 or fewer.

    Examples:
        >>> from marginflow import models
        >>> rows_at_once(models.planar(2))
        4096
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    if any(isinstance(module, nn.Conv2d) for module in modules):
        return 250
    of_network = max((getattr(module, "rows_of_network", 1) for module in modules), default=1)
    return max(1, min(4096, 16_000 // of_network))
