"""The files of a training: its best weights, and the state to resume from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from marginflow.base.call import as_data, is_as_built
from marginflow.base.devices import like_of
from marginflow.base.distribution import Distribution
from marginflow.storage.files import keep, packed, read_tensors, unusable, verify
from marginflow.storage.limits import require_model_size, require_state
from marginflow.training.metrics import METRICS

WEIGHTS = "model.safetensors"
ABOUT = "marginflow"  # in its header
FORMAT, FORMATS = 2, (1, 2)  # written, and read: in the first, masked layers are kept in bands
DTYPES = {"float32": torch.float32, "float64": torch.float64}
M = TypeVar("M", bound=nn.Module)
TRAINER = "trainer.pt"
SNAPSHOTS = "figures/epochs.safetensors"


def prepare(run_dir: Path, *, resume: bool = False) -> Path:
    """The directory, made where needed; FileExistsError where it holds a training that is not to be resumed.

    To be resumed it needs its state. The lines of metrics are written after that: where neither is there, the training
    ended in its first epoch and starts anew.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{run_dir} cannot be made, as there is a file: give another directory") from None
    except OSError as error:
        raise OSError(f"{run_dir} cannot be made ({error.strerror}): give a directory that can be written") from error
    if not resume:
        for name in (WEIGHTS, METRICS, TRAINER):
            if (run_dir / name).exists():
                raise FileExistsError(
                    f"{run_dir} holds a training already ({name}): resume it by resume=True, or give another directory"
                )
    elif (run_dir / METRICS).exists() and not (run_dir / TRAINER).exists():
        raise FileExistsError(
            f"{run_dir} holds a training without its {TRAINER}, which cannot be resumed: train elsewhere"
        )
    return run_dir


def described(model: Distribution) -> dict[str, str]:
    """What a model's file says of it: the call that built it, its precision, the rows that it was trained on.

    ValueError where the call cannot be told: something in the model is no public class, or was changed since.
    """
    try:
        call = as_data(model)
        if not is_as_built(call, model):
            raise ValueError("it was changed since it was built")
    except ValueError as error:
        raise ValueError(
            f"the call that built this {type(model).__name__} cannot be kept as plain data ({error}): keep its weights "
            "by torch.save(model.state_dict(), path), for a model that your own code builds"
        ) from error
    like = like_of(model)
    dtype = torch.get_default_dtype() if like is None else like.dtype
    if dtype not in DTYPES.values():
        raise ValueError(f"models are kept in float32 or float64; this one is in {dtype}: save model.float()")
    about = {
        "format": FORMAT,
        "call": call,
        "dtype": str(dtype).removeprefix("torch."),
        "spec": None if model.spec is None else asdict(model.spec),
    }
    return {ABOUT: json.dumps(about)}


def require_format(path: Path, found: object) -> None:
    """Refuse what a later version wrote: ValueError."""
    if found not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise ValueError(f"{path} has format {found}; this version reads {known}: update marginflow")


def save_weights(state: Mapping[str, Tensor], run_dir: Path, about: dict[str, str] | None = None) -> None:
    """Write a model's state to model.safetensors in a run directory. about: see `described`."""
    keep(run_dir / WEIGHTS, packed(state, about))


def read_weights(run_dir: Path, *, name: str = WEIGHTS, verified: bool = False) -> dict[str, Tensor]:
    """The weights in a run directory; ValueError where they are damaged."""
    path = run_dir / name
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run has no checkpoint yet, train it first")
    state = read_tensors(path, verified=verified)
    require_finite_weights(state, str(path))
    return state


def require_finite_weights(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights that are not finite: ValueError."""
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ValueError(f"{what} holds weights that are not finite, in {broken[0]}: train again with a lower lr")


def built(path: Path, claims: object, make: Callable[[], M], *, verified: bool = False) -> M:
    """The model of a file of weights, which `make` builds; ValueError where they are damaged or do not belong together.

    claims: what describes the model, see `require_model_size`, before which nothing is made.
    """
    try:
        require_model_size(path, claims, make)
        model = make()
        model.load_state_dict(read_weights(path.parent, name=path.name, verified=verified))
    except (RuntimeError, MemoryError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise unusable(path, error) from error
    return model.eval()


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
        require_state(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can end in nearly any
        raise unusable(path, error) from error
