"""What surrounds a call changes neither whether a model is trained nor any number."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

import marginflow as mf
from marginflow import models
from marginflow.distributions import Distribution

SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
MODELS: dict[str, Callable[[], Distribution]] = {
    "batch norm": lambda: models.maf(2, hidden=[8], blocks=2, batch_norm=True),
    "planar": lambda: models.planar(2, blocks=2),
    "iaf": lambda: models.iaf(2, hidden=[8], blocks=2),
}
SETTINGS = {"epochs": 1, "batch_size": 50}


def built(name: str) -> Distribution:
    torch.default_generator.manual_seed(0)
    return MODELS[name]().float()


def rows() -> torch.Tensor:
    return torch.randn(300, 2, generator=torch.Generator().manual_seed(1))


def numbers(model: Distribution, x: torch.Tensor) -> list[object]:
    torch.default_generator.manual_seed(2)
    return [
        [record.validation_nll for record in mf.fit(model, x, SETTINGS)],
        mf.evaluate(model, x).bound.value,
        str(mf.check(model, x[:50])),
        mf.sample(model, 5).x.tolist(),
        mf.log_likelihood(model, x[:3]).log_prob.tolist(),
    ]


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_the_same_inside(name: str, surroundings: str) -> None:
    expected = numbers(built(name), rows())
    model = built(name)
    with SURROUNDINGS[surroundings]():
        assert numbers(model, rows()) == expected
        assert torch.is_autocast_enabled("cpu") == (surroundings == "autocast")
    model.log_prob(rows()).sum().backward()  # and what was learned inside can be trained outside
    mf.fit(model, rows(), SETTINGS)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_density_is_fitted_inside(surroundings: str) -> None:
    results = []
    for around in (SURROUNDINGS[surroundings], torch.enable_grad):
        model = built("iaf")
        with around():
            fitted = mf.fit_to_density(model, lambda x: -0.5 * x.square().sum(1), {"steps": 5, "num_samples": 16})
        results.append((fitted.free_energy, fitted.log_normaliser))
    assert results[0] == results[1]


def test_weights_that_take_no_gradients_are_refused() -> None:
    with torch.inference_mode():
        model = models.planar(2)
    for call in (lambda: mf.fit(model, rows()), lambda: mf.fit_to_density(model, lambda x: x.sum(1))):
        with pytest.raises(ValueError, match="they take no gradients: build or load"):
            call()


def test_statistics_that_are_set_inside_can_be_trained_through() -> None:
    model = mf.Flow([mf.transforms.Standardise(2)], models.planar(2))
    with torch.inference_mode():
        mf.calibrate(model, [rows()])
    model.log_prob(rows().requires_grad_()).sum().backward()


@pytest.mark.parametrize("config", [{"epochs": 1, "batch_size": 50}, mf.TrainConfig(epochs=1, batch_size=50)])
def test_settings_may_be_a_dict(config: Any) -> None:
    assert len(mf.fit(models.planar(2), rows(), config)) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"epoch": 1}, "TrainConfig: unknown setting epoch; did you mean epochs"),
        (
            {"epochs": 1.5, "lr": "high"},
            "epochs = 1.5: input should be a valid integer; lr = 'high': input should be a",
        ),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "set one of them"),
        (3, "config must be a TrainConfig, or a dict of its settings; got 3"),
        (mf.TrainConfig, "got the class TrainConfig"),
        (mf.VariationalConfig(), "config must be a TrainConfig"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mf.fit(models.planar(2), rows(), config)
