"""Candidates on trial: trained on some rows, judged by others, given up where they fall behind."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.moments import Estimate
from marginflow.base.weighted_mean import WeightedMean
from marginflow.data import DataSet, Split
from marginflow.data.dataset import spread_rows
from marginflow.data.tables.statistics import fitted
from marginflow.estimators.candidates import BY_EM
from marginflow.evaluation.evaluate import evaluate_rows
from marginflow.evaluation.floors import real_schema
from marginflow.models import TABLE_MODELS
from marginflow.runs.build import build
from marginflow.runs.schema import Experiment
from marginflow.training import fit

WATCHED = 500  # training rows that stand as validation rows, as the length of the training is settled
LEAST = -1e6  # nats, as which a row of density 0 counts
FAR = 3.0  # standard errors: the best of several is so by luck, too


class Trial(NamedTuple):
    """How a candidate did.

    Attributes:
        name: of the candidate.
        log_prob: of held-out rows: the mean in nats a row, and its standard error.
        num_rows: how many they are; fewer where it was given up before all were held out.
        seconds: of its trainings.
        given_up: whether it was, before all rows were held out or after.
    """

    name: str
    log_prob: Estimate
    num_rows: int
    seconds: float
    given_up: bool


class Attempt(NamedTuple):
    """A training of a candidate that begins.

    Attributes:
        name: of the candidate.
        place: among the candidates that are left, from 1.
        candidates: how many these are.
        fold: whose rows are held out, from 1.
        folds: how many there are; 1 where validation rows are held out.
    """

    name: str
    place: int
    candidates: int
    fold: int
    folds: int


@dataclass
class Runner:
    """A candidate on trial.

    Attributes:
        name: of the candidate.
        experiment: by which it is trained.
        log_probs: of held-out rows, part by part, in nats.
        columns: likewise of each column given those before it, where the model tells.
        weights: of these rows, where they have such.
        seconds: of its trainings.
    """

    name: str
    experiment: Experiment

    def __post_init__(self) -> None:
        self.log_probs: list[Tensor] = []
        self.columns: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.seconds = 0.0

    def run(self, data: DataSet, train: Split, held_out: Split) -> None:
        """Train on some rows, and judge by others."""
        started = time.perf_counter()
        part = with_schema(watched(data, train), self.experiment.model.name)
        model = build(self.experiment, part.spec)
        size = min(self.experiment.train.batch_size, len(train.x))
        config = self.experiment.train.model_copy(update={"batch_size": size, "tensorboard": False})
        options = {"spec": part.spec, "num_samples": self.experiment.evaluate.num_samples}
        columns = None
        self.weights += [] if held_out.weight is None else [held_out.weight.double()]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said of the model that is chosen
                fit(model, part, config)
                scores = evaluate_rows(model, held_out, **options)
                log_prob, columns = scores.log_prob, scores.columns
        except FloatingPointError:  # it has diverged, and is given up
            log_prob = torch.full((len(held_out.x),), LEAST)
        self.log_probs.append(log_prob.double().cpu())
        self.columns += [] if columns is None else [columns.double().cpu()]
        self.seconds += time.perf_counter() - started

    @property
    def is_mixture(self) -> bool:
        """Whether it is one of the mixtures that EM trains."""
        return self.experiment.model.name in BY_EM

    @property
    def mean(self) -> float:
        """Of log p of the held-out rows so far."""
        return self.trial().log_prob.value

    @property
    def num_outside(self) -> int:
        """How many held-out rows have density 0, or none that can be computed."""
        return int((self._every(self.log_probs) <= LEAST).sum())

    def is_behind(self, best: Runner, by: float = FAR) -> bool:
        """Whether log p is less than another's by more than so many standard errors of the paired difference.

        So is one with more rows of density 0, whose differences are no numbers.
        """
        if self.num_outside != best.num_outside:
            return self.num_outside > best.num_outside
        gap = self._estimate(self._every(best.log_probs) - self._every(self.log_probs))
        return gap.value > by * gap.standard_error

    def trial(self, *, given_up: bool = False) -> Trial:
        """How it did so far."""
        values = self._every(self.log_probs)
        return Trial(self.name, self._estimate(values), len(values), self.seconds, given_up)

    def _every(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).clamp_min(LEAST)

    def _estimate(self, values: Tensor) -> Estimate:
        if not self.weights:
            return Estimate.of(values)
        return WeightedMean().add(values, torch.cat(self.weights)).estimate()


def watched(data: DataSet, train: Split) -> DataSet:
    """Rows to train on to the end of a settled length, some of which stand as validation rows."""
    some = Split(*train.take(spread_rows(len(train.x), WATCHED)))
    return replace(data, train=train, validation=some, test=some, trains_on_validation=True)


def with_schema(data: DataSet, model: str) -> DataSet:
    """Rows as a model takes them, with what the training rows tell of columns: for a density of a table's rows real
    numbers have a schema, too."""
    if model not in TABLE_MODELS and data.schema is None:
        return data
    train, schema = data.train.take(), data.schema or real_schema(data.spec)
    with suppress(DataError):  # of a column that is blank in all of these rows; what is known of it stays
        schema = fitted(schema, train.x.double(), train.context, train.weight)
    return replace(data, schema=schema)


def pooled(data: DataSet) -> Split:
    """The training and validation rows of a data set together."""
    parts = data.train.take(), data.validation.take()
    if parts[0].x.data_ptr() == parts[1].x.data_ptr():  # of few rows, which are both
        return Split(*parts[0])
    every = [[each for each in pair if each is not None] for pair in zip(*parts, strict=True)]
    return Split(*(torch.cat(cast("list[Tensor]", each)) if each else None for each in every))  # pyright: ignore
