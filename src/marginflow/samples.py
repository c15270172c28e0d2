"""Samples to files: a picture, an array, or a table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from marginflow import plotting
from marginflow.data import DataSpec
from marginflow.flow import Flow
from marginflow.randomness import seeded

FORMATS = (".png", ".npy", ".csv")
ENLARGED = 600  # a grid of images is blown up until it is about this wide


def check_output(output: Path) -> None:
    """Refuse an ending that cannot be written, and a folder that does not exist."""
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a directory: name a file in it")
    if output.suffix not in FORMATS:
        raise ValueError(f"{output} must end in {', '.join(FORMATS)}; got {output.suffix or 'no ending'!r}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"the folder {output.parent} does not exist: make it first")


def draw(model: Flow, spec: DataSpec, num_samples: int, seed: int, chunk: int = 1000) -> Tensor:
    """Samples in the units of the raw data: real rows (N, D), or grey levels (N, C, H, W) as uint8.

    ValueError where any is not finite, or the model needs a context.
    """
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
    if model.context_features:
        raise ValueError(
            f"this model needs a context of {model.context_features} features for each sample: "
            "use marginflow.load(run).sample(n, context) from Python"
        )
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # the flag of samples that are not finite
        try:
            x = torch.cat([model.sample(min(chunk, num_samples - done)) for done in range(0, num_samples, chunk)])
        except RuntimeWarning as flag:
            raise ValueError(f"{flag}: the model has diverged, train it with a lower lr") from flag
    if spec.levels is not None and x.is_floating_point():
        x = (x * spec.levels).floor().clamp(0, spec.levels - 1).to(torch.uint8)
    return x


def write(x: Tensor, spec: DataSpec, output: Path) -> None:
    """Write samples in the format of the file's ending, whole or not at all."""
    part = output.with_name(f"{output.stem}.part{output.suffix}")
    rows = x.cpu().numpy()
    try:
        if output.suffix == ".npy":
            np.save(part, rows)
        elif output.suffix == ".csv":
            flat = rows.reshape(len(rows), -1)
            header = ",".join(f"x{i}" for i in range(flat.shape[1]))
            np.savetxt(part, flat, fmt="%d" if spec.levels else "%.9g", delimiter=",", header=header, comments="")
        elif spec.levels is not None:
            sheet = Image.fromarray(plotting.image_grid(x, spec.levels))
            factor = max(1, ENLARGED // sheet.width)
            sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST).save(part)
        elif spec.features > 1:
            plotting.save(plotting.scatter(x, f"{len(x)} samples"), part)
        else:
            raise ValueError("a .png needs at least 2 features: write .npy or .csv")
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
