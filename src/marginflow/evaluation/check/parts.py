"""A model taken apart: the map from rows to noise that stands inside, whatever is wrapped around it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.base.transform import Transform
from marginflow.base.wrapper import innermost
from marginflow.distributions import Flow
from marginflow.transforms import Sequential


@dataclass(frozen=True)
class Parts:
    """The flow inside a model, with what reaches it.

    Attributes:
        transform: from rows to noise; None for a density that does not show one.
        base: the density of the noise.
        rows: (N, *event), preprocessed, with noise dimensions beside them.
        context: as the transform takes it.
        is_of_columns: whether rows are those of a table, and no map is shown because there is none.
    """

    transform: Transform | None
    base: Distribution | None
    rows: Tensor
    context: Tensor | None
    is_of_columns: bool = False

    def double(self) -> Parts:
        """A copy in float64, but for the base, which nothing is asked in it."""
        return Parts(
            None if self.transform is None else copy.deepcopy(self.transform).double(),
            self.base,
            self.rows.double(),
            None if self.context is None else self.context.double(),
        )

    def first(self, count: int) -> Parts:
        """The same on fewer rows."""
        return Parts(
            self.transform, self.base, self.rows[:count], None if self.context is None else self.context[:count]
        )


@torch.no_grad()
def parts_of(model: Distribution, x: Tensor, context: Tensor | None, seed: int = 0) -> Parts:
    """The parts of a model, with rows x (N, *event) sent through all that stands before them."""
    rows, context = model._fitting(x, context)
    with seeded(seed):
        rows, _ = model.preprocessing(rows, context)
        inner, rows, context = innermost(model.density, rows, context)
    if isinstance(inner, Flow):
        transform, base = inner.transform, inner.base
        while isinstance(base, Flow) and base.transform.exact and transform.exact:
            transform, base = Sequential(transform, base.transform), base.base
        return Parts(transform if transform.exact else None, base, rows, context)
    return Parts(None, None, rows, context, inner.schema is not None)
