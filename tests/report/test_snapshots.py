"""Points kept from epoch to epoch."""

from __future__ import annotations

from pathlib import Path

import torch

from marginflow import data, models
from marginflow.evaluation.layer_outputs import to_latent
from marginflow.report.snapshots import Snapshots
from marginflow.training import EpochRecord, TrainConfig, fit


def test_snapshots_are_taken_when_asked_for() -> None:
    x = torch.randn(50, 2)
    without_statistics = models.maf(2, hidden=[8], blocks=2, batch_norm=True)
    for model, epochs in ((models.planar(2), [0, 1, 3]), (without_statistics, [1, 3])):
        snapshots = Snapshots(x, {1, 3})
        snapshots.start(model)
        rows = data.load("half_moons", num_train=200, num_validation=50, num_test=50)
        fit(model, rows, TrainConfig(epochs=3), observers=[snapshots])
        assert list(snapshots.by_epoch) == epochs
        torch.testing.assert_close(snapshots.by_epoch[3], to_latent(model, x))


def test_snapshots_that_are_kept_are_gone_on_with(tmp_path: Path) -> None:
    x, path = torch.randn(20, 2), tmp_path / "snapshots.safetensors"
    first = Snapshots(x, {1, 3}, path)
    first.start(models.planar(2))
    first.on_epoch(EpochRecord(1, 0.0, 0.0, True, 0.0, 0.0), models.planar(2))
    second = Snapshots(x, {1, 3}, path)
    second.start(models.planar(2), resume=True)
    second.on_epoch(EpochRecord(3, 0.0, 0.0, True, 0.0, 0.0), models.planar(2))
    read = Snapshots.read(path)
    assert list(read.by_epoch) == [0, 1, 3]
    assert torch.equal(read.x, x)
    assert all(torch.equal(read.by_epoch[epoch], first.by_epoch[epoch]) for epoch in (0, 1))
    anew = Snapshots(x, {1}, path)
    anew.start(models.planar(2))
    assert list(anew.by_epoch) == [0]
