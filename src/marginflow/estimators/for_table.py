"""The model of a table in files: the one that is named, or chosen where none is, as `marginflow train` has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from marginflow.base.data_warning import DataWarning
from marginflow.data import DataSet
from marginflow.data.tables.duplicates import duplicates
from marginflow.estimators.candidates import are_real, named
from marginflow.estimators.choose import Choice, choose
from marginflow.estimators.record import keep_trials
from marginflow.estimators.trials import Attempt, Trial
from marginflow.runs.build import load_data
from marginflow.runs.experiments import table_alone
from marginflow.runs.held_out import HeldOut
from marginflow.runs.read_toml import overridden, parse
from marginflow.runs.schema import Experiment


def named_for(files: Sequence[Path], overrides: Sequence[str], data: DataSet) -> Experiment:
    """The experiment of a table whose model is named, or settled by what is said of it: see `candidates.named`.

    Args:
        files: of the table.
        overrides: such as "train.lr=1e-4", which stay.
        data: the rows.
    """
    tables = overridden(table_alone(files), overrides)
    candidate = named(tables["model"]["name"], data.spec, len(data.train.x))
    return parse(candidate.under(tables), ", ".join(map(str, files)))


def choice_for(
    files: Sequence[Path],
    overrides: Sequence[str],
    *,
    understood: Callable[[DataSet], object] = lambda data: None,
    trying: Callable[[Attempt], object] = lambda attempt: None,
    told: Callable[[Trial], object] = lambda trial: None,
) -> tuple[Choice, DataSet]:
    """Choose the model of a table, see `choose`.

    Args:
        files: of the table.
        overrides: such as "train.lr=1e-4", none of which names a model.
        understood: called with the rows, before the first candidate is trained.
        trying: called before each training of a candidate.
        told: called with each trial that has ended.

    Returns:
        The choice, whose experiment reads the same rows again with the same test rows; and the rows.

    Raises:
        ValueError: where the table or an override cannot be used.
    """
    tables = overridden({"data": table_alone(files)["data"]}, overrides)
    any_kind = parse({**tables, "model": {"name": "mixed"}}, ", ".join(map(str, files)))
    of_data = any_kind.data.model_dump()
    if not of_data["validation"]:
        raise ValueError("a model is chosen by rows it has not seen: leave data.validation out, or give --model NAME")
    data = load_data(any_kind)
    understood(data)
    can_take = _flows_can_take(data)
    if can_take:
        assert data.schema is not None
        names = {"columns": data.schema.names, "drop": []}
        tables = {**tables, "data": {**tables["data"], **names}}
        tables.pop("schema", None)
        data = replace(data, schema=None)
    how: dict[str, Any] = {"of_any_kind": not can_take, "seed": of_data["seed"], "trying": trying, "told": told}
    return choose(data, tables, **how), data


def _flows_can_take(data: DataSet) -> bool:
    """Whether the rows can be read as real numbers without a schema, and are then split as they are here."""
    schema = data.schema
    if schema is None or schema.given or any(each.weighs for each in schema.columns) or not are_real(schema):
        return False
    every = torch.cat([split.take().x for split in (data.train, data.validation, data.test)])
    return not duplicates(every.numpy()).beyond_chance


def load_again(choice: Choice, before: DataSet) -> DataSet:
    """The rows on which a chosen model is trained; what is suspicious in them was said before.

    ValueError where its test rows are no longer those before the choice, so that some may have been seen.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        data = load_data(choice.experiment)
    old, new = (each.test.take().x.nan_to_num() for each in (before, data))
    if old.shape != new.shape or not bool((old == new).all()):
        raise ValueError("the table has changed while models were tried: train again")
    return data


def keep_choice(choice: Choice, run_dir: Path) -> None:
    """Write how the model was chosen beside it, and log p of the rows that were held out in folds."""
    keep_trials(run_dir, choice.trials, choice.folds)
    if choice.log_prob is not None:
        about = {"cross_fitted": True, "weight": choice.weight, "columns": choice.columns}
        HeldOut.of(choice.log_prob, **about).keep(run_dir)
