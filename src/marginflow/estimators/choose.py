"""The model of a table, chosen by what it says of rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marginflow.data import DataSet, Split
from marginflow.data.dataset import spread_rows
from marginflow.estimators.candidates import Candidate, candidates, known_as
from marginflow.estimators.folds import folds_of, number_of_folds
from marginflow.estimators.trials import Attempt, Runner, Trial, pooled
from marginflow.models import TABLE_MODELS
from marginflow.runs.read_toml import parse
from marginflow.runs.schema import Experiment

REAL = {"kind": "real", "blank": False, "lower": "none", "upper": "none", "atoms": []}  # what a flow takes
KEPT = (3, 2, 1)  # mixtures, and as many networks, that stay after the first fold, the second, the third
TRIED_ON, JUDGED_BY = 20_000, 5_000  # rows at most, where a part is held out


@dataclass(frozen=True)
class Choice:
    """A chosen model.

    Attributes:
        name: of the candidate.
        experiment: the model and how it is trained, with what the user said.
        trials: of all candidates, the chosen one first, then from the best down.
        folds: in which all rows were held out once; 0 where the validation rows were.
        log_prob: (N,), of each training and validation row, in nats, by the chosen model trained without it; None
            without folds.
        columns: (N, D), likewise of each column given those before it, where the model tells.
        weight: (N,), of these rows, where they have such.
    """

    name: str
    experiment: Experiment
    trials: tuple[Trial, ...]
    folds: int
    log_prob: Tensor | None = None
    columns: Tensor | None = None
    weight: Tensor | None = None


def choose(
    data: DataSet,
    tables: Mapping[str, Any],
    *,
    of_any_kind: bool = False,
    seed: int = 0,
    trying: Callable[[Attempt], object] = lambda attempt: None,
    told: Callable[[Trial], object] = lambda trial: None,
) -> Choice:
    """Choose a model for the training and validation rows of a table among `candidates`.

    Below 5,000 rows all but the test rows are held out once, in 5 folds, below 1,000, or in 3. The result is then to be
    trained on all of these, its length being settled. Otherwise, and of rows that are split by groups or in time,
    candidates are trained shortly on at most 20,000 training rows, and judged by validation rows.

    After each fold a candidate is given up that is behind the best by more than three standard errors of the paired
    difference; and of those that are left the best mixtures and the best networks stay, three of each, then two, then
    one. In the end the mixture is taken unless the network is ahead by more than one standard error (Breiman and others
    1984); after short trainings, which a longer one improves, the best. The test split is never used.

    Args:
        data: the rows.
        tables: of an experiment, what the user says: [data], and what stands above the settings of candidates; with
            model.name only models of that name are candidates.
        of_any_kind: whether only densities of a table's rows are candidates, although all columns are real.
        seed: by which folds are drawn.
        trying: called before each training of a candidate.
        told: called with each trial that has ended.

    Returns:
        A `Choice`.

    Raises:
        ValueError: where a setting fits no candidate.

    References:
        Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984.
    """
    rows = pooled(data)
    num_rows, folds = len(rows.x), number_of_folds(len(rows.x)) if _is_free(tables) else 0
    train_rows = num_rows * (folds - 1) // folds if folds else min(len(data.train.x), TRIED_ON)
    known = list(_chosen_among(data, tables, train_rows, on_trial=not folds, of_any_kind=of_any_kind))
    experiments = {each.name: _experiment(each, tables) for each in known}
    different = {str(experiment): name for name, experiment in reversed(experiments.items())}
    runners = [Runner(name, experiments[name]) for name in experiments if name in different.values()]
    place, num_parts, parts = _parts(data, rows, folds, seed)
    alive = _raced(runners, data, parts, num_parts, trying, told)
    best = _simplest_of_the_best(alive) if folds else max(alive, key=lambda each: each.mean)
    trials = _ranked(runners, alive, best)
    winner = _settled(best, tables, data) if folds else _final(best.name, data, tables, of_any_kind)
    if place is None:
        return Choice(best.name, winner, trials, 0)
    back = place.argsort()
    columns = torch.cat(best.columns)[back] if len(best.columns) == len(best.log_probs) else None  # none has diverged
    weight = torch.cat(best.weights)[back] if best.weights else None
    return Choice(best.name, winner, trials, folds, torch.cat(best.log_probs)[back], columns, weight)


def _raced(
    runners: list[Runner],
    data: DataSet,
    parts: Iterator[tuple[Split, Split]],
    num_parts: int,
    trying: Callable[[Attempt], object],
    told: Callable[[Trial], object],
) -> list[Runner]:
    """Train candidates on part after part; those that stay to the end."""
    alive = runners
    for judged, (train, held_out) in enumerate(parts):
        for place, runner in enumerate(alive, 1):
            trying(Attempt(runner.name, place, len(alive), judged + 1, num_parts))
            runner.run(data, train, held_out)
        stay = _stay(alive, KEPT[min(judged, len(KEPT) - 1)])
        for runner in [each for each in alive if each not in stay]:
            told(runner.trial(given_up=True))
        alive = stay
    for runner in alive:
        told(runner.trial())
    return alive


def _ranked(runners: list[Runner], alive: list[Runner], best: Runner) -> tuple[Trial, ...]:
    """All trials: the chosen one, those that stayed to the end, those that were given up; the best first."""
    order = sorted(runners, key=lambda each: (each is not best, each not in alive, -each.mean))
    return tuple(each.trial(given_up=each not in alive) for each in order)


def _is_free(tables: Mapping[str, Any]) -> bool:
    """Whether any row may be held out."""
    of_data = tables["data"]
    return of_data.get("group") is None and of_data.get("split", "rows") == "rows"


def _parts(
    data: DataSet, rows: Split, folds: int, seed: int
) -> tuple[Tensor | None, int, Iterator[tuple[Split, Split]]]:
    """The rows that are held out in turn by number, and so many pairs of rows to train on and rows held out."""
    if not folds:
        train, held_out = (
            Split(*split.take(spread_rows(len(split.x), most)))
            for split, most in ((data.train, TRIED_ON), (data.validation, JUDGED_BY))
        )
        return None, 1, iter([(train, held_out)])
    x, context, _ = rows.take()
    fold = folds_of(x if context is None else torch.cat([context.to(x), x], 1), folds, seed)
    found = fold.unique()  # fewer than folds, where copies leave few different rows
    parts = ((Split(*rows.take(fold != i)), Split(*rows.take(fold == i))) for i in found)
    return torch.cat([(fold == i).nonzero()[:, 0] for i in found]), len(found), parts


def _chosen_among(
    data: DataSet, tables: Mapping[str, Any], num_rows: int, *, on_trial: bool = False, of_any_kind: bool = False
) -> Iterator[Candidate]:
    """All candidates, or those of the model that the user names."""
    name = tables.get("model", {}).get("name")
    found = list(candidates(data.spec, num_rows, on_trial=on_trial, of_any_kind=of_any_kind))
    if name is None:
        return iter(found)
    of_name = [each for each in found if each.model == name]
    return iter(of_name or [known_as(name, num_rows, on_trial=on_trial)])


def _experiment(candidate: Candidate, tables: Mapping[str, Any]) -> Experiment:
    return parse(candidate.under(tables), "the settings")


def _settled(best: Runner, tables: Mapping[str, Any], data: DataSet) -> Experiment:
    """The experiment of the best candidate for all rows that were held out in turn."""
    table = best.experiment.model_dump(mode="json", exclude_none=True)
    table["schema"] = _schema(best.experiment.model.name, tables, data)
    return parse({**table, "data": {**tables["data"], "validation": 0.0}}, "the settings")


def _final(name: str, data: DataSet, tables: Mapping[str, Any], of_any_kind: bool) -> Experiment:
    """The experiment of the best candidate for all training rows, until validation rows no longer gain."""
    every = _chosen_among(data, tables, len(data.train.x), of_any_kind=of_any_kind)
    candidate = next(each for each in every if each.name == name).until_no_better()
    return _experiment(candidate, {**tables, "schema": _schema(candidate.model, tables, data)})


def _schema(model: str, tables: Mapping[str, Any], data: DataSet) -> dict[str, Any]:
    """The section [schema], which is for densities of a table's rows: real numbers are said to be such."""
    if model not in TABLE_MODELS:
        return {}
    if data.schema is None:
        return {column: dict(REAL) for column in data.spec.column_names}
    return dict(tables.get("schema", {}))


def _simplest_of_the_best(alive: list[Runner]) -> Runner:
    """The first, which is the simplest, of those within one standard error of the best in paired differences."""
    best = max(alive, key=lambda each: each.mean)
    return next(each for each in alive if each is best or not each.is_behind(best, by=1.0))


def _stay(alive: list[Runner], most: int) -> list[Runner]:
    """The candidates that stay: so many mixtures and so many networks, none of them far behind the best."""
    ranked = sorted(alive, key=lambda each: -each.mean)
    ranked = [each for each in ranked if each is ranked[0] or not each.is_behind(ranked[0])]
    mixtures = [each for each in ranked if each.is_mixture][:most]
    networks = [each for each in ranked if not each.is_mixture][:most]
    return [each for each in alive if each in mixtures or each in networks]
