"""Columns that have no density: constant ones, and those whose values repeat."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.data.dataset import spread_rows

MOST_ROWS = 10_000  # that are looked at, spread over all
SAME = 1e-6  # a difference of columns of length 1
MOST_COLUMNS = 500  # among which copies are looked for
FEWEST_ROWS = 30  # from which something can be said of what repeats
ONE_VALUE = 0.05  # of the rows: a share that one value has
FEW_VALUES = 0.05  # of the number of rows: so many different values
ROWS_A_VALUE = 2.0  # on average, where all are whole numbers


def warn_of_repeating_values(x: Tensor, names: Sequence[str], stacklevel: int = 2, dropped: Sequence[str] = ()) -> None:
    """Warn of columns whose values repeat, by one `DataWarning` that lists them.

    A density has no bound there: log p of a value that a share s of the rows have grows by s log 2 a row whenever the
    model halves the width that it gives it, and samples fall between the values.

    Args:
        x: rows (N, D).
        names: of the columns.
        stacklevel: of the warning, as `warnings.warn` takes it.
        dropped: columns that are left out already.

    Examples:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_repeating_values(torch.tensor([[0.0, 1.5]] * 3), ["a", "b"])
        >>> str(caught[0].message)[:45]
        "columns without a density: 'a' is constant (0"
    """
    rows = x[spread_rows(len(x), MOST_ROWS)]
    found = {name: what for name, column in zip(names, rows.T, strict=True) for what in _repeats(column)}
    _warn(found, stacklevel + 1, dropped)


def warn_of_copies(x: Tensor, names: Sequence[str], stacklevel: int = 2) -> None:
    """Warn of columns that are multiples of others before them, by one `DataWarning`: such rows lie in a plane.

    Args:
        x: rows (N, D); of more than 500 columns nothing is said.
        names: of the columns.
        stacklevel: of the warning, as `warnings.warn` takes it.

    Examples:
        >>> rows = torch.linspace(-1, 1, 50)[:, None] * torch.tensor([1.0, 1.8])
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_copies(rows, ["celsius", "kelvin"])
        >>> str(caught[0].message)[:62]
        "column without a density: 'kelvin' is a multiple of 'celsius':"
    """
    _warn(dict(_copies(x[spread_rows(len(x), MOST_ROWS)], names)), stacklevel + 1)


def _warn(found: Mapping[str, str], stacklevel: int, dropped: Sequence[str] = ()) -> None:
    """One warning of columns by name, each with what it is. dropped: those that are left out already."""
    if found:
        said = ", ".join(f"{name!r} {what}" for name, what in list(found.items())[:10])
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        columns, them = ("columns", "them") if len(found) > 1 else ("column", "it")
        warnings.warn(
            DataWarning(
                f"{columns} without a density: {said}{more}: the likelihood has no bound, and samples fall between the "
                "values: add noise as wide as the steps between them",
                [
                    (f"or leave {them} out", {"drop": [*dropped, *found]}),
                    ("or give each column a factor of its kind", {"schema": {}}),
                ],
            ),
            stacklevel=stacklevel + 1,
        )


def _repeats(column: Tensor) -> Iterator[str]:
    """What repeats in a column, in words; nothing where its values could be draws from a density."""
    values, counts = torch.unique(column, return_counts=True)
    most, place = counts.max(0)
    share, value = float(most) / len(column), float(values[place])
    if len(values) == 1:
        yield f"is constant ({value:g})"
    elif len(column) < FEWEST_ROWS:
        return
    elif len(values) <= max(2, FEW_VALUES * len(column)):
        yield f"takes {len(values)} values in {len(column):,} rows"
    elif share > ONE_VALUE and most > 3:
        yield f"is {value:g} in {share:.0%} of the rows"
    elif len(column) / len(values) > ROWS_A_VALUE and bool((values == values.round()).all()):
        yield f"holds whole numbers, {len(values)} in {len(column):,} rows"


def _copies(rows: Tensor, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Columns that are another one before them, in another unit or not: such rows lie in a plane."""
    if len(rows) < FEWEST_ROWS or len(names) > MOST_COLUMNS:
        return
    centred = rows.double() - rows.double().mean(0)
    size = centred.norm(dim=0)
    unit = centred / torch.where(size > 0, size, 1.0)
    for j in range(1, len(names)):
        if size[j] > 0:
            sign = torch.sign(unit[:, :j].T @ unit[:, j])
            apart = (unit[:, :j] * sign - unit[:, j : j + 1]).norm(dim=0)
            nearest = int(apart.argmin())
            if float(apart[nearest]) < SAME:
                yield names[j], f"is a multiple of {names[nearest]!r}"
