"""Samples to files: a picture, an array, or a table."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from csv import writer as csv_writer
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import csv, feather, parquet
from torch import Tensor

from marginflow import plotting
from marginflow.checkpoint import write_whole
from marginflow.data import DataSpec
from marginflow.data.dataset import check_seed
from marginflow.data.tables import FORMATS as TABLES
from marginflow.distributions import rows_at_once
from marginflow.flow import Flow
from marginflow.randomness import seeded
from marginflow.temperature import at_temperature

FORMATS = (".png", *TABLES)
ENLARGED = 600  # a grid of images is blown up until it is about this wide


def check_output(output: Path, formats: Sequence[str] = FORMATS) -> None:
    """Refuse an ending that is none of the formats, and a folder that does not exist."""
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a directory: name a file in it")
    if output.suffix.lower() not in formats:
        raise ValueError(f"{output} must end in {', '.join(formats)}; got {output.suffix or 'no ending'!r}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"the folder {output.parent} does not exist: make it first")


def draw(
    model: Flow,
    spec: DataSpec,
    num_samples: int,
    seed: int,
    *,
    label: str | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Samples in the units of the raw data: real rows (N, D), or grey levels (N, C, H, W) as uint8.

    label: the class to draw from, by name; all of them, equally often, without it. temperature: see `at_temperature`.

    FloatingPointError where any is not finite. ValueError where there is no such label, or the model needs a context
    that is no label.
    """
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
    check_seed(seed)
    context = _context(model, spec, label)
    tempered = model if temperature == 1 else at_temperature(model, temperature)
    with seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("error", ".*samples are not finite", RuntimeWarning)
        try:
            at_once = min(1000, rows_at_once(model))
            sizes = [min(at_once, num_samples - done) for done in range(0, num_samples, at_once)]
            x = torch.cat([
                tempered.sample(size, None if context is None else context.expand(size, -1)) for size in sizes
            ])  # fmt: skip
        except RuntimeWarning as flag:
            raise FloatingPointError(f"{flag}: the model has diverged, train it with a lower lr") from flag
    if spec.levels is not None and x.is_floating_point():
        x = (x * spec.levels).floor().clamp(0, spec.levels - 1).to(torch.uint8)
    return x


def _context(model: Flow, spec: DataSpec, label: str | None) -> Tensor | None:
    """The one-hot vector of a label, (1, C); None where none is asked for or needed."""
    if label is None:
        if model.context_features and not model.context_optional:
            raise ValueError(
                f"this model needs a context of {model.context_features} features for each sample: "
                "use marginflow.load(run).sample(n, context) from Python"
            )
        return None
    if not spec.labels or not model.context_features:
        raise ValueError("this model was trained without labels: leave --label out, or train with data.labels")
    if label not in spec.labels:
        raise ValueError(f"label {label!r} is not one of the model's: {', '.join(spec.labels)}")
    context = torch.zeros(1, len(spec.labels)).to(next(model.parameters()))
    context[0, spec.labels.index(label)] = 1
    return context


def write(x: Tensor, spec: DataSpec, output: Path) -> None:
    """Write samples in the format of the file's ending, whole or not at all.

    A table has one column a feature, under the names of the data's columns, or x0, x1, ...
    """
    ending = output.suffix.lower()
    if ending == ".png":
        write_whole(output, lambda file: _picture(x, spec, file))
    elif ending == ".npy":
        write_whole(output, lambda file: np.save(file, x.cpu().numpy()))
    else:
        write_columns(dict(zip(spec.column_names, x.flatten(1).T, strict=True)), output)


def write_columns(columns: Mapping[str, Tensor], output: Path) -> None:
    """Write columns (N,) as a table in the format of the file's ending, whole or not at all."""
    arrays = {name: np.ascontiguousarray(column.cpu().numpy()) for name, column in columns.items()}
    ending = output.suffix.lower()
    if ending == ".npy":
        write_whole(output, lambda file: np.save(file, np.stack(list(arrays.values()), 1)))
    else:
        write_whole(output, lambda file: _table(pa.table(arrays), file, ending))


def _table(table: pa.Table, file: BinaryIO, ending: str) -> None:
    if ending == ".csv":
        header = io.StringIO()
        csv_writer(header, lineterminator="\n").writerow(table.column_names)  # quoted only where needed
        file.write(header.getvalue().encode())
        csv.write_csv(table, file, csv.WriteOptions(include_header=False))
    elif ending == ".parquet":
        parquet.write_table(table, file)
    else:
        feather.write_feather(table, file)


def _picture(x: Tensor, spec: DataSpec, file: BinaryIO) -> None:
    """A grid of images, or a scatter plot of the first two features."""
    if spec.levels is not None:
        sheet = Image.fromarray(plotting.image_grid(x, spec.levels))
        factor = max(1, ENLARGED // sheet.width)
        enlarged = sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)
        enlarged.save(file, format="png")
    elif spec.features > 1:
        names = spec.columns or ("feature 0", "feature 1")
        plotting.scatter(x, f"{len(x)} samples", names).savefig(file, format="png", dpi=120)
    else:
        raise ValueError("a .png needs at least 2 features: write .csv, .parquet, .feather or .npy")
