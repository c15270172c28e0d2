"""How long a training takes is told once, by its first steps where an epoch is long, else by its first epoch."""

from __future__ import annotations

import pytest

from marginflow.models import planar
from marginflow.training import EpochRecord, TrainConfig
from marginflow.training.pace import Pace


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


def test_a_long_epoch_is_told_by_its_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[str]()
    pace = Pace(TrainConfig(epochs=10, patience=None), told.append)
    clock.now += 30  # of compiling
    for step in range(1, 11):
        pace.on_step(1, step, 300, 2.0)
        clock.now += 0.5  # so that 300 steps take 150 s
    assert told == []
    for step in range(11, 40):
        pace.on_step(1, step, 300, 2.0)
        clock.now += 0.5
    pace.on_epoch(EpochRecord(1, 2.0, 2.0, True, 150.0), planar(2))
    assert told == ["about 2 min an epoch: at most 25 min"]


def test_a_short_one_is_told_by_itself_and_only_what_is_left_is_counted() -> None:
    told = list[str]()
    pace = Pace(TrainConfig(epochs=10, patience=4), told.append)
    for step in range(1, 4):
        pace.on_step(6, step, 3, 2.0)
    for epoch in (6, 7):
        pace.on_epoch(EpochRecord(epoch, 2.0, 2.0, True, 4.0), planar(2))
    assert told == ["about 4.0 s an epoch: at most 20 s, less where 4 epochs bring nothing better"]
