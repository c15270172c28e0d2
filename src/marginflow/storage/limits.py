"""Files from strangers: how large they may be, and what they may claim, before anything is made of them."""

from __future__ import annotations

import json
import math
import pickletools
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SMALL = 2**16  # what any size of a model may be, however small its file;
_LARGER = {"shape": 2**24, "event_shape": 2**24, "features": 2**20, "outputs": 2**22}  # of images, which share weights
_BYTES = {"blocks": 50, "depth": 50, "calls": 10}  # that each of these takes in a file at least
_ADDED = {"hidden", "outputs", "features"}  # sizes that add up over a model
_NO_SIZES = {"seed", "low", "high", "mask", "order", "degrees", "prior", "same", "bound",  # numbers that are values,
             "step", "origin", "digits", "lower", "upper", "atoms", "quantiles"}  # fmt: skip
LARGEST_TEXT = 2**24  # bytes of a configuration or a file of results,
LARGEST_METRICS = 2**27  # of a line for each of a million epochs
FREE = 2**30  # bytes that any file may claim to be,
TIMES = 4  # and so many times its size,
TIMES_AS_TEXT = 30  # of text in gzip, which numbers with few digits compress well
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


def require_claim(path: Path, num_bytes: int) -> None:
    """Refuse a file that claims to hold far more than its size, by a ValueError."""
    most = max(TIMES * path.stat().st_size, FREE)
    if num_bytes > most:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes and claims to hold {num_bytes:,}, more than {TIMES} times as "
            f"many and than {FREE:,}: it is damaged; or where it is yours, write it without compression"
        )


def require_expansion(path: Path, num_bytes: int) -> None:
    """Refuse text that has become far more than its compressed file, as it comes, by a ValueError."""
    size = path.stat().st_size
    if num_bytes > max(TIMES_AS_TEXT * size, FREE):
        raise ValueError(
            f"{path} has {size:,} bytes and becomes more than {num_bytes:,}, more than {TIMES_AS_TEXT} times as many "
            f"and than {FREE:,}: it is damaged; or where it is yours, unpack it"
        )


def require_model_size(path: Path, claims: object, make: Callable[[], Any]) -> None:
    """Refuse to build a model that is far larger than the file of its weights.

    A hidden unit has a bias at least, a block a tensor, a feature an output for each parameter of its scalar function:
    no size may be beyond what the file can hold.

    Args:
        path: of the file.
        claims: what describes the model, names and numbers.
        make: builds the model, here on the meta device, where tensors take no memory.

    Raises:
        ValueError: where the model is too large.
    """
    import torch

    size = path.stat().st_size
    total: Counter[str] = Counter()
    for name, number in _sizes(claims, 1, 1):
        total[name] = total[name] + number if name in _ADDED else max(total[name], number)
        most = max(size // _BYTES[name], 10) if name in _BYTES else max(size, _LARGER.get(name, SMALL))
        if total[name] > most:
            raise _apart(path, f"a model with {name} = {total[name]:,}")
    with torch.device("meta"):
        held = sum(each.numel() for each in make().state_dict().values())
    if 4 * held > max(TIMES * size, 2**20):
        raise _apart(path, f"a model of {held:,} numbers")


def _sizes(claims: object, features: int, blocks: int) -> Iterator[tuple[str, int]]:
    """The sizes that a description names, where `features` and `blocks` say how often they count."""
    if isinstance(claims, list | tuple):
        for each in claims:
            yield from _sizes(each, features, blocks)
    if not isinstance(claims, dict):
        return
    own = claims.get("features", claims.get("event_shape", claims.get("shape")))
    own = math.prod(own) if isinstance(own, list | tuple) else own
    features = own if isinstance(own, int) else features
    repeated = claims.get("blocks", 1)
    blocks *= repeated if isinstance(repeated, int) else 1
    for name, value in claims.items():
        numbers = [each for each in (value if isinstance(value, list | tuple) else [value]) if isinstance(each, int)]
        if name in ("components", "bins"):  # of scalar functions, which have parameters for each feature
            yield "outputs", sum(numbers) * features * blocks
        elif name == "hidden":
            yield name, sum(map(abs, numbers)) * blocks
        elif name not in _NO_SIZES and numbers:
            yield name, math.prod(numbers) if "shape" in name or name == "features" else max(map(abs, numbers))
        yield from _sizes(value, features, blocks)


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


def require_state(path: Path) -> None:
    """Refuse a file of torch that holds more than plain values and tensors, or is compressed, by a ValueError."""
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
