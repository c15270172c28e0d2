"""Rows on their way through a flow, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor

from marginflow.base.arguments import Values
from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.base.transform import Transform
from marginflow.base.wrapper import innermost
from marginflow.distributions import Flow
from marginflow.transforms import Sequential


@torch.no_grad()
def by_layer(model: Distribution, x: Values, context: Values | None = None, seed: int = 0) -> dict[str, Tensor]:
    """What rows are at the start of the density and after each of its layers.

    Noise dimensions, at one draw of them, stand behind those of the data; labels that are not given are drawn.

    Args:
        model: a distribution.
        x: rows (N, *event).
        context: (N, ...), where the model takes one.
        seed: of the noise and the labels.

    Returns:
        name -> (N, D'), the last being z.

    Raises:
        ValueError: for a density without layers.
    """
    rows, given = model._fitting(x, context)
    with seeded(seed), evaluation_mode(model):
        rows, _ = model.preprocessing(rows, given)
        inner, h, given = innermost(model.density, rows, given)
        if not isinstance(inner, Flow):
            raise ValueError(f"{type(inner).__name__} has no layers to go through")
        stages = {"data" if h.shape == rows.shape else "data and noise": h}
        for i, layer in enumerate(layers_of(inner.transform), 1):
            h, _ = layer(h, given)
            stages[f"{i}: {type(layer).__name__}"] = h
    return {name: rows.cpu() for name, rows in stages.items()}


@torch.no_grad()
def base_of(model: Distribution, x: Values, context: Values | None = None, seed: int = 0) -> Distribution | None:
    """The distribution that the last of `by_layer` should follow; None for a density without layers."""
    rows, given = model._fitting(x, context)
    with seeded(seed), evaluation_mode(model):
        inner, _, _ = innermost(model.density, model.preprocessing(rows, given)[0], given)
    return inner.base if isinstance(inner, Flow) else None


def layers_of(transform: Transform) -> list[Transform]:
    """The layers of a transform, first to last."""
    return list(transform) if isinstance(transform, Sequential) else [transform]


def to_latent(model: Distribution, x: Values, context: Values | None = None, seed: int = 0) -> Tensor:
    """What the flow makes of data: z (N, D'); with noise dimensions, of the joint (x, eps) at one draw of eps."""
    return list(by_layer(model, x, context, seed).values())[-1]
