"""Our densities: chosen among all candidates as `FlowDensity()` does, `mixed` with settings, and product mixtures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.fitted import Density, Fitted, chosen
from benchmarks.tables.measure import Task, counts_the_same
from marginflow.base.distribution import Distribution
from marginflow.data import DataSet, DataSpec, Split
from marginflow.data.dataset import spread_rows
from marginflow.distributions import Flow
from marginflow.estimators.candidates import STEPS, UNTIL_NO_BETTER, by_steps, named
from marginflow.estimators.row_log_prob import row_log_prob
from marginflow.estimators.train_best import train_best
from marginflow.estimators.trials import WATCHED, with_schema
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


def by_default(task: Task) -> Fitted:
    """The model that `FlowDensity()` and `marginflow train file.csv` choose and train.

    The schema is the task's, and so are the validation rows, by which all is chosen and ended of 5,000 rows and more;
    of fewer, the library takes folds of all rows to train on. No clock ends a training.
    """
    found = train_best(task.data(), options={"data": IN_A_ROW}, seed=task.seed, device="cpu")
    about = {
        "chosen": found.trials[0].name, "epochs": len(found.history), "held_out": float(found.log_prob.mean()),
    }  # fmt: skip
    return _of_measure(found.model, task, about)


def with_settings(task: Task, options: Mapping[str, Any], model: str = "mixed") -> Fitted:
    """A network as it comes for so many rows but for some settings, its training ended by the validation rows."""
    rows = len(task.train)
    train = {**by_steps(rows, STEPS), **UNTIL_NO_BETTER, "seed": task.seed, "device": "cpu"}
    data = with_schema(task.data(), model)
    candidate = named(model, data.spec, rows)
    tables = replace(candidate, tables={**candidate.tables, "train": train}).under({**options, "data": IN_A_ROW})
    experiment = parse(tables, "the settings")
    built = build(experiment, data.spec)
    history = fit(built, data, experiment.train)
    return _of_measure(built.eval(), task, {"epochs": len(history)})


def _of_measure(model: Distribution, task: Task, about: Mapping[str, Any]) -> Fitted:
    """A model that counts the cells of the schema, so that its log p can be compared; ValueError for any other."""
    assert isinstance(model, Flow)
    assert model.spec is not None
    if not counts_the_same(model.spec.schema, task.schema):
        raise ValueError("the model counts other cells than the schema: its log p cannot be compared")
    parameters = sum(each.numel() for each in model.parameters())
    return Fitted(OfModel(model, model.spec), {**about, "parameters": parameters})


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
