"""Files that are written whole or not at all, with checksums against which they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from marginflow.storage.limits import json_of

CHECKSUMS = "checksums.json"


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole: a name that no user gives."""
    return path.with_name(f".{path.name}.marginflow.part")


def write_whole(
    path: Path, content: bytes | Callable[[BinaryIO], None], before: Callable[[Path], None] | None = None
) -> None:
    """Write a file, from bytes or by a function, so that it is there whole or not at all, also when the power fails.

    Args:
        path: of the file.
        content: its bytes, or a function that writes them.
        before: called with the path of the finished part, before it takes the file's place.

    Raises:
        OSError: where it cannot be written; a file that was there stays as it was.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            before(part)
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """Let a directory's entries be on the disk too."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def make_folder(folder: Path) -> None:
    """A folder of a run, where it is not there yet; OSError where it cannot be made."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritten(folder, error) from error


def unwritten(path: Path, error: OSError) -> OSError:
    """What to raise where a file could not be written: which, why, and that what was there is kept."""
    if error.errno is None:  # said already, of a file beside it
        return error
    if not path.parent.is_dir():
        return FileNotFoundError(f"{path} could not be written: the directory {path.parent} does not exist")
    return OSError(f"{path} could not be written ({error.strerror}): what was there before is kept")


def keep(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file of a run whole, and its SHA-256 into checksums.json beside it, against which it will be read.

    The checksum is entered beside those of before until the file has taken its place: a kill at any moment leaves a
    file whose checksum stands there.
    """

    def enter(part: Path) -> None:
        _enter(path, [sha256_of(part), *_checksums(path.parent).get(path.name, [])])

    write_whole(path, content, enter)
    _enter(path, _checksums(path.parent)[path.name][:1])


def verify(path: Path) -> str:
    """The SHA-256 of a file; ValueError where it is not what was written. One without a checksum passes."""
    known, found = _checksums(path.parent).get(path.name), sha256_of(path)
    if known and found not in known:
        raise ValueError(
            f"{path} is not what was written there, by its SHA-256 in {CHECKSUMS}: restore it, or where it was changed "
            f"on purpose delete {CHECKSUMS}"
        )
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksums(directory: Path) -> dict[str, list[str]]:
    """name -> the checksums that its file may have, the latest first."""
    path = directory / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        found = json_of(path)
        return {str(name): [str(each) for each in known] for name, known in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: restore it, or delete it to do without") from error


def _enter(path: Path, known: list[str]) -> None:
    text = json.dumps({**_checksums(path.parent), path.name: known}, indent=1)
    write_whole(path.parent / CHECKSUMS, f"{text}\n".encode())


def packed(tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> bytes:
    """The bytes of a .safetensors file.

    Args:
        tensors: by name.
        about: strings by name, for its header.

    Returns:
        What the file holds.
    """
    copies = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return save(copies, about)


def read_about(path: Path) -> dict[str, str]:
    """The strings in the header of a .safetensors file; ValueError where it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, RuntimeError, OSError) as error:
        raise unusable(path, error) from error


def read_tensors(path: Path, *, verified: bool = False) -> dict[str, Tensor]:
    """The tensors in a .safetensors file.

    Args:
        path: of the file.
        verified: whether its checksum was verified just before.

    Returns:
        The tensors by name.

    Raises:
        ValueError: where it is damaged.
    """
    try:
        if not verified:
            verify(path)
        return load_file(path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> ValueError:
    """What to raise where a file could not be loaded."""
    reason = " ".join(str(error).split())
    reason = reason if len(reason) < 400 else f"{reason[:400]} ..."
    return ValueError(f"{path} cannot be loaded: {reason}: train again, or restore the file")
