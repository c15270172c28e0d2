"""The trained model of a run directory."""

from __future__ import annotations

from pathlib import Path

import torch

from marginflow.data import DataSpec
from marginflow.distributions import Flow
from marginflow.runs.build import build, claimed_numbers
from marginflow.runs.run import CONFIG, read
from marginflow.runs.schema import Experiment
from marginflow.storage.limits import FREE, TIMES
from marginflow.training.checkpoint import WEIGHTS, load_weights

BYTES_OF_BLOCK = 50  # of weights at least, with their names


def load(run_dir: str | Path, device: str | torch.device = "cpu") -> Flow:
    """The trained model of a run directory, in evaluation mode.

    run_dir: a directory that `marginflow train` made. device: where the model goes.

    Returns a `Flow`. FileNotFoundError where there is no run or no checkpoint yet, ValueError where a file is
    damaged.
    """
    run_dir = Path(run_dir)
    experiment, spec, _ = read(run_dir)
    _check_claims(experiment, spec, run_dir)
    model = build(experiment, spec)
    load_weights(model, run_dir)
    return model.eval().to(device)


def _check_claims(experiment: Experiment, spec: DataSpec, run_dir: Path) -> None:
    """Refuse to build a model that is far larger than its weights: ValueError."""
    weights = run_dir / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} does not exist: the run has no checkpoint yet, train it first")
    size = weights.stat().st_size
    numbers, blocks = claimed_numbers(experiment, spec)
    if 4 * numbers > max(TIMES * size, FREE) or BYTES_OF_BLOCK * blocks > max(size, FREE // 1000):
        raise ValueError(
            f"{run_dir / CONFIG} describes a model of about {numbers:,} numbers in {blocks:,} blocks; its weights have "
            f"{size:,} bytes: they do not belong together"
        )
