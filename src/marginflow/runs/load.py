"""The trained model of a run directory, or of a file that `save` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from marginflow.base.call import calls_in, from_data
from marginflow.base.devices import as_device
from marginflow.base.distribution import Distribution
from marginflow.base.settings import as_path
from marginflow.data import DataSpec
from marginflow.runs.is_run import is_run
from marginflow.runs.run import Run
from marginflow.storage.files import read_about, unusable
from marginflow.training.checkpoint import ABOUT, DTYPES, WEIGHTS, built, require_format


def load(path: str | Path, device: str | torch.device = "cpu") -> Distribution:
    """The trained model of a run directory, or of what `save` and `fit` wrote, in evaluation mode.

    Args:
        path: a directory that `marginflow train` or `fit(run_dir=...)` made, or a file of `save`.
        device: of the model.

    Returns:
        A `Flow`, or the distribution that was saved; its attribute `spec` holds what is known of its rows.

    Raises:
        FileNotFoundError: where there is no model.
        ValueError: where a file is damaged, or is not marginflow's, or there is no such device here.

    Examples:
        >>> import tempfile
        >>> import marginflow as mf
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = mf.load(mf.save(mf.models.planar(2), folder))
        >>> model.event_shape
        torch.Size([2])
    """
    path, device = as_path(path, "path"), as_device(device)
    if path.is_dir() and (is_run(path) or not (path / WEIGHTS).is_file()):
        return Run.open(path, device).model
    return _told(path / WEIGHTS if path.is_dir() else path).to(device)


def _told(path: Path) -> Distribution:
    """The model that a file describes; nothing is built before it is known that its weights are as large."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a run directory, or a file that marginflow.save wrote")
    about = read_about(path).get(ABOUT)
    if about is None:
        raise ValueError(
            f"{path} does not say how its model was built: build it by your own code, then "
            f"model.load_state_dict(safetensors.torch.load_file({str(path)!r}))"
        )
    try:
        told: dict[str, Any] = json.loads(about)
        require_format(path, told["format"])
        call, dtype = told["call"], DTYPES[told["dtype"]]
        spec = TypeAdapter(DataSpec | None).validate_python(told["spec"])
        calls = calls_in(call)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise unusable(path, error) from error
    model = built(path, {"calls": calls, "model": call}, lambda: _density(call).to(dtype))
    if spec is not None and model.event_shape != spec.event_shape:
        raise unusable(path, ValueError(f"its rows have shape {spec.event_shape}, its model's {model.event_shape}"))
    model.spec = spec
    return model


def _density(call: object) -> Distribution:
    model = from_data(call)
    if not isinstance(model, Distribution):
        raise ValueError(f"the file describes a {type(model).__name__}, which is no density")
    return model
