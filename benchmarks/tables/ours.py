"""Our densities: chosen among all candidates as `FlowDensity()` does by default, a named one, and product mixtures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.fitted import Density, Fitted, chosen
from benchmarks.tables.measure import Task, counts_the_same
from marginflow.data import DataSet, DataSpec, Schema, Split
from marginflow.data.dataset import spread_rows
from marginflow.distributions import Flow
from marginflow.estimators.row_log_prob import row_log_prob
from marginflow.estimators.train_best import train_best
from marginflow.estimators.trials import WATCHED
from marginflow.evaluation.sample import RawSamples
from marginflow.runs.build import build
from marginflow.runs.read_toml import parse
from marginflow.runs.schema import IN_MEMORY
from marginflow.training import fit

COMPONENTS = (8, 16, 32, 64, 128, 256, 512)
EPOCHS, PATIENCE = 60, 10  # steps of EM, and those without a gain on validation rows that end them
IN_A_ROW = {"name": "table", "path": IN_MEMORY}


class OfModel:
    """A trained model of the library as a density of rows."""

    def __init__(self, model: Flow, spec: DataSpec) -> None:
        self.model, self.spec = model, spec

    def log_prob(self, x: Tensor) -> np.ndarray:
        """log p of each row, evaluated in float64."""
        return row_log_prob(self.model, x, None)

    def sample(self, number: int, seed: int) -> Tensor:
        """Rows as `marginflow sample` draws them."""
        return torch.cat([each.double() for each in RawSamples(self.model, self.spec, number, seed)])


def by_default(task: Task, options: Mapping[str, Any] = {}) -> Fitted:
    """The model that `FlowDensity()` and `marginflow train file.csv` choose and train.

    The schema is the task's, and so are the validation rows, by which all is chosen and ended of 5,000 rows and more;
    of fewer, the library takes folds of all rows to train on. No clock ends a training.
    """
    return trained(task, None, options)


def trained(task: Task, model: str | None, options: Mapping[str, Any] = {}) -> Fitted:
    """A model of ours, by name or chosen, with the settings that the library gives it."""
    data = task.data()
    found = train_best(data, model=model, options={**options, "data": IN_A_ROW}, seed=task.seed, device="cpu")
    flow = found.model
    assert isinstance(flow, Flow)
    assert flow.spec is not None
    _require_same_measure(flow.spec.schema, task.schema)
    about = {
        "chosen": found.trials[0].name, "epochs": len(found.history),
        "parameters": sum(each.numel() for each in flow.parameters()), "held_out": float(found.log_prob.mean()),
    }  # fmt: skip
    return Fitted(OfModel(flow, flow.spec), about)


def independent_columns(task: Task) -> Fitted:
    """Each column by itself: the product mixture of one component."""
    rows = task.rows_to_train_on
    return Fitted(product_mixture(task.of(rows, rows), 1, False), {"components": 1})


def product_mixtures(task: Task) -> Fitted:
    """A mixture of independent columns with the same factors, with as many components as held-out rows choose."""
    most = len(task.train)
    density, components, scores = chosen(task, [each for each in COMPONENTS if each <= most], product_mixture)
    return Fitted(density, {"components": components, "held_out": scores})


def product_mixture(task: Task, components: int, is_ended: bool) -> Density:
    """A mixture of so many components, by EM; its training is ended by the validation rows or after `EPOCHS` steps."""
    train: dict[str, Any] = {"epochs": EPOCHS, "validate_every": 5, "seed": task.seed, "device": "cpu"}
    train |= {"patience": PATIENCE} if is_ended else {}
    model = {"name": "mixture", "components": components}
    experiment = parse({"data": IN_A_ROW, "model": model, "train": train}, "the settings")
    rows = Split(task.train)
    watched = Split(task.validation) if is_ended else Split(*rows.take(spread_rows(len(task.train), WATCHED)))
    about: dict[str, Any] = {"columns": tuple(task.schema.names), "schema": task.schema}
    data = DataSet("table", rows, watched, watched, trains_on_validation=not is_ended, **about)
    flow = build(experiment, data.spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(flow, data, experiment.train)
    return OfModel(flow.eval(), data.spec)


def _require_same_measure(own: Schema | None, schema: Schema) -> None:
    if not counts_the_same(own, schema):
        raise ValueError("the model counts other cells than the schema: its log p cannot be compared")
