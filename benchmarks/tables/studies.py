"""What moves the result: `mixed` under one setting after the other, on the tables for settings.

python -m benchmarks.tables --studies
python -m benchmarks.tables --as "four orders" --set model.orders=4 --tables abalone --output trial.json
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.tables import ours
from benchmarks.tables.fitted import Fitted
from benchmarks.tables.measure import Task
from marginflow.data.schema import CONTINUOUS, Schema
from marginflow.runs.read_toml import overridden

AS_IT_COMES = "as it comes"  # of few rows eight orders of 128 x 3, three logistics a number, dropout 0.2
WITHOUT_ATOMS = "no atoms on grids"
ONE = ("model.order=sequential", "model.orders=1")
STUDIES: dict[str, Sequence[str]] = {
    AS_IT_COMES: (),
    "one order, of the file": ONE,
    "one order, reversed": ("model.order=reversed", "model.orders=1"),
    "2 orders": ("model.orders=2",),
    "4 orders": ("model.orders=4",),
    "16 orders": ("model.orders=16",),
    "8 orders, the first reversed": ("model.order=reversed", "model.orders=8"),
    "width 32": ("model.hidden=[32,32,32]",),
    "width 256": ("model.hidden=[256,256,256]",),
    "1 logistic": ("model.components=1",),
    "10 logistics": ("model.components=10",),
    "no dropout": ("model.dropout=0.0",),
    "dropout 0.5": ("model.dropout=0.5",),
    WITHOUT_ATOMS: (),
    "2 noise dimensions": ("noise.features=2",),
    "one order, 2 noise dimensions": (*ONE, "noise.features=2"),
    "one order, 256 x 5, 10 logistics, dropout 0.1": (
        *ONE, "model.hidden=[256,256,256,256,256]", "model.components=10", "model.dropout=0.1",
    ),
}  # fmt: skip
OF_MANY_ROWS: dict[str, Sequence[str]] = {
    AS_IT_COMES: (),  # one order of 256 x 5, ten logistics, no dropout
    "reversed": ("model.order=reversed",),
    "2 orders": ("model.orders=2",),
    "4 orders of 128 x 3": ("model.orders=4", "model.hidden=[128,128,128]"),
    "128 x 3": ("model.hidden=[128,128,128]",),
    "512 x 3": ("model.hidden=[512,512,512]",),
    "3 logistics": ("model.components=3",),
    "dropout 0.1": ("model.dropout=0.1",),
    WITHOUT_ATOMS: (),
}
TABLES: dict[str, Mapping[str, Sequence[str]]] = {"abalone": STUDIES, "synthetic": STUDIES, "people": OF_MANY_ROWS}


@dataclass(frozen=True)
class Study:
    """A model by its name in the record, and what is changed of each table."""

    models: Mapping[str, Callable[[Task], Fitted]]
    change: Callable[[Task], Task] = lambda task: task


def every_study(table: str) -> list[Study]:
    """All of a table that are committed."""
    return [study(name, settings, without_atoms=name == WITHOUT_ATOMS) for name, settings in TABLES[table].items()]


def study(name: str, settings: Sequence[str], *, without_atoms: bool = False) -> Study:
    """The study of a name, with settings of `mixed` as they are typed behind --set."""
    options = overridden({}, settings)
    models = {name: lambda task: ours.with_settings(task, options)}
    return Study(models, _without_atoms) if without_atoms else Study(models)


def _without_atoms(task: Task) -> Task:
    """The same rows and the same measure: on a grid spikes are no atoms, among real numbers they stay."""
    columns = (
        replace(each, atoms=(), shares=(), settled=(*each.settled, "atoms"))
        if each.is_modelled and not each.levels and each.kind not in CONTINUOUS else each
        for each in task.schema.columns
    )  # fmt: skip
    return replace(task, schema=Schema(tuple(columns)))
