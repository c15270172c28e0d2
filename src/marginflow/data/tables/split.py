"""The split of a table's rows into training, validation and test rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.base.seeds import require_seed
from marginflow.data.dataset import Split, spread_rows
from marginflow.data.tables.duplicates import duplicates

ASIDE = 0.1  # of the rows, which stand aside for validation where no share is given
WATCHED = 1000  # training rows that stand as validation rows, where there are none of their own
FAR = 0.05  # of the rows that a part may differ from its share without a word


def split(whole: Split, validation: float, test: float, seed: int, file: Path) -> list[Split]:
    """Training, validation and test rows, drawn by a seed; ValueError where there are fewer than two of one kind.

    validation, test: parts of the rows; without validation rows see `without_validation`.
    """
    rows = by_rows(len(whole.x), validation or ASIDE, test, seed, file)
    return [Split(*whole.take(part)) for part in (rows if validation else without_validation(rows))]


def without_validation(rows: Sequence[Tensor]) -> list[Tensor]:
    """Parts in which all rows but the test rows are trained on, some of which stand as validation rows as well.

    The test rows are those of the parts that are given: what was trained either way can be compared.

    Args:
        rows: the training, validation and test rows by number.

    Examples:
        >>> parts = [torch.tensor([0, 2]), torch.tensor([1]), torch.tensor([3])]
        >>> [part.tolist() for part in without_validation(parts)]
        [[0, 1, 2], [0, 1, 2], [3]]
    """
    train = torch.cat([rows[0], rows[1]]).sort().values
    return [train, train[spread_rows(len(train), WATCHED)], rows[2]]


def by_rows(num_rows: int, validation: float, test: float, seed: int, file: Path) -> list[Tensor]:
    """The training, validation and test rows by number, drawn by a seed, each for itself.

    Args:
        num_rows: of the table.
        validation: share of the rows.
        test: share of the rows.
        seed: by which they are drawn.
        file: of the table.

    Raises:
        ValueError: where there are fewer than two of one kind.

    Examples:
        >>> [len(rows) for rows in by_rows(50, 0.1, 0.2, 0, Path("a.csv"))]
        [35, 5, 10]
    """
    sizes = _sizes(num_rows, validation, test, file)
    order = torch.from_numpy(np.random.default_rng(require_seed(seed)).permutation(num_rows))
    cuts = np.cumsum([0, *sizes])
    return [order[start:stop] for start, stop in pairwise(cuts)][::-1]


def by_different_rows(x: np.ndarray, validation: float, test: float, seed: int, file: Path) -> list[Tensor]:
    """The training, validation and test rows by number, drawn by a seed, copies of a row in one part.

    A table with no more identical rows than chance makes is split by rows: there they are no copies.

    Args:
        x: (N, D), all columns of the table as numbers, NaN where blank.
        validation: share of the rows.
        test: share of the rows.
        seed: by which they are drawn.
        file: of the table.

    Raises:
        ValueError: where there are fewer than two rows of one kind.
    """
    found = duplicates(x)
    if not found.beyond_chance:
        return by_rows(len(x), validation, test, seed, file)
    return by_groups(found.groups, validation, test, seed, file, "different rows")


def by_groups(
    groups: np.ndarray, validation: float, test: float, seed: int, file: Path, what: str = "groups"
) -> list[Tensor]:
    """The training, validation and test rows by number, drawn by a seed, all rows of a group in one part.

    Groups are taken in random order; one that would make a part too large is passed over, so that parts come as close
    to their shares as groups let them. Parts that are far off come with a warning.

    Args:
        groups: (N,), the number of each row's group.
        validation: share of the rows.
        test: share of the rows.
        seed: by which they are drawn.
        file: of the table.
        what: groups are, in words for messages, such as "values of 'customer'".

    Raises:
        DataError: where there are fewer than three groups.
        ValueError: where there are fewer than two rows of one kind.

    Examples:
        >>> customers = np.repeat(np.arange(20), 5)
        >>> train, validation, test = by_groups(customers, 0.1, 0.2, 0, Path("a.csv"))
        >>> len(validation), len(test), set(customers[train]) & set(customers[test])
        (10, 20, set())
    """
    targets = _sizes(len(groups), validation, test, file)[:2]
    numbers, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(numbers) < 3:
        raise DataError([
            f"{file}: {len(numbers)} different {what} are too few to split into training, validation and test rows, "
            "of which each needs its own: name a column of more groups, or split by rows"
        ])  # fmt: skip
    order = np.random.default_rng(require_seed(seed)).permutation(len(numbers))
    part = np.zeros(len(numbers), np.int64)  # 0 training, 1 test, 2 validation
    for number, target in enumerate(targets, 1):
        part[_filled(order[part[order] == 0], sizes, target, leave=len(targets) + 1 - number)] = number
    rows = [torch.from_numpy(np.flatnonzero(part[codes] == number)) for number in (0, 2, 1)]
    _require(rows, file)
    _warn_of_shares(rows, [len(groups) - sum(targets), *targets[::-1]], file, what)
    return rows


def _filled(order: np.ndarray, sizes: np.ndarray, target: int, leave: int) -> np.ndarray:
    """Groups of about `target` rows, taken in order, at least one; at least `leave` others are left."""
    taken, missing = list[np.ndarray](), target
    left = order
    while missing > 0 and len(left) > leave:
        fits = left[sizes[left] <= missing]
        count = int(np.searchsorted(np.cumsum(sizes[fits]), missing, side="right"))
        own = fits[: min(count, len(left) - leave)]
        if not len(own):
            break
        taken.append(own)
        missing -= int(sizes[own].sum())
        left = left[~np.isin(left, own)]
    smallest = left[np.argmin(sizes[left])]
    if not taken or (len(left) > leave and sizes[smallest] - missing < missing):
        taken.append(np.array([smallest]))
    return np.concatenate(taken)


def by_time(times: np.ndarray, validation: float, test: float, file: Path, column: str) -> list[Tensor]:
    """The training, validation and test rows by number: the last are test rows, those before them validation rows.

    Rows of the same time are in one part, so that parts come as close to their shares as times let them.

    Args:
        times: (N,), numbers that rise with time.
        validation: share of the rows.
        test: share of the rows.
        file: of the table.
        column: that holds the times.

    Raises:
        DataError: where times are missing, or fewer than three.
        ValueError: where there are fewer than two rows of one kind.

    Examples:
        >>> years = np.array([2003, 2001, 2002, 2001, 2003, 2002, 2001, 2001.0])
        >>> [rows.tolist() for rows in by_time(years, 0.25, 0.25, Path("a.csv"), "year")]
        [[1, 3, 6, 7], [2, 5], [0, 4]]
    """
    missing = np.isnan(times)
    if missing.any():
        raise DataError([
            f"{file}: column {column!r}, by which the table is split in time, has missing values, {missing.sum()} in "
            f"{len(times)} rows, the first in row {int(missing.argmax())} (counted from 0): fill them, or split by rows"
        ])  # fmt: skip
    sizes = _sizes(len(times), validation, test, file)
    values, counts = np.unique(times, return_counts=True)
    if len(values) < 3:
        raise DataError([
            f"{file}: column {column!r} has {len(values)} different times, too few to split into training, validation "
            "and test rows: name a column of more times, or split by rows"
        ])  # fmt: skip
    before = np.cumsum(counts)[:-1]  # rows before each cut between two times
    last = 1 + int(np.abs(before[1:] - (len(times) - sizes[0])).argmin())
    first = int(np.abs(before[:last] - sizes[2]).argmin())
    starts = (values[first + 1], values[last + 1])
    kinds = (times >= starts[0]).astype(int) + (times >= starts[1])
    rows = [torch.from_numpy(np.flatnonzero(kinds == kind)) for kind in range(3)]
    _require(rows, file)
    _warn_of_shares(rows, sizes[::-1], file, f"times in column {column!r}")
    return rows


def _sizes(num_rows: int, validation: float, test: float, file: Path) -> list[int]:
    """How many test, validation and training rows there are to be."""
    sizes = _parts(num_rows, validation, test)
    if min(sizes) < 2:
        share = math.ceil(40 / max(num_rows, 1)) / 20  # of two rows, in twentieths
        larger = [("or larger shares", {"validation": share, "test": share})] if share <= 0.4 else []
        enough = next(count for count in range(6, 10**9) if min(_parts(count, validation, test)) >= 2)
        raise DataError(
            [
                f"{file}: {num_rows} rows are too few to split into training, validation and test rows, of which there "
                f"must be two each: give {enough:,} rows or more"
            ],
            larger,
        )
    return sizes


def _parts(num_rows: int, validation: float, test: float) -> list[int]:
    sizes = [round(num_rows * part) for part in (test, validation)]
    return [*sizes, num_rows - sum(sizes)]


def _require(rows: list[Tensor], file: Path) -> None:
    if min(map(len, rows)) < 2:
        raise ValueError(
            f"{file}: {len(rows[0])} training, {len(rows[1])} validation and {len(rows[2])} test rows: at least two of "
            "each are needed"
        )


def _warn_of_shares(rows: list[Tensor], sizes: list[int], file: Path, what: str) -> None:
    total = sum(sizes)
    found = [len(part) for part in rows]
    if max(abs(own - size) for own, size in zip(found, sizes, strict=True)) > FAR * total:
        shares = ", ".join(f"{own / total:.0%}" for own in found)
        warnings.warn(
            f"{file}: training, validation and test rows are {shares} of the table, as close to the shares asked for "
            f"as whole {what} let them",
            DataWarning,
            stacklevel=3,
        )
