"""What is understood of a table before a training: its columns, its split, the model and its settings, in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from marginflow.base.distribution import Distribution
from marginflow.base.literal import literal
from marginflow.data import DataSet, DataSpec, Schema
from marginflow.data.tables.draft import REQUESTED
from marginflow.distributions.mixtures import is_fitted_by_em
from marginflow.training import TrainConfig

SHOWN = 6  # names in a list


def table_lines(source: str, data: DataSet, *, validated: bool = True) -> list[str]:
    """What is understood of a table: its rows, columns and split.

    Args:
        source: what the table is called.
        data: its rows.
        validated: whether the validation rows are others than those that are trained on.

    Returns:
        Lines.

    Examples:
        >>> import torch
        >>> from marginflow.data import Split
        >>> split = Split(torch.randn(2000, 2))
        >>> for line in table_lines("pairs.csv", DataSet("pairs", split, split, split, columns=("x", "y"))):
        ...     print(line)
        pairs.csv: 6,000 rows, 2 columns of real numbers
        split: 2,000 rows to train, 2,000 to validate, 2,000 held out
    """
    train, validation, test = (len(part.x) for part in (data.train, data.validation, data.test))
    validation = validation if validated else 0
    return [
        f"{literal(source)}: {train + validation + test:,} rows, {_columns(data.spec)}",
        f"split: {train:,} rows to train, {validation:,} to validate, {test:,} held out",
    ]


def model_line(name: str, model: Distribution, config: TrainConfig) -> str:
    """What is trained: the model, its parameters, and how long at most.

    Args:
        name: of the model.
        model: as it was built.
        config: of the training.

    Returns:
        A line.

    Examples:
        >>> from marginflow import models
        >>> model_line("planar", models.planar(2, blocks=3), TrainConfig(epochs=5))
        'model: planar, 15 parameters; batches of 100 rows, 5 epochs'
    """
    parameters = sum(each.numel() for each in model.parameters() if each.requires_grad)
    batches = "all rows at once" if is_fitted_by_em(model) else f"batches of {config.batch_size:,} rows"
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs:,} epochs"
    most = "at most " if config.patience else ""
    return f"model: {name}, {parameters:,} parameters; {batches}, {most}{epochs}"


def _columns(spec: DataSpec) -> str:
    """The columns of a table by their kinds."""
    if spec.schema is None:
        given = f", given one of {len(spec.labels)} classes" if spec.labels else ""
        return f"{_count(spec.features)} of real numbers{given}"
    return "; ".join([f"{_count(spec.features)}: {_kinds(spec.schema)}", *_others(spec.schema)])


def _kinds(schema: Schema) -> str:
    found = Counter(column.kind for column in schema.modelled)
    return ", ".join(f"{count} {kind}" for kind, count in found.most_common())


def _others(schema: Schema) -> list[str]:
    """The columns that are given, that weigh, and that are left out on request: of others a warning has told."""
    given = [literal(column.name) for column in schema.given]
    weighing = [literal(column.name) for column in schema.columns if column.weighs]
    out = [literal(column.name) for column in schema.columns if column.reason == REQUESTED]
    parts = {"given": given, "weights": weighing, "left out on request": out}
    return [f"{what}: {_some(names)}" for what, names in parts.items() if names]


def _count(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns:,} columns"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
