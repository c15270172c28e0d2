"""One training of the study of batch sizes: its rows, its steps, what a step takes, and its curve."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn import functional

import marginflow as mf
from marginflow import models
from marginflow.data import Split
from marginflow.data.loader import Loader
from marginflow.training.config import CLIP_NORM
from marginflow.training.ema import Average
from marginflow.training.validation import robust_mean
from marginflow.transforms import Standardise

BLOCKS, WEIGHT_DECAY, EMA = 5, 1e-5, 0.99
WIDTHS = {2: 64, 10: 128, 43: 512}  # of the two hidden layers of each block, by the number of columns
COLUMNS, COMPONENTS, SKEWED = 10, 12, 3
MARKS = 13  # of a curve, each sqrt(2) of the steps before
HELD_OUT = 5000


@dataclass(frozen=True)
class Table:
    """Rows to train on, to choose the best weights on and to test on; the entropy of the last where it is known."""

    train: Tensor
    validation: Tensor
    test: Tensor
    entropy: float | None = None


@lru_cache(1)
def known(num_rows: int, seed: int) -> Table:
    """Rows y of a mixture of normal distributions; some columns become log(1 + exp(y)), positive and skewed."""
    rng = np.random.default_rng(0)
    means = torch.from_numpy(rng.normal(0, 1.5, (COMPONENTS, COLUMNS)))
    factors = torch.from_numpy(rng.normal(0, 0.5, (COMPONENTS, COLUMNS, COLUMNS)))
    covariances = factors @ factors.mT + 0.02 * torch.eye(COLUMNS, dtype=torch.float64)
    density = MixtureSameFamily(
        Categorical(torch.from_numpy(rng.dirichlet(np.full(COMPONENTS, 3.0)))), MultivariateNormal(means, covariances)
    )
    torch.manual_seed(1000 + seed)
    num_held_out = min(num_rows // 10, HELD_OUT)
    x = density.sample(torch.Size([num_rows + num_held_out + HELD_OUT]))
    test = x[-HELD_OUT:]
    entropy = float((functional.logsigmoid(test[:, :SKEWED]).sum(1) - density.log_prob(test)).mean())
    x[:, :SKEWED] = functional.softplus(x[:, :SKEWED])
    train, validation, test = x.float().split([num_rows, num_held_out, HELD_OUT])
    return Table(train, validation, test, entropy)


@lru_cache(1)
def real(path: Path, num_rows: int, seed: int) -> Table:
    """Rows of a table; each column with uniform noise as wide as the gaps between its values, drawn once."""
    splits = mf.data.load("table", path=str(path), seed=seed)
    parts = [part.take().x.double() for part in (splits.train, splits.validation, splits.test)]
    x = torch.cat(parts)
    gaps = torch.stack([column.unique().diff().median() for column in x.T])
    x = x + gaps * torch.rand(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    train, validation, test = x.float().split([len(part) for part in parts])
    return Table(train[:num_rows], validation[: min(num_rows // 10, HELD_OUT)], test[:HELD_OUT])


class Training:
    """The steps of `fit` with the recipe of a table, and what the averaged weights are worth after some of them."""

    def __init__(self, table: Table, batch_size: int, lr: float, seed: int = 0, dropout: float = 0.0) -> None:
        torch.manual_seed(seed)
        self.table, columns = table, table.train.shape[1]
        flow = models.maf(columns, hidden=[WIDTHS[columns]] * 2, blocks=BLOCKS, dropout=dropout)
        self.model = mf.Flow([Standardise(columns)], base=flow)
        mf.calibrate(self.model, [table.train])
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr, weight_decay=WEIGHT_DECAY, fused=True)
        self.average = Average(self.model, EMA)
        self.batches = self._batches(Loader(Split(table.train), batch_size, seed=seed))
        self.steps, self.finite = 0, True

    @staticmethod
    def _batches(loader: Loader) -> Iterator[Tensor]:
        for number in itertools.count(1):
            for batch in loader.epoch(number):
                yield batch.x

    def advance(self, steps: int) -> None:
        """Take steps until there are so many, or the loss is not finite."""
        while self.steps < steps and self.finite:
            loss = -self.model.log_prob(next(self.batches)).mean()
            self.finite = math.isfinite(loss.item())
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.average.update(self.model)
            self.steps += 1

    @torch.no_grad()
    def nll(self) -> tuple[float, float]:
        """Of validation and test rows, nats: means less the entropy, or, where that is not known, robust means."""
        nlls = [-self.average.model.log_prob(part).double() for part in (self.table.validation, self.table.test)]
        if self.table.entropy is None:
            return robust_mean(nlls[0]), robust_mean(nlls[1])
        return float(nlls[0].mean()), float(nlls[1].mean()) - self.table.entropy


def seconds_a_step(columns: int, batches: tuple[int, ...], dropout: float = 0.0, repeats: int = 5) -> dict[int, float]:
    """CPU seconds of a training step of each batch size, by turns; the least, as other work can only add to them."""
    rows = torch.randn(30_000, columns)
    table = Table(rows, rows[:100], rows[:100])
    trainings = {size: Training(table, size, 1e-5, dropout=dropout) for size in batches}
    least = dict.fromkeys(batches, math.inf)
    for turn in range(1 + repeats):
        for size, training in trainings.items():
            steps, started = 0, time.process_time()
            while not steps or time.process_time() - started < 0.2:
                training.advance(training.steps + 1)
                steps += 1
            if turn:
                least[size] = min(least[size], (time.process_time() - started) / steps)
    return least


def trial(table: Table, steps: int, what: dict[str, Any]) -> dict[str, Any]:
    """A training by its setting `what`, and its curve: steps, validation, test."""
    started = time.process_time()
    training = Training(table, what["batch_size"], what["lr"], what["seed"], what["dropout"])
    curve = []
    for mark in sorted({max(1, round(steps * 2 ** (-k / 2))) for k in range(MARKS)}):
        training.advance(mark)
        validation, test = training.nll()
        if not (training.finite and math.isfinite(validation) and math.isfinite(test)):
            break
        curve.append((mark, round(validation, 4), round(test, 4)))
    return what | {"cpu_seconds": round(time.process_time() - started, 1), "curve": curve}
