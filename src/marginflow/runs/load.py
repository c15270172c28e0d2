"""The trained model of a run directory."""

from __future__ import annotations

from pathlib import Path

import torch

from marginflow.distributions import Flow
from marginflow.runs.run import Run


def load(run_dir: str | Path, device: str | torch.device = "cpu") -> Flow:
    """The trained model of a run directory, in evaluation mode.

    run_dir: a directory that `marginflow train` made. device: where the model goes.

    Returns a `Flow`. FileNotFoundError where there is no run or no checkpoint yet, ValueError where a file is
    damaged.
    """
    return Run.open(run_dir, device).model
