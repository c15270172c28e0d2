"""How each library trains on given rows as its own documentation does, and what is recorded meanwhile.

- marginflow: `maf` by OURS, in `marginflow.fit`; what
  `marginflow train file.csv` took before it chose the model itself.
- zuko: the network of its README, a neural spline flow of 3 transforms of 3 x 128 (2 x 64 for two features, as in its
  tutorial on training from data), Adam at 1e-3, batches of 64, as in that tutorial.
- nflows: its example on moons, 5 affine masked autoregressive transforms of width 4, reversed between, Adam at 1e-3,
  batches of 128. There each batch is drawn anew; here all take the same rows. Width 4 was made for two features: for
  more it is 128, as wide as the others.

None of the peers' documents stops early or changes the learning rate; so they train until the time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.sets import Rows

CHUNK = 1000  # rows at once where there is no gradient
OURS = {
    "data": {"name": "table", "path": "rows.csv"},
    "preprocess": {"standardise": True},
    "model": {"name": "maf", "hidden": [128, 128], "blocks": 5, "dropout": 0.1},
    "train": {"epochs": 200, "lr": 1e-3, "ema": 0.99, "weight_decay": 1e-5, "patience": 10},
}


@dataclass(frozen=True)
class Point:
    """After so many CPU seconds of training: the NLL of validation rows, in nats a row as they were, and that of the
    test rows for the weights that were the best on validation so far.
    """

    seconds: float
    validation: float
    held_out: float


class OutOfTime(Exception):
    """Raised from inside a training whose time is over."""


@dataclass
class Record:
    """What is recorded of a training, at equal intervals of its CPU seconds; recording itself does not count."""

    rows: Rows
    budget: float
    interval: float
    points: list[Point] = field(default_factory=list)
    _started: float = field(default_factory=time.process_time)
    _recording: float = 0.0

    @property
    def seconds(self) -> float:
        """CPU seconds of the training so far."""
        return time.process_time() - self._started - self._recording

    @property
    def due(self) -> bool:
        """Whether an interval has passed since the last point, or the time is over."""
        last = self.points[-1].seconds // self.interval if self.points else 0
        return self.seconds // self.interval > last or self.seconds >= self.budget

    @torch.no_grad()
    def enter(self, log_prob: Callable[[Tensor], Tensor]) -> None:
        """Enter where the training stands. log_prob: of its weights, in evaluation mode."""
        seconds, started = self.seconds, time.process_time()
        validation = self._nll(log_prob, self.rows.validation)
        best = min((point.validation for point in self.points), default=float("inf"))
        held_out = self._nll(log_prob, self.rows.test) if validation < best else self.points[-1].held_out
        self.points.append(Point(seconds, validation, held_out))
        self._recording += time.process_time() - started

    def _nll(self, log_prob: Callable[[Tensor], Tensor], x: Tensor) -> float:
        total = sum(float(log_prob(chunk).double().sum()) for chunk in x.split(CHUNK))
        return self.rows.log_scale - total / len(x)


class _Recorder:
    """An observer that enters every epoch that is due into a record, and ends the training when its time is over."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Nothing: the weights that fit validates and keeps are those at the end of an epoch."""

    def on_epoch(self, record: Any, model: nn.Module) -> None:
        """Enter the epoch; record: of the epoch."""
        if self.record.due or record.ended:
            self.record.enter(model)
        if self.record.seconds >= self.record.budget:
            raise OutOfTime


def train_ours(rows: Rows, seed: int, budget: float, interval: float) -> list[Point]:
    """A MAF by OURS; it may end before its time is over, as `patience` has it."""
    from marginflow.data import DataSet, Split
    from marginflow.runs.build import build
    from marginflow.runs.read_toml import parse
    from marginflow.training import fit

    experiment = parse({**OURS, "train": {**OURS["train"], "seed": seed, "device": "cpu"}}, rows.name)
    data = DataSet(rows.name, Split(rows.train), Split(rows.validation), Split(rows.test))
    record = Record(rows, budget, interval)
    model = build(experiment, data.spec)
    try:
        fit(model, data, experiment.train, observers=[_Recorder(record)])
    except OutOfTime:
        pass
    return record.points


def zuko_model(features: int) -> nn.Module:
    import zuko

    return zuko.flows.NSF(features, transforms=3, hidden_features=(64, 64) if features == 2 else (128, 128, 128))


def nflows_model(features: int) -> nn.Module:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation

    width, layers = 4 if features == 2 else 128, []
    for _ in range(5):
        layers += [ReversePermutation(features), MaskedAffineAutoregressiveTransform(features, width)]
    return Flow(CompositeTransform(layers), StandardNormal([features]))


def train_zuko(rows: Rows, seed: int, budget: float, interval: float) -> list[Point]:
    torch.manual_seed(seed)
    record, flow = Record(rows, budget, interval), zuko_model(rows.train.shape[1])
    return _train(flow, lambda x: flow().log_prob(x), record, batch_size=64)


def train_nflows(rows: Rows, seed: int, budget: float, interval: float) -> list[Point]:
    torch.manual_seed(seed)
    record, flow = Record(rows, budget, interval), nflows_model(rows.train.shape[1])
    return _train(flow, flow.log_prob, record, batch_size=128)  # pyright: ignore[reportArgumentType]


def _train(
    flow: nn.Module, log_prob: Callable[[Tensor], Tensor], record: Record, batch_size: int, lr: float = 1e-3
) -> list[Point]:
    """The loop of the peers' documents: shuffled batches, Adam at a constant rate, until the time is over."""
    optimiser, x = torch.optim.Adam(flow.parameters(), lr=lr), record.rows.train
    while record.seconds < record.budget:
        for index in torch.randperm(len(x)).split(batch_size):
            loss = -log_prob(x[index]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if record.due:
                flow.eval()
                record.enter(log_prob)
                flow.train()
            if record.seconds >= record.budget:
                break
    return record.points


TRAININGS: dict[str, Callable[[Rows, int, float, float], list[Point]]] = {
    "marginflow": train_ours,
    "zuko": train_zuko,
    "nflows": train_nflows,
}
