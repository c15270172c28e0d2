"""Data sets by name: `load("half_moons")`, `load("mnist", noise="once")`, `load("table", path="mine.csv")`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from marginflow.base.arguments import shown
from marginflow.base.names import did_you_mean, hint_at
from marginflow.data import maf_tables
from marginflow.data.dataset import DataSet
from marginflow.data.download import Source
from marginflow.data.images import datasets
from marginflow.data.images.datasets import cifar10, digits, mnist
from marginflow.data.maf_tables import bsds300, gas, hepmass, miniboone, power
from marginflow.data.tables.table import table
from marginflow.data.toy import checkerboard, eight_gaussians, half_moons, pinwheel, spirals, two_to_one

DATA_SETS: dict[str, Callable[..., DataSet]] = {
    each.__name__: each
    for each in (
        table,
        half_moons, checkerboard, eight_gaussians, pinwheel, spirals, two_to_one,
        digits, mnist, cifar10,
        power, gas, hepmass, miniboone, bsds300,
    )
}  # fmt: skip

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        datasets.MNIST, datasets.CIFAR10,
        maf_tables.POWER, maf_tables.GAS, maf_tables.HEPMASS, maf_tables.MINIBOONE, maf_tables.BSDS300,
    )
}  # fmt: skip


def source(name: str) -> Source:
    """The files of a data set.

    Args:
        name: a key of `SOURCES`, such as "mnist" or "power".

    Returns:
        A `Source`, which finds and downloads the files.

    Raises:
        ValueError: for a data set that has no files, or is unknown.

    Examples:
        >>> list(source("miniboone").files)
        ['data.npy']
    """
    if not isinstance(name, str) or name not in SOURCES:
        why = "is drawn, or comes with a library" if str(name) in DATA_SETS else "is unknown"
        hint = hint_at(str(name), SOURCES, f"there are files of {', '.join(SOURCES)}")
        raise ValueError(f"data set {shown(name)} {why}: {hint}")
    return SOURCES[name]


def load(name: str, **options: Any) -> DataSet:
    """The data set of this name.

    Args:
        name: a key of `DATA_SETS`, such as "half_moons", "mnist" or "table".
        **options: those of the function of that name.

    Returns:
        A `DataSet` with train, validation and test rows.

    Raises:
        ValueError: for an unknown name or option, and for a table without its path; those of the data set's function.
        FileNotFoundError: where there is no such file, nor a network to download it from.

    Examples:
        >>> load("half_moons", num_train=1000).train.x.shape
        torch.Size([1000, 2])
    """
    if not isinstance(name, str) or name not in DATA_SETS:
        raise ValueError(f"unknown data set {shown(name)}; {hint_at(str(name), DATA_SETS)}")
    known = list(inspect.signature(DATA_SETS[name]).parameters)
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}{did_you_mean(option, known)}"
            raise ValueError(f"data set {name!r} has no option {option!r}; {takes}")
    if name == "table" and "path" not in options:
        raise ValueError("data set 'table' needs the path of a .csv, .parquet, .feather or .npy file")
    return DATA_SETS[name](**options)
