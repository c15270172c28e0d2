"""Data on its way through a flow, against the layers called one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from marginflow import data, models
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.evaluation.layer_outputs import by_layer, to_latent
from marginflow.report.snapshots import Snapshots
from marginflow.training import EpochRecord, TrainConfig, fit
from marginflow.transforms import Standardise


def test_stages_are_what_the_layers_make() -> None:
    density = models.planar(2, blocks=3)
    standardise = Standardise(2)
    standardise.set_statistics(torch.ones(2), torch.full((2,), 4.0))
    stages = by_layer(Flow([standardise], base=density), x := torch.randn(5, 2))
    assert list(stages) == ["data", "1: Planar", "2: Planar", "3: Planar"]
    expected = (x - 1) / 2
    torch.testing.assert_close(stages["data"], expected)
    for i, layer in enumerate(density.transform):
        expected = layer(expected)[0].detach()
        torch.testing.assert_close(list(stages.values())[i + 1], expected)


def test_noise_and_labels_come_along() -> None:
    flow = models.maf(3, hidden=[8], blocks=2, context_features=2)
    model = Marginalising(LabelMixture(flow, 2), StandardNormal(1))
    x, context = torch.randn(4, 2), torch.eye(2)[[0, 1, 0, 1]]
    stages = by_layer(model, x, context)
    assert next(iter(stages)) == "data and noise"
    torch.testing.assert_close(stages["data and noise"][:, :2], x)
    z, _ = flow.transform(stages["data and noise"], context)
    torch.testing.assert_close(to_latent(model, x, context), z.detach())
    with pytest.raises(ValueError, match="needs labels to send data through it"):
        by_layer(model, x)
    with pytest.raises(ValueError, match="StandardNormal has no layers"):
        by_layer(StandardNormal(2), x)


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
