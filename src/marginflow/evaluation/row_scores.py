"""What a model says of each row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from marginflow.base.adapter import optional
from marginflow.data import DataSpec
from marginflow.data.tables.gaps import Gaps
from marginflow.distributions import LogLikelihood

MOST_NAMED = 10  # rows of density 0


@dataclass(frozen=True)
class RowScores:
    """What a model says of each row as given: log p(x) = density + log-determinant of the preprocessing + log volume.

    Attributes:
        density: log-likelihoods of the preprocessed rows, with bound, error and effective sample size.
        log_det: of the preprocessing, (N,).
        given_label: log p(x | y) of the preprocessed rows, (N,); None but for a mixture over known labels.
        spec: of the rows, which knows the volume of grey levels where they were scaled.
        modelled_dequantisation: whether the preprocessing drew u ~ q(u | x) from a model.
        discrete: log P of what is discrete, (N,); None but for a density of a table's schema.
        real: the log density of what is real, (N,); None where no column is.
        reasons: why the first rows of density 0 have none, ten at most.
        columns: log p of each column given those before it, (N, D); None but for a `Mixed`.
        weight: of each row, (N,); None where all count the same.
    """

    density: LogLikelihood
    log_det: Tensor
    given_label: Tensor | None
    spec: DataSpec
    modelled_dequantisation: bool = False
    discrete: Tensor | None = None
    real: Tensor | None = None
    reasons: tuple[str, ...] = ()
    columns: Tensor | None = None
    weight: Tensor | None = None

    @property
    def outside(self) -> Tensor:
        """Which rows have density 0, (N,)."""
        every = (self.density.log_prob, self.density.bound, self.log_det, *optional(self.given_label))
        return torch.stack([each.isneginf() for each in every]).any(0)

    def without_density(self, rows: Tensor) -> RowScores:
        """The same, with density 0 at some rows, given by a mask (N,)."""

        def emptied(values: Tensor | None, value: float = -math.inf) -> Tensor | None:
            return None if values is None else values.masked_fill(rows, value)

        density = replace(
            self.density,
            log_prob=emptied(self.density.log_prob),
            bound=emptied(self.density.bound),
            standard_error=emptied(self.density.standard_error, 0.0),
            noise_entropy=emptied(self.density.noise_entropy, 0.0),
        )
        parts = {"given_label": emptied(self.given_label), "log_det": emptied(self.log_det, 0.0)}
        parts |= {"discrete": emptied(self.discrete), "real": emptied(self.real, 0.0)}
        return replace(self, density=density, **parts)

    def with_gaps(self, gaps: Gaps) -> RowScores:
        """The same, with density 0 at rows with cells that the model has no place for, which are told as reasons."""
        if gaps.rows is None:
            return self
        told = dict(zip(self.outside.nonzero().flatten().tolist(), self.reasons, strict=False))
        found = self.without_density(gaps.rows.to(self.log_det.device))
        first = found.outside.nonzero().flatten()[:MOST_NAMED].tolist()
        reasons = ("; ".join(filter(None, (gaps.reason(row), told.get(row)))) for row in first)
        return replace(found, reasons=tuple(reasons))

    def take(self, rows: Tensor) -> RowScores:
        """Those of some rows, given by a mask (N,)."""
        density = replace(
            self.density,
            **{name: value[rows] for name, value in vars(self.density).items() if isinstance(value, Tensor)},
        )
        parts = {name: getattr(self, name) for name in ("given_label", "discrete", "real", "columns", "weight")}
        parts = {name: None if value is None else value[rows] for name, value in parts.items()}
        return replace(self, density=density, log_det=self.log_det[rows], **parts)

    @property
    def log_prob(self) -> Tensor:
        """log p of the rows as given, for images of their grey levels: (N,), nats."""
        return self.density.log_prob + (self.log_det + self.spec.log_volume)

    @property
    def bound(self) -> Tensor:
        """What `log_prob` is bounded by from below, on average over draws: (N,), nats."""
        return self.density.bound + (self.log_det + self.spec.log_volume)

    def bits_per_dim(self, nats: Tensor) -> Tensor:
        """What `log_prob`, or its bound, is in bits/dim: (N,)."""
        return -nats * self.spec.bits_per_nat
