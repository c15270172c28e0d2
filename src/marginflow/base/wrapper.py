"""Densities around other densities, and the way to the innermost."""

from __future__ import annotations

from abc import ABC

import torch
from torch import Tensor

from marginflow.base.adapter import as_distribution
from marginflow.base.distribution import Density, Distribution


class Wrapper(Distribution, ABC):
    """A distribution around another density, `flow`, whose events it shares.

    flow: any density. context_features: the width of its context, where it comes from elsewhere and does not say.
    """

    def __init__(self, flow: Density, context_features: int = 0) -> None:
        super().__init__()
        self.flow = as_distribution(flow, context_features)

    @property
    def event_shape(self) -> torch.Size | None:
        return self.flow.event_shape

    @property
    def exact(self) -> bool:
        return self.flow.exact

    @property
    def takes_pixels(self) -> bool:
        return self.flow.takes_pixels


def innermost(
    model: Distribution, x: Tensor, context: Tensor | None = None
) -> tuple[Distribution, Tensor, Tensor | None]:
    """The density inside all wrappers, with rows and context as that one takes them; see `Distribution.unwrap`."""
    inner, x, context = model.unwrap(x, context)
    return (inner, x, context) if inner is model else innermost(inner, x, context)
