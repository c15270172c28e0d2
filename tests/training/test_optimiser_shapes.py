"""The state of an optimiser that is of weights of other shapes is refused, before a step reads beyond its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from marginflow import models
from marginflow.distributions import Distribution
from marginflow.training.optimiser_state import load_named_state, named_state

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "SGD": lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9),
}


def stepped(kind: str) -> tuple[Distribution, torch.optim.Optimizer]:
    torch.default_generator.manual_seed(0)
    model = models.realnvp(3, hidden=[4], blocks=1)
    optimiser = OPTIMISERS[kind](model.parameters())
    model.log_prob(torch.randn(5, 3)).mean().backward()
    optimiser.step()
    return model, optimiser


@pytest.mark.parametrize(
    "change", [lambda kept: kept[:1], lambda kept: kept.flatten()[:-1], lambda kept: kept[..., None]]
)
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_state_of_another_shape_is_refused(kind: str, change: Callable[[Tensor], Tensor]) -> None:
    model, optimiser = stepped(kind)
    content = named_state(model, optimiser)
    load_named_state(model, optimiser, content)  # its own is taken
    name, kept = next((name, kept) for name, kept in content["state"].items() if name.endswith("weight"))
    key = next(key for key, value in kept.items() if value.ndim == 2)
    content["state"][name] = {**kept, key: change(kept[key])}
    if kind == "SGD" and content["state"][name][key].ndim == 2:
        return  # which broadcasts to the weight
    with pytest.raises(ValueError, match=rf"its optimiser keeps {key} of shape .* for {name}, a weight of shape \(4,"):
        load_named_state(model, optimiser, content)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_a_step_that_is_no_number_is_refused(kind: str) -> None:
    model, optimiser = stepped(kind)
    content = named_state(model, optimiser)
    name = next(iter(content["state"]))
    content["state"][name] = {**content["state"][name], "step": torch.ones(3)}
    with pytest.raises(ValueError, match=r"its optimiser keeps step of shape \(3,\)"):
        load_named_state(model, optimiser, content)
