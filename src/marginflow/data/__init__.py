"""Data sets by name: `load("half_moons")`, `load("mnist", noise="once")`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from marginflow.data.dataset import DataSet, DataSpec, Split
from marginflow.data.images import data_root, digits, mnist
from marginflow.data.toy import half_moons

__all__ = ["DATA_SETS", "DataSet", "DataSpec", "Split", "data_root", "digits", "half_moons", "load", "mnist"]

DATA_SETS: dict[str, Callable[..., DataSet]] = {"digits": digits, "half_moons": half_moons, "mnist": mnist}


def load(name: str, **options: Any) -> DataSet:
    """The data set of this name.

    name: "half_moons", "digits" or "mnist". options: those of the function of that name.

    Returns a `DataSet` with train, validation and test rows. ValueError for an unknown name or option.

    >>> load("half_moons", num_train=1000).train.x.shape
    torch.Size([1000, 2])
    """
    if name not in DATA_SETS:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(sorted(DATA_SETS))}")
    known = list(inspect.signature(DATA_SETS[name]).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"data set {name!r} has no option {option!r}; it takes {', '.join(known)}")
    return DATA_SETS[name](**options)
