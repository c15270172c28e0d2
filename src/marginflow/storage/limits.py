"""Files from strangers: how large they may be, and what they may claim, before anything is made of them."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BYTES_OF_PART = 50  # of a model at least, with the names of its weights
LARGEST_TEXT = 2**24  # bytes of a configuration or a file of results,
LARGEST_METRICS = 2**27  # of a line for each of a million epochs
FREE = 2**30  # bytes that any file may claim to be,
TIMES = 4  # and so many times its size
# what a state of plain values and tensors names; the rest that torch allows can be told to take up any memory
_NAMES = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch DoubleStorage",
          "torch LongStorage", "torch IntStorage", "torch ByteStorage", "torch BoolStorage", "torch HalfStorage",
          "torch BFloat16Storage"}  # fmt: skip


def text_of(path: Path, most: int = LARGEST_TEXT) -> str:
    """The text in a file; ValueError where it is none, or far longer than what belongs there."""
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"{path} has {size:,} bytes; a file of its kind has {most:,} at most")
    return path.read_text(encoding="utf-8")


def json_of(path: Path) -> Any:
    """What a JSON file holds; ValueError where it is none, or nested without end."""
    try:
        return json.loads(text_of(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_claim(path: Path, num_bytes: int) -> None:
    """Refuse a file that claims to hold far more than its size: ValueError."""
    most = max(TIMES * path.stat().st_size, FREE)
    if num_bytes > most:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes and claims to hold {num_bytes:,}, more than {TIMES} times as "
            f"many and than {FREE:,}: it is damaged; or where it is yours, write it without compression"
        )


def check_model(path: Path, claims: object, make: Callable[[], Any]) -> None:
    """Refuse to build a model that is far larger than the file of its weights: ValueError.

    claims: what describes it, whose whole numbers must not be beyond any weights of that size. make: builds it, here on
    the meta device, where tensors take no memory.
    """
    import torch

    size = path.stat().st_size
    parts = max(size // BYTES_OF_PART, 100)
    _check_numbers(path, claims, "", {"blocks": parts, "depth": parts})
    with torch.device("meta"):
        held = sum(each.numel() for each in make().state_dict().values())
    if 4 * held > max(TIMES * size, 2**20):
        raise _apart(path, f"a model of {held:,} numbers")


def _check_numbers(path: Path, claims: object, name: str, limits: dict[str, int]) -> None:
    if isinstance(claims, dict):
        for key, value in claims.items():
            _check_numbers(path, value, str(key), limits)
    elif isinstance(claims, list | tuple):
        for value in claims:
            _check_numbers(path, value, name, limits)
    elif (
        isinstance(claims, int)
        and "seed" not in name
        and abs(claims) > limits.get(name, max(path.stat().st_size, 2**16))
    ):
        raise _apart(path, f"a model of the size {claims:,}")


def _apart(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path} has {path.stat().st_size:,} bytes and is to hold the weights of {what}: they do not belong together"
    )


def array_of(path: Path) -> np.ndarray:
    """The array in a .npy file, as it lies on the disk, which is no shorter than it claims; ValueError for no such."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # its header is an expression of Python, which can be wrong in nearly any way
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(reason) from error


def check_state(path: Path) -> None:
    """Refuse a file of torch that is none of plain values and tensors, stored as they are: ValueError."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("its parts are compressed")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("its parts claim to be larger than all of it")
            (pickled,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
            for operation, argument, _ in pickletools.genops(archive.read(pickled)):
                if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST") and argument not in _NAMES:
                    raise ValueError(f"it names {argument}, which a state does not need")
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, IndexError, KeyError, NotImplementedError) as error:
        raise ValueError(f"it is no archive of torch ({error})") from error
