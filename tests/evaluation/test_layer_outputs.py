"""Data on its way through a flow, against the layers called one by one."""

from __future__ import annotations

import pytest
import torch

from marginflow import models
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.evaluation.layer_outputs import by_layer, to_latent
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
