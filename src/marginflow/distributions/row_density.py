"""Densities of a table's rows: what they have in common, and log p in its two parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from marginflow.base.arguments import Values
from marginflow.base.distribution import Distribution
from marginflow.data.schema import Schema


class RowDensity(Distribution, ABC):
    """A density of rows of a schema, given its context where it has one.

    A subclass implements `_log_prob_parts` beside what a `Distribution` asks for.

    Args:
        schema: of the table.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._schema = schema

    @property
    def schema(self) -> Schema:
        return self._schema

    @property
    def event_shape(self) -> torch.Size:
        return torch.Size([len(self.schema.modelled)])

    @property
    def context_features(self) -> int:
        return len(self.schema.given)

    @property
    def takes_float64(self) -> bool:
        return True

    @property
    def reparameterised(self) -> bool:
        return False

    @property
    def encodes_context(self) -> bool:
        return bool(self.schema.given)

    @property
    def elementary(self) -> bool:
        return False

    @final
    def log_prob_parts(self, x: Values, context: Values | None = None) -> tuple[Tensor, Tensor]:
        """log p of rows as the log probability of what is discrete and the log density of what is real.

        Args:
            x: rows (N, D), or one row.
            context: (N, C), a row for each row of x, or one for all; None where the schema has no context.

        Returns:
            log P of levels, grid values, blanks and atoms, and of real numbers being no atoms; and the log density of
            these, in the units of the file. Each (N,), in nats; their sum is `log_prob`.

        Raises:
            ValueError: where rows or context do not fit.
        """
        return self._log_prob_parts(*self._fitting(x, context))

    @abstractmethod
    def _log_prob_parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both parts of log p of rows that fit, each (N,); the second is 0 where the first is -inf."""

    @torch.no_grad()
    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Without gradients: what is discrete has none."""
        x = self._sample(num_samples, context)
        return x, self._log_prob(x, context)
