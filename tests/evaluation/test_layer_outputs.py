"""Data on its way through a flow, against the layers called one by one."""

from __future__ import annotations

import pytest
import torch
from registry import DISTRIBUTIONS, build_distribution

from marginflow import models
from marginflow.base.devices import evaluation_mode
from marginflow.base.seeds import seeded
from marginflow.base.wrapper import innermost
from marginflow.distributions import Conditional, Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.evaluation.layer_outputs import by_layer, to_latent
from marginflow.nets import MLP
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
    with pytest.raises(ValueError, match="StandardNormal has no layers"):
        by_layer(StandardNormal(2), x)


HOLDS_A_FLOW = [
    name for name in DISTRIBUTIONS if any(isinstance(part, Flow) for part in build_distribution(name).modules())
]


@pytest.mark.parametrize("name", HOLDS_A_FLOW)
def test_every_density_that_holds_a_flow_has_layers_whatever_is_wrapped_around_it(name: str) -> None:
    model = build_distribution(name)
    x, context = DISTRIBUTIONS[name].x(5), DISTRIBUTIONS[name].context(5)
    stages = by_layer(model, x, context, seed=3)
    preprocessing, density = model.preprocessing, model.density
    with seeded(3), evaluation_mode(model):
        rows, _ = preprocessing(x, context)
        inner, rows, seen = innermost(density, rows, context)
        assert isinstance(inner, Flow)
        z, _ = inner.transform(rows, seen)
    torch.testing.assert_close(next(iter(stages.values())), rows.detach())
    torch.testing.assert_close(list(stages.values())[-1], z.detach())


def test_labels_through_a_network_come_along_given_or_drawn() -> None:
    flow = models.maf(3, hidden=[8], blocks=2, context_features=4)
    model = Marginalising(LabelMixture(Conditional(flow, network := MLP(2, 4, [8]), 2), 2), StandardNormal(1))
    x, context = torch.randn(6, 2), torch.eye(2)[[0, 1, 0, 1, 1, 1]]
    stages = by_layer(model, x, context)
    z, _ = flow.transform(stages["data and noise"], network(context))
    torch.testing.assert_close(to_latent(model, x, context), z.detach())
    each = [flow.transform(by_layer(model, x)["data and noise"], network(torch.eye(2)[[k] * 6]))[0] for k in range(2)]
    drawn = to_latent(model, x)
    assert all(any(torch.allclose(row, z[i]) for z in each) for i, row in enumerate(drawn))
