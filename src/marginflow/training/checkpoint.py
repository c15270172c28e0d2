"""The files of a training: its best weights, and all that it takes to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marginflow.storage.files import keep, read_tensors, save_tensors, unusable, verify
from marginflow.storage.limits import check_state
from marginflow.training.metrics import METRICS

WEIGHTS = "model.safetensors"
TRAINER = "trainer.pt"
SNAPSHOTS = "figures/epochs.safetensors"


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


def save_weights(state: Mapping[str, Tensor], run_dir: Path) -> None:
    """Write a model's state to model.safetensors in a run directory."""
    save_tensors(state, run_dir / WEIGHTS)


def read_weights(run_dir: Path, *, verified: bool = False) -> dict[str, Tensor]:
    """The weights in a run directory; ValueError where they are damaged."""
    path = run_dir / WEIGHTS
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run has no checkpoint yet, train it first")
    state = read_tensors(path, verified=verified)
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ValueError(f"{path} holds weights that are not finite, in {broken[0]}: train again with a lower lr")
    return state


def load_weights(model: nn.Module, run_dir: Path, *, verified: bool = False) -> None:
    """Fill a model with the weights of a run directory; ValueError where they are damaged or of another model."""
    state = read_weights(run_dir, verified=verified)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise unusable(run_dir / WEIGHTS, error) from error


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
        raise unusable(path, error) from error
