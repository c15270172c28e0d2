"""Files of a run that are written while it goes on: weights, whole or not at all, and a line of metrics at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

WEIGHTS = "model.safetensors"
METRICS = "metrics.jsonl"


def prepare(run_dir: Path) -> Path:
    """The directory, made where needed; FileExistsError where it holds a training already."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, METRICS):
        if (run_dir / name).exists():
            raise FileExistsError(f"{run_dir} holds a training already ({name}): give another directory")
    return run_dir


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also when interrupted."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def save_weights(state: Mapping[str, Tensor], run_dir: Path) -> None:
    """Write a model's state to model.safetensors in a run directory."""
    copies = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    write_whole(run_dir / WEIGHTS, save(copies))


def load_weights(model: nn.Module, run_dir: Path) -> None:
    """Fill a model with the weights of a run directory; ValueError where they are damaged or of another model."""
    path = run_dir / WEIGHTS
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run has no checkpoint yet, train it first")
    try:
        state = load_file(path)
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) < 400 else f"{reason[:400]} ..."
        raise ValueError(f"{path} cannot be loaded: {reason}: train again, or restore the file") from error
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ValueError(f"{path} holds weights that are not finite, in {broken[0]}: train again with a lower lr")


def append_metrics(record: Mapping[str, Any], run_dir: Path) -> None:
    """Add a line to metrics.jsonl."""
    with (run_dir / METRICS).open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
