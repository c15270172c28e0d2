"""Seconds an epoch: the steps that count."""

from __future__ import annotations

import pytest
import torch

from benchmarks.epochs import FIRST, _Enough, _Stopwatch
from marginflow import fit, models


def test_a_training_ends_after_the_steps_that_are_timed() -> None:
    watch = _Stopwatch(3)
    with pytest.raises(_Enough):
        fit(models.planar(2), torch.randn(4000, 2), {"epochs": 5}, observers=[watch])
    assert len(watch.seconds) == 3
    assert len(watch.ends) == FIRST + 4
    assert watch.num_steps == 36  # nine tenths of the rows, 100 a step
    assert all(seconds > 0 for seconds in watch.seconds)
