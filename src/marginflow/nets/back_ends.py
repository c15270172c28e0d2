"""What multiplies float32 matrices on the CPU: torch, and oneDNN, which torch brings but uses for other precisions."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from marginflow.base.surroundings import stands_for_many

# void at::native::mkldnn_matmul(Tensor const& a, Tensor const& b, Tensor const& out, float beta, float alpha): the name
# holds the types of what it takes, so that under another signature there is no such function
NAME = "_ZN2at6native13mkldnn_matmulERKNS_6TensorES3_S3_ff"
LEAST = 2_000_000  # multiplications: below, a call of the second takes longer than its product
ROUNDED = "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"  # by which oneDNN may be told to round its factors
KINDS = (Tensor, nn.Parameter)  # a subclass may compute in its own way


class BackEnd(Protocol):
    """out = a b, or out += a b."""

    def __call__(self, a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor: ...


def by_torch(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
    """out = a b, or out += a b, as torch multiplies."""
    return out.addmm_(a, b) if accumulate else torch.mm(a, b, out=out)


@cache
def _function() -> Callable[..., None] | None:
    """The function in torch's library; None where it has none."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        function = ctypes.CDLL(str(library))[NAME]
    except (OSError, AttributeError):
        return None
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float, ctypes.c_float]
    return function


def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's product, it is not switched off, and not told to round its factors."""
    rounded = any(os.environ.get(name, "STRICT").upper() != "STRICT" for name in ROUNDED)
    return torch.backends.mkldnn.is_available() and _is_on() and not rounded and _function() is not None


def _is_on() -> bool:
    return torch._C._get_mkldnn_enabled()


def fits_onednn(a: Tensor, b: Tensor, out: Tensor) -> bool:
    """Whether oneDNN multiplies these: whole matrices or slices of such in float32, which no other code must see.

    What does not fit is left to torch, which says why: an error in oneDNN would end the process, as does memory that it
    is refused for a copy of a slice.
    """
    (n, inside), (again, m) = a.shape, b.shape
    return (
        inside == again
        and out.shape == (n, m)
        and _is_on()
        and torch._C._len_torch_dispatch_stack() == 0
        and all(_is_plain(each) for each in (a, b, out))
        and _function() is not None
    )


def _is_plain(x: Tensor) -> bool:
    if type(x) not in KINDS or x.dtype != torch.float32 or x.device.type != "cpu" or x.ndim != 2 or not x.numel():
        return False
    if x.is_neg() or stands_for_many(x) or x._is_zerotensor() or not x.untyped_storage().nbytes():
        return False
    (rows, columns), (down, across) = x.shape, x.stride()
    return (across == 1 and down >= columns) or (down == 1 and across >= rows)


def by_onednn(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
    """out = a b, or out += a b, for what `fits_onednn`; without a graph."""
    function = _function()
    assert function is not None
    given = [ctypes.byref(ctypes.c_void_p(each._cdata)) for each in (a, b, out)]  # as references to tensors
    function(*given, 1.0 if accumulate else 0.0, 1.0)
    return out


BACK_ENDS: dict[str, BackEnd] = {"torch": by_torch, "onednn": by_onednn}
