"""Missing cells of rows, filled in given the other cells: by a draw or the median, with quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.arguments import as_whole
from marginflow.base.devices import evaluation_mode, like_of
from marginflow.base.distribution import Distribution
from marginflow.base.settings import as_choice
from marginflow.data.schema import Column
from marginflow.distributions.by_columns import ByColumns, by_columns, repeated
from marginflow.distributions.columns.levels import drawn
from marginflow.distributions.columns.quantiles import level_quantiles
from marginflow.distributions.importance_weights import effective_sample_size
from marginflow.distributions.sample_given import FEWEST

WAYS = ("draw", "median")
AT_ONCE = 2**16  # draws together
MOST = 2**13  # draws of a row


@dataclass(frozen=True)
class Filled:
    """Rows whose missing cells were filled.

    Attributes:
        x: (N, D), float64; NaN where a cell could not be filled, as all draws of it were blank.
        quantiles: of each missing cell at each level, (N, D, Q); NaN elsewhere, and of categories.
        effective_sample_size: of the weighted draws that a row was filled from, (N,); infinite where that was exact,
            or nothing was missing.

    Examples:
        >>> from marginflow.distributions import GaussianMixture
        >>> x, missing = torch.tensor([[1.0, 0.0]]), torch.tensor([[False, True]])
        >>> found = fill(GaussianMixture(2), x, missing, by="median")
        >>> found.x.round(decimals=3) + 0.0, found.effective_sample_size
        (tensor([[1., 0.]], dtype=torch.float64), tensor([inf], dtype=torch.float64))
    """

    x: Tensor
    quantiles: Tensor
    effective_sample_size: Tensor


@torch.no_grad()
def fill(
    model: Distribution,
    x: Tensor,
    missing: Tensor,
    context: Tensor | None = None,
    *,
    by: str = "draw",
    levels: Sequence[float] = (),
    num_samples: int = 400,
) -> Filled:
    """Fill cells given the other cells of their row, as rows that are not blank there have them.

    Exact where the missing cells of a row stand behind all others in the order of the density, of mixtures always, and
    for a single cell of levels. Otherwise by weighted draws, see `sample_given`, of which those with a blank count 0.

    Args:
        model: a density with a factor for each column.
        x: rows (N, D).
        missing: which cells are to be filled, (N, D).
        context: (N, C), where the model takes one.
        by: "draw", a draw from the density; or "median", of a category its most probable level.
        levels: of quantiles of each cell, between 0 and 1.
        num_samples: draws for each row, where quantiles are not exact.

    Returns:
        `Filled`.

    Raises:
        ValueError: where the model has no factor for each column (a `NoFactorsError`), by is none of both, or a level
            is not between 0 and 1.

    References:
        Rubin, Multiple Imputation for Nonresponse in Surveys, 1987.

    Examples:
        >>> from marginflow.distributions import GaussianMixture
        >>> fill(GaussianMixture(2), torch.zeros(3, 2), torch.tensor([[False, True]] * 3)).x[:, 0]
        tensor([0., 0., 0.], dtype=torch.float64)
    """
    as_choice(by, WAYS, "by")
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong:
        raise ValueError(f"quantiles must lie between 0 and 1; got {wrong[0]}")
    density, like = by_columns(model), like_of(model)
    device = x.device if like is None else like.device
    x, missing = x.double().to(device), missing.to(device)
    columns = [None] * x.shape[1] if model.schema is None else list(model.schema.modelled)
    context = model._fitting_context(context, len(x), x)
    at = torch.tensor([*levels, 0.5], dtype=torch.float64, device=device)
    found = Filled(
        torch.where(missing, torch.nan, x),
        torch.full((*x.shape, len(levels)), torch.nan, dtype=torch.float64, device=device),
        torch.full((len(x),), math.inf, dtype=torch.float64, device=device),
    )
    filler = _Filler(density, columns, at, by, as_whole(num_samples, "num_samples", least=2))
    with evaluation_mode(model):
        for rows, pattern in _patterns(missing):
            filled = filler(x[rows], pattern, None if context is None else context[rows])
            found.x[rows], found.quantiles[rows], found.effective_sample_size[rows] = (
                filled.x,
                filled.quantiles,
                filled.effective_sample_size,
            )
    return found


def _patterns(missing: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in which the same cells are missing, and which these are (D,)."""
    patterns, number = missing.unique(dim=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        if bool(pattern.any()):
            yield (number == i).nonzero()[:, 0], pattern


class _Filler:
    """Fills rows in which the same cells are missing.

    density: of the rows. columns: of these; None where they are real numbers. at: the levels of quantiles, and 1/2.
    by, num_samples: see `fill`.
    """

    def __init__(
        self, density: ByColumns, columns: Sequence[Column | None], at: Tensor, by: str, num_samples: int
    ) -> None:
        self.density, self.columns, self.at, self.by, self.num_samples = density, columns, at, by, num_samples

    def __call__(self, x: Tensor, missing: Tensor, context: Tensor | None) -> Filled:
        places, given = missing.nonzero()[:, 0].tolist(), ~missing
        column = self.columns[places[0]]
        if len(places) == 1 and column is not None and column.levels and self.density.is_exact(torch.ones_like(given)):
            return self._of_levels(x, places[0], column, context)
        wanted = self.by == "median" or len(self.at) > 1
        known = self._quantiles(x, given, places, context) if wanted else {}
        left = [place for place in places if place not in known] if wanted else []
        x, quantiles = x.clone(), x.new_full((*x.shape, len(self.at)), torch.nan)
        ess = x.new_full((len(x),), math.inf)
        if self.by == "draw" or left:
            for rows, draws, log_w in self._draws(x, given, context, bool(left)):
                ess[rows] = effective_sample_size(log_w, 1) if not self.density.is_exact(given) else math.inf
                quantiles[rows[:, None], torch.tensor(left, dtype=torch.long)] = self._weighted(draws, log_w, left)
                chosen = drawn(log_w.softmax(1).nan_to_num(1.0))
                x[rows] = torch.where(given, x[rows], draws[torch.arange(len(rows)), chosen])
                none = rows[log_w.isneginf().all(1)]  # every draw is blank
                x[none] = torch.where(given, x[none], torch.nan)
                quantiles[none] = torch.nan
        for place, own in known.items():
            quantiles[:, place] = own
        if self.by == "median":
            x[:, places] = quantiles[:, places, -1]
        return Filled(x, self._shown(quantiles), ess)

    def _shown(self, quantiles: Tensor) -> Tensor:
        """But for the median behind them; none of categories, which have no order."""
        unordered = torch.tensor([column is not None and column.kind == "category" for column in self.columns])
        return quantiles[..., :-1].masked_fill(unordered[None, :, None].to(quantiles.device), torch.nan)

    def _quantiles(self, x: Tensor, given: Tensor, places: list[int], context: Tensor | None) -> dict[int, Tensor]:
        """Those of columns of which they are exact: where other missing cells may be blank, they are not."""
        found = {
            place: self.density.quantiles(x, given, place, self.at, context)
            for place in places
            if not any(self._may_be_blank(other) for other in places if other != place)
        }
        return {place: each for place, each in found.items() if each is not None}

    def _may_be_blank(self, place: int) -> bool:
        column = self.columns[place]
        return column is not None and column.blank

    def _of_levels(self, x: Tensor, place: int, column: Column, context: Tensor | None) -> Filled:
        """A single cell of levels: all of them are tried."""
        number, every = len(column.levels), torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
        rows = x.repeat_interleave(number, 0)
        rows[:, place] = torch.arange(number, device=x.device).double().repeat(len(x))
        own = None if context is None else context.repeat_interleave(number, 0)
        log_p = self.density.log_prob_of(rows, every, own).view(len(x), number)
        shares = log_p.softmax(1)
        quantiles, filled = x.new_full((*x.shape, len(self.at)), torch.nan), x.clone()
        quantiles[:, place] = level_quantiles(column, shares, self.at)
        filled[:, place] = drawn(shares).double() if self.by == "draw" else quantiles[:, place, -1]
        return Filled(filled, self._shown(quantiles), x.new_full((len(x),), math.inf))

    def _draws(
        self, x: Tensor, given: Tensor, context: Tensor | None, for_quantiles: bool
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Places of rows, draws of each (rows, K, D), and log w (rows, K), -inf where a missing cell is blank again."""
        exact = self.density.is_exact(given)
        first = self.num_samples if for_quantiles or not exact else 4
        enough = float(FEWEST if for_quantiles or not exact else 1)
        left, times = torch.arange(len(x), device=x.device), first
        while len(left):
            waiting = []
            for rows in left.split(max(1, AT_ONCE // times)):
                own = None if context is None else context[rows]
                draws, log_w = self.density.propose(*repeated(x[rows], given, own, times))
                log_w = log_w.masked_fill((draws.isnan() & ~given).any(1), -torch.inf).view(len(rows), times)
                done = (effective_sample_size(log_w, 1) >= enough) | (times >= MOST)
                waiting.append(rows[~done])
                if bool(done.any()):
                    yield rows[done], draws.view(len(rows), times, -1)[done], log_w[done]
            left, times = torch.cat(waiting), times * 4

    def _weighted(self, draws: Tensor, log_w: Tensor, places: list[int]) -> Tensor:
        """Quantiles of weighted draws, (rows, places, levels); of a category the level of the largest weight."""
        shares = log_w.softmax(1).nan_to_num(0.0)
        found = []
        for place in places:
            column, values = self.columns[place], draws[..., place]
            if column is not None and column.kind == "category":
                counts = values.new_zeros(len(values), len(column.levels))
                counts.scatter_add_(1, values.nan_to_num(0.0).long(), shares)
                found.append(counts.argmax(1)[:, None].expand(-1, len(self.at)).double())
                continue
            values, order = values.nan_to_num(math.inf).sort(1)
            upto = shares.gather(1, order).cumsum(1)
            at = torch.searchsorted(upto, (self.at * upto[:, -1:]).contiguous()).clamp_max(values.shape[1] - 1)
            found.append(values.gather(1, at))
        return torch.stack(found, 1) if found else draws.new_empty(len(draws), 0, len(self.at))
