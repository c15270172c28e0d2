"""Clipping: by norm unless something else is said, and never what a training did without."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers import config
from torch import Tensor

from marginflow import models
from marginflow.distributions import DiagonalNormal
from marginflow.training import TrainConfig, fit
from marginflow.training.checkpoint import load_trainer, save_trainer
from marginflow.training.config import CLIP_NORM


def test_the_default_is_a_number_in_the_configuration() -> None:
    assert TrainConfig().clip_norm == TrainConfig(clip_norm=None).clip_norm == CLIP_NORM
    assert TrainConfig(clip_value=1.0).clip_norm is None
    assert TrainConfig(clip_norm=0).clip_norm == TrainConfig(clip_norm=0, clip_value=1.0).clip_norm == 0.0
    assert TrainConfig.model_validate(TrainConfig().model_dump()) == TrainConfig()
    with pytest.raises(ValueError, match="two ways to do one thing"):
        TrainConfig(clip_norm=1.0, clip_value=1.0)


@pytest.mark.parametrize(
    ("options", "largest"),
    [({}, CLIP_NORM), ({"clip_norm": 3.0}, 3.0), ({"clip_norm": 0}, None), ({"clip_value": 1e9}, None)],
)
def test_gradients_are_clipped_unless_that_is_turned_off(options: dict[str, object], largest: float | None) -> None:
    model = DiagonalNormal(60)
    norms: list[float] = []

    class Norms(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            norms.append(math.hypot(*(float(each.grad.norm()) for each in model.parameters() if each.grad is not None)))

    fit(model, torch.randn(300, 60) * 6, config(epochs=1, **options), optimiser=Norms(model.parameters(), lr=1e-3))
    if largest is None:
        assert min(norms) > 2 * CLIP_NORM
    else:
        assert norms == pytest.approx([largest] * len(norms))


def test_a_training_from_before_is_resumed_without_clipping(tmp_path: Path) -> None:
    """Its state says nothing of a norm."""
    rows = torch.randn(300, 20) * 6

    def trained(name: str, epochs: int, **options: object) -> dict[str, Tensor]:
        torch.default_generator.manual_seed(0)
        model = models.maf(20, hidden=[32], blocks=2)
        fit(model, rows, config(epochs=epochs, lr=1e-2, **options), tmp_path / name, resume=True)
        return model.state_dict()

    whole, clipped = trained("whole", 4, clip_norm=0), trained("clipped", 4)
    assert any(not torch.equal(clipped[name], whole[name]) for name in whole), "a test that cannot fail"
    trained("old", 2, clip_norm=0)
    state = load_trainer(tmp_path / "old")
    assert state is not None
    for key in ("clip_norm", "rate_scale", "untrained_nll"):
        del state[key]
    for line in state["history"]:
        for key in ("validation_robust_nll", "heavy_rows", "returned", "ended"):
            del line[key]
    save_trainer(state, tmp_path / "old")
    resumed = trained("old", 3)
    resumed = trained("old", 4)  # and what was resumed still is one without
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
