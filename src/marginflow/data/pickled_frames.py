"""Columns of numbers out of a pickled pandas frame, without running what a pickle may hold, and without pandas."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

# a pickle names functions to call; these alone are called, and none of them does anything but hold numbers
_NUMPY = {"_reconstruct", "_frombuffer", "scalar"}
_HARMLESS = {("builtins", "slice"), ("__builtin__", "slice"), ("_codecs", "encode")}


class FrameError(ValueError):
    """A pickle that is damaged, or holds something else than a frame of numbers."""


class _Part:
    """Stands for an object of pandas: what it was called with, and its state."""

    def __new__(cls, *args: Any) -> _Part:
        part = super().__new__(cls)
        part.args, part.state = args, None
        return part

    def __init__(self, *args: Any) -> None:
        self.args: tuple[Any, ...]
        self.state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array:
    """Stands for numpy's arrays as a name: called, they could be told to take up any memory."""


def _empty(kind: type[_Array], shape: Any, code: Any) -> np.ndarray:
    """The array without values that a pickle begins an array with; its state brings as many as it names."""
    if kind is not _Array or shape != (0,):
        raise FrameError(f"it begins an array with shape {shape!r}, not (0,)")
    return np.empty(0, np.int8)


class _Unpickler(pickle.Unpickler):
    """Calls nothing but numpy's constructors of arrays; objects of pandas become parts, all else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        root = module.partition(".")[0]
        if root == "pandas":
            return type(name, (_Part,), {})
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _Array if name == "ndarray" else np.dtype
        home = module.rpartition(".")[2]
        if root == "numpy" and home in ("multiarray", "numeric") and name in _NUMPY:
            if name == "_reconstruct":
                return _empty
            return super().find_class(f"numpy._core.{home}", name)  # where today's numpy has it
        if (module, name) in _HARMLESS:
            return slice if name == "slice" else super().find_class(module, name)
        raise FrameError(f"it names {module}.{name}, which a frame of numbers does not need")


def read_frame(path: Path) -> dict[str, np.ndarray]:
    """The columns of a pickled `pandas.DataFrame`, by name; in the layouts of pandas 0.14 and of 1.3 and later.

    Published tables come as pickles of long ago, which today's pandas no longer promises to read, and a pickle can
    run any code: so its parts are put together here.

    Args:
        path: a pickle.

    Returns:
        The columns by name.

    Raises:
        ValueError: a `FrameError`, for anything but a frame of numbers.
    """
    try:
        content = path.read_bytes()
        _require_memo(content)
        frame = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        blocks, axes = _blocks_and_axes(frame)
        names = [str(name) for name in _labels(axes[0])]
        columns: list[np.ndarray | None] = [None] * len(names)
        for values, places in blocks:
            for column, place in zip(np.atleast_2d(values), np.arange(len(names))[places], strict=True):
                columns[int(place)] = column
    except FrameError:
        raise
    except Exception as error:  # a damaged pickle can end in nearly any
        raise FrameError(f"it is damaged or holds no frame ({type(error).__name__}: {error})") from error
    if not names or any(column is None for column in columns):
        raise FrameError("columns are missing")
    return {name: column for name, column in zip(names, columns, strict=True) if column is not None}


def _require_memo(content: bytes) -> None:
    """Refuse a pickle that numbers more of its parts than it has bytes, for which memory would be made."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(content):
            raise FrameError(f"it numbers a part {argument}, of {len(content)} bytes")


def _blocks_and_axes(frame: Any) -> tuple[list[tuple[np.ndarray, Any]], list[Any]]:
    """The blocks of a frame, values (columns, rows) with their places among the columns, and its axes."""
    if not isinstance(frame, _Part) or not isinstance(frame.state, dict):
        raise FrameError(f"it holds {type(frame).__name__}, not a frame")
    manager = frame.state.get("_mgr", frame.state.get("_data"))
    if not isinstance(manager, _Part):
        raise FrameError("it holds a frame without data")
    if manager.state is not None:  # as written by pandas before 1.3
        state = manager.state[3]["0.14.1"]
        return [(block["values"], block["mgr_locs"]) for block in state["blocks"]], state["axes"]
    blocks, axes = manager.args
    return [block.args[:2] for block in blocks], axes


def _labels(index: Any) -> Any:
    """The labels of an axis."""
    if isinstance(index, _Part):
        _, options = index.args
        return options["data"]
    return index
