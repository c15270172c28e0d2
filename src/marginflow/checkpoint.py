"""Files of a run that are written while it goes on, whole or not at all: weights, state of the training, metrics."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from marginflow.guarded import LARGEST_METRICS, check_state, json_of, text_of

WEIGHTS = "model.safetensors"
METRICS = "metrics.jsonl"
TRAINER = "trainer.pt"
SNAPSHOTS = "figures/epochs.safetensors"
CHECKSUMS = "checksums.json"


def prepare(run_dir: Path, *, resume: bool = False) -> Path:
    """The directory, made where needed; FileExistsError where it holds a training already that is not to go on.

    To go on it needs its state. The lines of metrics are written after that: where neither is there, the training ended
    in its first epoch and starts anew.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in (WEIGHTS, METRICS, TRAINER):
            if (run_dir / name).exists():
                raise FileExistsError(f"{run_dir} holds a training already ({name}): give another directory")
    elif (run_dir / METRICS).exists() and not (run_dir / TRAINER).exists():
        raise FileExistsError(f"{run_dir} holds a training without its {TRAINER}, which cannot go on: train elsewhere")
    return run_dir


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole: a name that no user gives."""
    return path.with_name(f".{path.name}.marginflow.part")


def write_whole(
    path: Path, content: bytes | Callable[[BinaryIO], None], before: Callable[[Path], None] | None = None
) -> None:
    """Write a file, from bytes or by a function, so that it is there whole or not at all, also when the power fails.

    before: called with what is written, and not there yet. OSError where it cannot be written: what was there stays.
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
        raise _unwritten(path, error) from error
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
        raise _unwritten(folder, error) from error


def _unwritten(path: Path, error: OSError) -> OSError:
    if error.errno is None:  # said already, of a file beside it
        return error
    if not path.parent.is_dir():
        return FileNotFoundError(f"{path} could not be written: the directory {path.parent} has vanished")
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


def verify(path: Path) -> None:
    """Refuse a file that is not what was written: ValueError. One without a checksum, from elsewhere, passes."""
    known = _checksums(path.parent).get(path.name)
    if known and path.is_file() and sha256_of(path) not in known:
        raise ValueError(
            f"{path} is not what was written there, by its SHA-256 in {CHECKSUMS}: restore it, or where it was changed "
            f"on purpose delete {CHECKSUMS}"
        )


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


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name to a .safetensors file."""
    copies = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    keep(path, save(copies))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors file; ValueError where it is damaged."""
    verify(path)
    try:
        return load_file(path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _unusable(path, error) from error


def save_weights(state: Mapping[str, Tensor], run_dir: Path) -> None:
    """Write a model's state to model.safetensors in a run directory."""
    save_tensors(state, run_dir / WEIGHTS)


def read_weights(run_dir: Path) -> dict[str, Tensor]:
    """The weights in a run directory; ValueError where they are damaged."""
    path = run_dir / WEIGHTS
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run has no checkpoint yet, train it first")
    state = read_tensors(path)
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ValueError(f"{path} holds weights that are not finite, in {broken[0]}: train again with a lower lr")
    return state


def load_weights(model: nn.Module, run_dir: Path) -> None:
    """Fill a model with the weights of a run directory; ValueError where they are damaged or of another model."""
    state = read_weights(run_dir)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _unusable(run_dir / WEIGHTS, error) from error


def _unusable(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) < 400 else f"{reason[:400]} ..."
    return ValueError(f"{path} cannot be loaded: {reason}: train again, or restore the file")


def save_trainer(content: Mapping[str, Any], run_dir: Path) -> None:
    """Write the state of a training, tensors and plain values, to trainer.pt."""
    keep(run_dir / TRAINER, lambda file: torch.save(dict(content), file))


def load_trainer(run_dir: Path) -> dict[str, Any] | None:
    """The state of a training; None where there is none, ValueError where it is damaged. Runs no code of the file's."""
    path = run_dir / TRAINER
    if not path.exists():
        return None
    verify(path)
    try:
        check_state(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can end in nearly any
        raise _unusable(path, error) from error


def append_metrics(record: Mapping[str, Any], run_dir: Path) -> None:
    """Add a line to metrics.jsonl."""
    path = run_dir / METRICS
    try:
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise _unwritten(path, error) from error


def write_metrics(records: Iterable[Mapping[str, Any]], run_dir: Path) -> None:
    """Write metrics.jsonl anew."""
    write_whole(run_dir / METRICS, "".join(json.dumps(record) + "\n" for record in records).encode())


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, but for a last one that a kill has cut short."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    try:
        whole, _, _ = text_of(path, LARGEST_METRICS).rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
