"""One measure for all: the schema that the training rows of a part tell, and the rows by it.

A row's log p is the logarithm of probabilities of grid cells, levels, atoms and blanks, and of densities in the units
of the file for the rest. Kinds, grids, levels and blanks are the library's own inference from the rows to train on,
validation rows among them, kinds once for all parts of a table; atoms and bounds of real numbers are settled from
then on, so that no model that looks at some of these rows may change what is counted. Test rows with a cell that the
schema has no place for, such as a level that no row to train on has, have no probability under any model: they are
left out for all, and counted.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.sets import Columns, size_of, take
from marginflow.data import DataSet, Split
from marginflow.data.column_options import ColumnOptions
from marginflow.data.schema import CONTINUOUS, LEVELLED, Column, Schema
from marginflow.data.tables.by_schema import drafted_rows
from marginflow.data.tables.encode import encoded
from marginflow.data.tables.gaps import Gaps
from marginflow.data.tables.read import Content
from marginflow.data.tables.statistics import fitted
from marginflow.estimators.candidates import are_real

FOLDS, FEW = 5, 2_000  # of a table with fewer rows each is held out once
HELD_OUT = 0.1  # of the rows, for validation, and for the test of a larger table
FILE = Path("table")  # in messages
Options = Mapping[str, ColumnOptions]
SETTLED = ("lower", "upper", "atoms")
REAL = ColumnOptions(kind="real", blank=False, lower="none", upper="none", atoms=[])


@dataclass(frozen=True)
class Task:
    """Rows of a table, split, as numbers of one schema.

    Attributes:
        schema: of the table.
        train, validation, test: rows (N, D), float64.
        left_out: test rows that the schema has no place for.
        seed: of what a model draws.
    """

    schema: Schema
    train: Tensor
    validation: Tensor
    test: Tensor
    left_out: int
    seed: int

    @property
    def is_real(self) -> bool:
        """Whether all columns are real numbers without atoms, blanks and bounds."""
        return are_real(self.schema)

    @property
    def rows_to_train_on(self) -> Tensor:
        """The training and validation rows."""
        return torch.cat([self.train, self.validation])

    def data(self) -> DataSet:
        """As the library's trainings take it, validation rows in place of test rows, real numbers without schema."""
        train, validation = Split(self.train), Split(self.validation)
        schema = None if self.is_real else self.schema
        return DataSet("table", train, validation, validation, columns=tuple(self.schema.names), schema=schema)

    def of(self, train: Tensor, validation: Tensor) -> Task:
        """The same table with other rows to train on."""
        return replace(self, train=train, validation=validation)

    def about(self) -> dict[str, object]:
        """Rows and columns by kind, for a record."""
        return {
            "train": len(self.train), "validation": len(self.validation), "test": len(self.test),
            "left_out": self.left_out, "kinds": dict(Counter(each.kind for each in self.schema.columns)),
            "blank": sum(each.blank for each in self.schema.modelled),
            "real_atoms": sum(len(each.atoms) for each in self.schema.modelled if each.kind in CONTINUOUS),
        }  # fmt: skip


def number_of_parts(rows: int, seeds: int) -> int:
    """In how many parts a table is held out: its folds, or the splits by so many seeds.

    >>> number_of_parts(1_000, 3), number_of_parts(50_000, 3)
    (5, 3)
    """
    return FOLDS if rows < FEW else seeds


def split(rows: int, part: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of training, validation and test rows: a fold of few rows, else a tenth drawn by seed.

    >>> [len(each) for each in split(100, 0)], [len(each) for each in split(5_000, 0)]
    ([70, 10, 20], [4000, 500, 500])
    """
    if rows < FEW:
        order = np.random.default_rng([0, rows]).permutation(rows)
        test = order[part::FOLDS]
        rest = np.random.default_rng([1, part]).permutation(np.setdiff1d(order, test))
    else:
        order = np.random.default_rng([2, part]).permutation(rows)
        test, rest = np.split(order, [round(HELD_OUT * rows)])
    validation, train = np.split(rest, [round(HELD_OUT * rows)])
    return train, validation, test


def kinds_of(columns: Columns, *, real: bool = False) -> Options:
    """The kinds of a table's columns in all its parts: as the rows to train on of the first part tell, or all real."""
    if real:
        return dict.fromkeys(columns, REAL)
    return {each.name: ColumnOptions(kind=each.kind) for each in _drafted(columns, 0, {})[0].columns}


def task_of(columns: Columns, part: int, kinds: Options) -> Task:
    """A part of a table by the schema of its rows to train on.

    Args:
        columns: of the table, without repeated rows.
        part: the number of the fold, or the seed of the split.
        kinds: of the columns.

    Returns:
        The task, whose seed is the part's number.
    """
    train, validation, test = (take(columns, rows) for rows in split(size_of(columns), part))
    schema, whole = _drafted(columns, part, kinds)
    x, num_train = whole.take().x, size_of(train)
    schema = settled(fitted(schema, x[:num_train], all_rows=x))
    gaps = Gaps()
    held_out = encoded(test, schema, FILE, read=gaps.of_kind)[0]
    known = torch.ones(len(held_out), dtype=torch.bool) if gaps.rows is None else ~gaps.rows
    parts = x[:num_train].double(), x[num_train:].double(), held_out[known].double()
    assert size_of(validation) == len(parts[1])
    return Task(schema, *parts, left_out=int((~known).sum()), seed=part)


def _drafted(columns: Columns, part: int, kinds: Options) -> tuple[Schema, Split]:
    """The schema of the rows to train on, without statistics, and these rows, training rows first."""
    train, validation, _ = split(size_of(columns), part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is said of each table is not the matter here
        return drafted_rows(Content(take(columns, np.concatenate([train, validation]))), FILE, kinds)


def settled(schema: Schema) -> Schema:
    """A schema whose atoms and bounds of real numbers stay, whatever rows a model looks at."""
    return Schema(tuple(
        replace(each, settled=SETTLED) if each.is_modelled and each.kind in CONTINUOUS else each
        for each in schema.columns
    ))  # fmt: skip


def counts_the_same(own: Schema | None, schema: Schema) -> bool:
    """Whether a model's schema counts what another does: kinds, grids, levels, blanks, atoms of real numbers."""
    return own is None or [_counted(each) for each in own.modelled] == [_counted(each) for each in schema.modelled]


def _counted(column: Column) -> tuple[object, ...]:
    grid = column.grid
    atoms = column.atoms if column.kind in CONTINUOUS else ()
    return column.name, column.kind in LEVELLED, grid, column.levels, column.blank, atoms
