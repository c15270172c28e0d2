"""A valid file for everything that is loaded from strangers, and the call that loads it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import pyarrow as pa
import torch
from pyarrow import feather, parquet

from marginflow import data
from marginflow.data import maf_tables
from marginflow.data.images import datasets as images
from marginflow.data.pickled_frames import read_frame
from marginflow.data.tables import table as tables
from marginflow.data.tables.other_rows import chunks_for
from marginflow.report.page import write_page
from marginflow.report.snapshots import Snapshots
from marginflow.runs.build import build, load_data
from marginflow.runs.directory import created
from marginflow.runs.evaluate import evaluate
from marginflow.runs.load import load as load_run
from marginflow.runs.read_toml import read
from marginflow.runs.run import Run
from marginflow.storage.files import keep, packed
from marginflow.training import fit
from marginflow.training.checkpoint import load_trainer
from marginflow.training.metrics import read_metrics

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPERIMENT = """
[data]
name = "half_moons"
num_train = 200
num_validation = 100
num_test = 100
[preprocess]
standardise = true
[model]
name = "maf"
hidden = [8]
blocks = 2
batch_norm = true
[noise]
features = 1
[train]
epochs = 2
[evaluate]
num_samples = 5
"""
IDX = b"\x00\x00\x08\x03" + struct.pack(">3I", 5, 4, 4) + bytes(range(80))
OF_RUN = ("config.toml", "manifest.json", "metrics.jsonl", "model.safetensors", "trainer.pt", "evaluation.json")


def valid(folder: Path) -> dict[str, Path]:
    """name -> a valid file of its kind; those of a run stand in a run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.toml").write_text(EXPERIMENT)
    experiment = read(folder / "experiment.toml")
    rows = load_data(experiment)
    model = build(experiment, rows.spec)
    with created(folder / "run", experiment, rows.spec):
        fit(model, rows, experiment.train, folder / "run")
    evaluate(Run.open(folder / "run"), experiment.evaluate).keep(folder / "run")
    found = {f"run {name}": folder / "run" / name for name in OF_RUN}
    found |= {"experiment": folder / "experiment.toml", **_tables(folder), **_of_maf(folder), **_idx(folder)}
    keep(folder / "epochs.safetensors", packed({name: torch.randn(5, 2) for name in ("x", "0", "1")}))
    return {**found, "snapshots": folder / "epochs.safetensors"}


def _tables(folder: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    labels = rng.choice(["a", "b"], 60)
    table = pa.table(
        {**{f"c{i}": column for i, column in enumerate(x.T)}, "label": pa.array(labels).dictionary_encode()}
    )
    np.save(folder / "table.npy", x)
    lines = ["c0,c1,c2,label", *(f"{a},{b},{c},{label}" for (a, b, c), label in zip(x, labels, strict=True))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    parquet.write_table(table, folder / "table.parquet")
    feather.write_feather(table, folder / "table.feather")
    (folder / "table.csv.gz").write_bytes(gzip.compress((folder / "table.csv").read_bytes(), mtime=0))
    found = {ending: folder / f"table.{ending}" for ending in ("npy", "csv", "csv.gz", "parquet", "feather")}
    for ending, path in list(found.items()):
        found[f"{ending} in chunks"] = Path(shutil.copy(path, folder / f"chunks.{ending}"))
    return found


def _of_maf(folder: Path) -> dict[str, Path]:
    shutil.copy(FIXTURES / "frame_2016.pickle", folder / "frame.pickle")
    (folder / "maf" / "BSDS300").mkdir(parents=True)
    with h5py.File(folder / "maf" / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for name in ("train", "validation", "test"):
            file.create_dataset(name, data=np.random.default_rng(1).normal(size=(20, 63)), compression="gzip")
    return {"pickle": folder / "frame.pickle", "hdf5": folder / "maf" / "BSDS300" / "BSDS300.hdf5"}


def _idx(folder: Path) -> dict[str, Path]:
    (folder / "images.idx").write_bytes(IDX)
    (folder / "images.idx.gz").write_bytes(gzip.compress(IDX))
    (folder / "cifar.bin").write_bytes(bytes(2 * 3073))
    return {"idx": folder / "images.idx", "idx.gz": folder / "images.idx.gz", "cifar": folder / "cifar.bin"}


def load(name: str, path: Path) -> None:
    """Load a file as a user does who was given it."""
    if name.startswith("run "):
        _load_run(path.parent)
    else:
        LOADERS[name](path)


def _load_run(run: Path) -> None:
    """All that is read of a run; each part for itself, as a mistake in one must not hide one in another."""
    mistakes = []
    for call in (
        lambda: load_run(run).sample(2),
        lambda: load_trainer(run),
        lambda: read_metrics(run),
        lambda: write_page({run: Run.open(run).as_item()}, run / "page.html"),
    ):
        try:
            call()
        except (ValueError, OSError) as error:
            mistakes.append(error)
    if mistakes:
        raise mistakes[0]


def _bsds300(path: Path) -> None:
    os.environ["MARGINFLOW_DATA"] = str(path.parents[2])
    maf_tables.bsds300()


def _cifar10(path: Path) -> None:
    with patch.object(images, "CIFAR10_ROWS", 2):
        images.parse_cifar10(path)


def _chunks(path: Path, columns: tuple[str, ...]) -> None:
    """The rows of a table for a model that knows columns of these names."""
    spec = data.DataSpec((len(columns),), columns=columns, labels=("a", "b"))
    for _ in chunks_for(spec, str(path), labels="label"):
        pass


LOADERS: dict[str, Callable[[Path], object]] = {
    "experiment": read,
    "npy": lambda path: tables.table(str(path)),
    "csv": lambda path: tables.table(str(path), labels="label"),
    "csv.gz": lambda path: tables.table(str(path), labels="label"),
    "parquet": lambda path: tables.table(str(path), labels="label"),
    "feather": lambda path: tables.table(str(path), labels="label"),
    "npy in chunks": lambda path: _chunks(path, ("x0", "x1", "x2")),
    "csv in chunks": lambda path: _chunks(path, ("c0", "c1", "c2")),
    "csv.gz in chunks": lambda path: _chunks(path, ("c0", "c1", "c2")),
    "parquet in chunks": lambda path: _chunks(path, ("c0", "c1", "c2")),
    "feather in chunks": lambda path: _chunks(path, ("c0", "c1", "c2")),
    "pickle": read_frame,
    "hdf5": _bsds300,
    "idx": lambda path: images.parse_idx(path.read_bytes(), path),
    "idx.gz": lambda path: images.parse_idx(images._content(path, hashlib.md5(IDX).hexdigest()), path),
    "cifar": _cifar10,
    "snapshots": Snapshots.read,
}
