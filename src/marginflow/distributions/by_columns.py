"""Densities of rows in which any columns may be given: the contract, and what lies around such densities in a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.devices import like_of
from marginflow.base.distribution import Distribution
from marginflow.base.transform import Transform
from marginflow.distributions.flow import Flow
from marginflow.distributions.marginalising import Marginalising
from marginflow.distributions.row_density import RowDensity
from marginflow.transforms import Logit, Sequential, Standardise

INNER = 0.5  # what stands in columns that are not given, where a preprocessing sees them: inside of the unit interval


class NoFactorsError(ValueError):
    """A density models columns together, so that none can be given."""


class ByColumns(ABC):
    """What a density p of rows (N, D) knows where some columns b of a row are given, others are not.

    propose(x, given) draws rows that hold x where given, with weights w,  E[w] = p(b)

    so that rows weighted by w are those of p( . | b). given: (D,), which columns are b. Rows are float64 as the density
    takes them, any value where not given; contexts fit. An implementation is exact where w = p(b), whatever is drawn.
    """

    @abstractmethod
    def is_exact(self, given: Tensor) -> bool:
        """Whether p(b) is known as it is, and rows are drawn from p( . | b)."""

    @abstractmethod
    def log_prob_of(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        """log p(b) of rows, (N,), float64, where `is_exact`."""

    @abstractmethod
    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows drawn, (N, D), and log w, (N,), float64."""

    @abstractmethod
    def weighed(self, given: Tensor) -> Tensor:
        """The columns (D,) that w depends on: others are drawn from p(others | these), and may be drawn again."""

    @abstractmethod
    def quantiles(self, x: Tensor, given: Tensor, column: int, levels: Tensor, context: Tensor | None) -> Tensor | None:
        """Quantiles (N, Q) of a column given others, as it is not blank, at levels (Q,); None where not exact."""


def by_columns(model: Distribution) -> ByColumns:
    """What a model knows where columns are given.

    Raises:
        ValueError: where it models its columns together (a `NoFactorsError`), or its real columns by a flow.
    """
    if isinstance(model, ByColumns):
        return model
    if isinstance(model, Marginalising) and isinstance(model.flow, ByColumns):
        return _Marginal(model.flow, model.augment.num_noise)
    if isinstance(model, Flow):
        parts = list(model.transform) if isinstance(model.transform, Sequential) else [model.transform]
        if all(isinstance(each, Logit | Standardise) for each in parts):
            inner = by_columns(model.base)
            return _Preprocessed(model.transform, inner) if parts else inner
    if isinstance(model, RowDensity):
        raise ValueError("the model's flow over real columns has no factor for each: train without model.real")
    raise NoFactorsError("the model has no factor for each column, as no flow of several blocks has: none can be given")


def fitting_given(
    model: Distribution, x: Tensor, given: Sequence[bool] | Tensor, context: Tensor | None
) -> tuple[ByColumns, Tensor, Tensor, Tensor | None]:
    """What a model knows where columns are given, rows, which columns are given, and contexts, as it takes them.

    Raises:
        ValueError: where the model has no factor for each column (a `NoFactorsError`), or something does not fit.
    """
    density, like = by_columns(model), like_of(model)
    device = x.device if like is None else like.device
    x, mask = x.double().to(device), torch.as_tensor(given, dtype=torch.bool, device=device)
    shape = model.event_shape
    if x.ndim != 2 or not len(x) or mask.shape != x.shape[1:] or (shape is not None and x.shape[1:] != shape):
        raise ValueError(
            f"x must be rows {tuple(shape or ())} and given one flag for each column; got {tuple(x.shape)}, "
            f"{tuple(mask.shape)}"
        )
    context = model._fitting_context(context, len(x), x)
    return density, x, mask, context


def repeated(x: Tensor, given: Tensor, context: Tensor | None, times: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Each row so many times, one after the other."""
    return (
        x.repeat_interleave(times, 0),
        given,
        None if context is None else context.repeat_interleave(times, 0),
    )


class _Marginal(ByColumns):
    """A density marginalised over latent columns behind its own, which are never given.

    inner: of both. number: of latent columns.
    """

    def __init__(self, inner: ByColumns, number: int) -> None:
        self.inner, self.number = inner, number

    def _given(self, given: Tensor) -> Tensor:
        return torch.cat([given, given.new_zeros(self.number)])

    def _rows(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(len(x), self.number)], 1)

    def is_exact(self, given: Tensor) -> bool:
        return self.inner.is_exact(self._given(given))

    def log_prob_of(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        return self.inner.log_prob_of(self._rows(x), self._given(given), context)

    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        drawn, log_w = self.inner.propose(self._rows(x), self._given(given), context)
        return drawn[:, : x.shape[1]], log_w

    def weighed(self, given: Tensor) -> Tensor:
        return torch.ones_like(given)  # what is left of it would depend on the noise, which is not kept

    def quantiles(self, x: Tensor, given: Tensor, column: int, levels: Tensor, context: Tensor | None) -> Tensor | None:
        return self.inner.quantiles(self._rows(x), self._given(given), column, levels, context)


class _Preprocessed(ByColumns):
    """A density behind increasing maps of each column.

    preprocessing: from rows to what the density takes. inner: the density.
    """

    def __init__(self, preprocessing: Transform, inner: ByColumns) -> None:
        self.preprocessing, self.inner = preprocessing, inner

    def _prepared(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Rows as the density takes them, and the log of the slopes at given columns, summed, (N,)."""
        with torch.enable_grad():
            x = torch.where(given, x, INNER).detach().requires_grad_()
            z, _ = self.preprocessing(x)
            (slopes,) = torch.autograd.grad(z.sum(), x)
        return z.detach(), (slopes.double().log() * given).sum(1)

    def is_exact(self, given: Tensor) -> bool:
        return self.inner.is_exact(given)

    def log_prob_of(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        z, log_slope = self._prepared(x, given)
        return self.inner.log_prob_of(z, given, context) + log_slope

    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_slope = self._prepared(x, given)
        drawn, log_w = self.inner.propose(z, given, context)
        found = self.preprocessing.inverse(drawn, None)[0].to(x)
        return torch.where(given, x, found), log_w + log_slope

    def weighed(self, given: Tensor) -> Tensor:
        return self.inner.weighed(given)

    def quantiles(self, x: Tensor, given: Tensor, column: int, levels: Tensor, context: Tensor | None) -> Tensor | None:
        z, _ = self._prepared(x, given)
        found = self.inner.quantiles(z, given, column, levels, context)
        if found is None:
            return None
        of_column = [self._back(z, column, each) for each in found.unbind(1)]
        return torch.stack(of_column, 1)

    def _back(self, z: Tensor, column: int, values: Tensor) -> Tensor:
        z = z.clone()
        z[:, column] = values
        return self.preprocessing.inverse(z, None)[0][:, column].double()
