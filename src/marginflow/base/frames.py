"""Rows of a data frame: columns by name, brought to the order in which a model knows them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.base.names import listed


def column_names(x: object) -> tuple[str, ...]:
    """The names of the columns of a data frame, or of an Arrow table; empty for what has none.

    >>> column_names([[0.0, 1.0]])
    ()
    """
    if isinstance(x, Tensor | np.ndarray | list | tuple):
        return ()
    for each in (getattr(x, "columns", None), getattr(x, "column_names", None)):
        try:
            names = () if isinstance(each, str) or callable(each) else tuple(each)  # pyright: ignore[reportArgumentType]
        except TypeError:
            continue
        if names and all(isinstance(name, str) for name in names):
            return tuple(map(str, names))
    return ()


def by_name(x: Any, names: Sequence[str], stacklevel: int = 2) -> Any:
    """The columns with these names of a data frame, as an array in their order; anything else as it is.

    A `DataWarning` lists columns that are left out.

    Args:
        x: rows, in any form.
        names: of the columns that a model takes; none takes all as they stand.
        stacklevel: of the warning, as `warnings.warn` takes it.

    Returns:
        The rows.

    Raises:
        ValueError: where columns are missing, or have one name.
    """
    found = column_names(x)
    if not found:
        return x
    wanted = list(names) or list(found)
    missing, extra = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    if missing:
        others = f", and has {listed(extra)} instead" if extra else ""
        raise ValueError(
            f"the rows have other columns than the model: they lack {listed(missing)}{others}: the model takes "
            f"{listed(wanted)}; give an array to have them taken by their places"
        )
    if twice := [name for name in wanted if found.count(name) > 1]:
        raise ValueError(f"the rows have several columns named {twice[0]!r}: rename or drop all but one")
    if extra:
        warnings.warn(
            f"the rows: {listed(extra)} left out, not known to the model", DataWarning, stacklevel=stacklevel + 1
        )
    array = np.asarray(x)
    if array.ndim != 2 or array.shape[1] != len(found):
        return array
    array = array[:, [found.index(name) for name in wanted]]
    if extra and array.dtype == object:  # as of a column of text, which is left out
        try:
            return array.astype(float)
        except (ValueError, TypeError):
            return array
    return array
