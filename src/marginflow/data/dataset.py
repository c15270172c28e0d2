"""What a data set is to the rest of the house: three splits and what their numbers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from marginflow.base.arguments import as_tensor, is_text, shown
from marginflow.base.frames import by_name, column_names
from marginflow.base.units import bits_per_nat, log_volume_of_levels
from marginflow.data.schema import Schema

ALL_ZERO = "all weights are 0: give some row a positive weight, or leave the weights out"


@runtime_checkable
class Rows(Protocol):
    """Rows that are made when they are read: what a split asks of a tensor."""

    shape: torch.Size
    dtype: torch.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Some of the rows, as a tensor."""
        ...


class Batch(NamedTuple):
    """Rows as a tensor, and where there are such their context and weights.

    Args:
        x: rows (N, *event).
        context: a context for each row (N, ...); None without one.
        weight: of each row (N,); None where all count the same.

    Examples:
        >>> Batch(torch.zeros(3, 2)).x.shape
        torch.Size([3, 2])
    """

    x: Tensor
    context: Tensor | None = None
    weight: Tensor | None = None


class Split(NamedTuple):
    """Rows of a data set, and where there are such their context and weights.

    Args:
        x: rows (N, *event), a tensor or `Rows` that are made when they are read.
        context: a context for each row (N, ...); None without one.
        weight: of each row (N,), by which losses and means count it; None where all count the same.

    Examples:
        >>> split = Split(torch.arange(6.0).view(3, 2))
        >>> split.take(slice(2)).x.shape
        torch.Size([2, 2])
    """

    x: Tensor | Rows
    context: Tensor | None = None
    weight: Tensor | None = None

    def take(self, rows: slice | Tensor = slice(None)) -> Batch:
        """Some of the rows, by default all, each with its context and weight."""
        context, weight = (None if each is None else each[rows] for each in (self.context, self.weight))
        return Batch(self.x[rows], context, weight)


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its rows.

    Args:
        event_shape: (D,), or (C, H, W) for images.
        levels: grey levels of image data; None for data that are real numbers by nature.
        dequantised: whether noise was added once and x holds (pixel + u) / levels in [0, 1); otherwise images are
            uint8.
        context_features: width of the context, 0 without one.
        columns: the names of the features of a table, empty where they have none.
        labels: the names of the classes whose one-hot vectors are the context, empty where it is something else.
        label_shares: the share of each label, for a mixture over them; empty where they count the same.
        fingerprint: a hash of the values of a table, which tells whether its file is still the same; empty for other
            data sets.
        schema: of a table of columns of any kind, whose rows are as it says; None for rows of real numbers.

    Examples:
        >>> spec = DataSpec((1, 28, 28), levels=256)
        >>> spec.features, round(spec.bits_per_dim(1000.0), 3)
        (784, 1.84)
    """

    event_shape: tuple[int, ...]
    levels: int | None = None
    dequantised: bool = False
    context_features: int = 0
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_shares: tuple[float, ...] = ()
    fingerprint: str = ""
    schema: Schema | None = None

    @property
    def features(self) -> int:
        """Number of scalars in a row."""
        return math.prod(self.event_shape)

    @property
    def column_names(self) -> list[str]:
        """What the features are called in a table: their names, or x0, x1, ..."""
        return list(self.columns) or [f"x{i}" for i in range(self.features)]

    @property
    def log_volume(self) -> float:
        """Nats to add to the log density of x for that of the grey levels: -D log levels where x was scaled."""
        return log_volume_of_levels(self.features, self.levels) if self.levels and self.dequantised else 0.0

    @property
    def bits_per_nat(self) -> float:
        """What a nat a row is in bits/dim."""
        return bits_per_nat(self.features)

    def bits_per_dim(self, nll: float) -> float:
        """A negative log-likelihood of rows as they are given, in nats, as bits/dim of the grey levels."""
        return (nll - self.log_volume) * self.bits_per_nat


@dataclass(frozen=True)
class DataSet:
    """Training, validation and test rows.

    Args:
        name: of the data set.
        train: the training rows.
        validation: the rows by which the best weights are chosen.
        test: the held-out rows.
        levels: grey levels of image data, as in `DataSpec`.
        dequantised: whether noise was added once, as in `DataSpec`.
        entropy: of the distribution that the rows were drawn from, in nats a row, where it is known: no density's
            negative log-likelihood averages below it.
        columns: the names of the features of a table, as in `DataSpec`.
        labels: the names of the classes whose one-hot vectors are the context, as in `DataSpec`.
        label_shares: the share of each label, as in `DataSpec`.
        fingerprint: a hash of the values of a table, as in `DataSpec`.
        schema: of a table, as in `DataSpec`.
        trains_on_validation: whether the validation rows are among those that are trained on, so that they do not tell
            how long to train.

    Raises:
        ValueError: where a split has fewer than 2 rows, values that are not finite, a context that does not match its
            rows, or another shape than the training split.

    Examples:
        >>> x = torch.arange(20.0).view(10, 2)
        >>> data = DataSet("mine", Split(x[:6]), Split(x[6:8]), Split(x[8:]))
        >>> data.spec.event_shape
        (2,)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    levels: int | None = None
    dequantised: bool = False
    entropy: float | None = None
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_shares: tuple[float, ...] = ()
    fingerprint: str = ""
    schema: Schema | None = None
    trains_on_validation: bool = False

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            split, name = getattr(self, part), f"{self.name}, {part} split"
            if isinstance(split, Split):
                columns = self.columns or column_names(split.x)
                object.__setattr__(self, "columns", columns)
                split = as_split(split._replace(x=by_name(split.x, columns)))
                object.__setattr__(self, part, split)
            require_split(split, name, blanks=(self.schema is not None, self.schema is not None))
            for what, found, first in (("rows", split.x, self.train.x), ("context", split.context, self.train.context)):
                if found is not None and first is not None:
                    _require_same_shape(found, first, f"{name}: its {what}")

    @property
    def spec(self) -> DataSpec:
        """What a model must know of the rows."""
        context = self.train.context
        return DataSpec(
            tuple(self.train.x.shape[1:]),
            self.levels,
            self.dequantised,
            0 if context is None else context.shape[1],
            self.columns,
            self.labels,
            self.label_shares,
            self.fingerprint,
            self.schema,
        )


def _require_same_shape(found: Tensor | Rows, first: Tensor | Rows, what: str) -> None:
    if found.shape[1:] != first.shape[1:]:
        shapes = [", ".join(["N", *map(str, each.shape[1:])]) for each in (first, found)]
        raise ValueError(f"{what} must have the shape of the training split's, ({shapes[0]}); got ({shapes[1]})")


def require_spec(spec: object) -> None:
    """Refuse what is no `DataSpec`: ValueError."""
    if not isinstance(spec, DataSpec):
        raise ValueError(f"spec must be a DataSpec, as is model.spec after a training; got {shown(spec)}")


def spread_rows(num_rows: int, most: int) -> Tensor:
    """The numbers of `most` rows, or of all where there are no more, spread evenly over `num_rows`.

    >>> spread_rows(9, 3)
    tensor([0, 4, 8])
    """
    return torch.linspace(0, num_rows - 1, min(num_rows, most)).long()


def as_split(rows: Any) -> Split:
    """Rows, or a pair of rows and context, as a `Split` of tensors; ValueError for what is no number.

    A data frame stays one, for a model that knows the names of its columns.
    """
    if isinstance(rows, DataSet):
        raise ValueError(f"rows must be those of one split; got the data set {rows.name!r}: give data.test")
    parts: tuple[Any, ...] = rows if isinstance(rows, tuple) else (rows, None)
    weight = rows.weight if isinstance(rows, Split | Batch) else None
    if len(parts) != 2 and not isinstance(rows, Split | Batch):
        raise ValueError(f"rows must be numbers (N, ...), or a pair (x, context) of them; got {len(parts)} things")
    x, context = parts[:2]
    made_when_read = not isinstance(x, Tensor) and isinstance(x, Rows) and isinstance(x.shape, torch.Size)
    if not made_when_read and not column_names(x):  # an array looks like rows, too
        x = as_tensor(cast(Any, x), "rows")
    if not is_text(context):  # names of labels stay, for a model that knows them
        context = None if context is None else as_tensor(context, "context")
    return Split(x, context, None if weight is None else as_tensor(weight, "weight"))


def require_split(
    split: Split, name: str, *, least: int = 2, blanks: tuple[bool, bool] = (False, False), one_of_several: bool = False
) -> None:
    """Refuse fewer than `least` rows, values that are not finite, a context or weights that do not match: ValueError.

    blanks: whether NaN stands for a missing value, in rows and in their context. one_of_several: whether more rows
    follow, so that the weights of these may all be 0.
    """
    if not isinstance(split, Split):
        raise ValueError(f"{name} must be a Split of rows, and their context; got {shown(split)}: give Split(x)")
    x, context, weight = split
    if not isinstance(x, Rows):
        raise ValueError(f"{name}: rows must be a tensor; got {shown(x)}: give torch.as_tensor(rows)")
    if len(x.shape) < 2:
        raise ValueError(f"{name}: rows must have shape (N, features) or (N, C, H, W); got {tuple(x.shape)}")
    if len(x) < least or x.shape[1:].numel() == 0:
        rows = "row" if least == 1 else "rows"
        raise ValueError(f"{name}: at least {least} {rows} with at least 1 feature are needed; got {tuple(x.shape)}")
    if isinstance(x, Tensor):  # rows that are made when they are read are pixels
        require_finite(x, name, blanks=blanks[0])
    if is_text(context):
        raise ValueError(f"{name}: the context must be numbers; got {shown(context)}: give one-hot vectors")
    if context is not None:
        if context.ndim < 2 or len(context) != len(x):
            raise ValueError(
                f"{name}: the context must have shape ({len(x)}, features), a row for each row; "
                f"got {tuple(context.shape)}"
            )
        require_finite(context, f"{name}, context", blanks=blanks[1])
    if weight is not None:
        _require_weights(weight, len(x), name)
        if not one_of_several and not bool((weight > 0).any()):
            raise ValueError(f"{name}: {ALL_ZERO}")


def _require_weights(weight: Tensor, num_rows: int, name: str) -> None:
    """Refuse what is no weight of each row: ValueError."""
    if weight.shape != (num_rows,):
        raise ValueError(f"{name}: weights must have shape ({num_rows},), one a row; got {tuple(weight.shape)}")
    wrong = ~(torch.isfinite(weight) & (weight >= 0))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}: the weight {float(weight[row])} of row {row} (counted from 0) is none: a weight is 0 or more, "
            "and finite"
        )


def require_finite(x: Tensor, name: str, *, blanks: bool = False) -> None:
    """Refuse infinity, and NaN where it stands for no missing value: ValueError that says where the first is."""
    wrong = x.isinf() if blanks else ~torch.isfinite(x)
    if not x.is_floating_point() or not bool(wrong.any()):
        return
    where = wrong.nonzero()
    row, *column = where[0].tolist()
    place = f"column {column[0]}" if len(column) == 1 else f"position {tuple(column)}"
    raise ValueError(
        f"{name}: {float(x[tuple(where[0])])} in row {row}, {place} (counted from 0), {len(where)} such values in all: "
        "remove or fill them"
    )
