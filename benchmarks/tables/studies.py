"""What moves the result: a model of ours under other settings, in a record like the comparison's.

python -m benchmarks.tables --as "four orders" --set model.name=mixed --set model.orders=4 --output studies.json
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.tables import ours
from benchmarks.tables.fitted import Fitted
from benchmarks.tables.measure import Task
from marginflow.data.schema import CONTINUOUS, Schema
from marginflow.runs.read_toml import overridden


@dataclass(frozen=True)
class Study:
    """A model by its name in the record, and what is changed of each table."""

    models: Mapping[str, Callable[[Task], Fitted]]
    change: Callable[[Task], Task]


def study(name: str | None, settings: Sequence[str], *, without_atoms: bool = False) -> Study | None:
    """The study of a name, with settings as they are typed behind --set; None without a name."""
    if name is None:
        return None
    options = overridden({}, settings)
    model = options.get("model", {}).pop("name", None)
    return Study(
        {name: lambda task: ours.trained(task, model, options)}, _without_atoms if without_atoms else _as_it_is
    )


def _as_it_is(task: Task) -> Task:
    return task


def _without_atoms(task: Task) -> Task:
    """The same rows and the same measure: on a grid spikes are no atoms, among real numbers they stay."""
    columns = (
        replace(each, atoms=(), shares=(), settled=(*each.settled, "atoms"))
        if each.is_modelled and not each.levels and each.kind not in CONTINUOUS else each
        for each in task.schema.columns
    )  # fmt: skip
    return replace(task, schema=Schema(tuple(columns)))
