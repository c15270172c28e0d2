"""A mixture of independent columns: the simple density of a table's rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from marginflow.base.arguments import as_whole, shown
from marginflow.base.surroundings import values_are_visible
from marginflow.data.schema import Schema
from marginflow.distributions.by_columns import ByColumns
from marginflow.distributions.columns.components import Coded, ComponentColumn, LevelComponents, NumberComponents
from marginflow.distributions.columns.levels import drawn
from marginflow.distributions.columns.pieces import ROWS, pieces
from marginflow.distributions.row_density import RowDensity


class ProductMixture(RowDensity, ByColumns):
    """A mixture of components in each of which the columns of a table are independent.

    p(row) = sum over components c of w_c product over columns of p_c(column)

    The factors have the kinds of their columns, as in `Mixed`: a probability for each level, for blank and for atoms;
    one logistic in the warped column for the rest of numbers, on a grid the probability of the cell. Given a context,
    the weights are those of the components given the context, so that the density is exact for any columns.

    `fit` trains it by EM, from components about rows of the table. A new one has the shares of the schema in all
    components: independent columns.

    Args:
        schema: of the table.
        components: how many.
        prior: so many rows with the shares of all rows, and of a moderate spread, each component is given beside its
            own, and so many are taken from each atom on a grid: few rows do not settle what it holds possible.

    Raises:
        ValueError: where an argument does not fit.

    Examples:
        >>> from marginflow.data import Column
        >>> schema = Schema((Column("size", "category", levels=("S", "M"), shares=(0.25, 0.75)),))
        >>> ProductMixture(schema, components=2).log_prob([[0.0], [1.0]]).exp()
        tensor([0.2500, 0.7500], grad_fn=<ExpBackward0>)
    """

    def __init__(self, schema: Schema, components: int = 128, prior: float = 1.0) -> None:
        super().__init__(schema)
        components = as_whole(components, "components", least=1)
        if isinstance(prior, bool) or not isinstance(prior, int | float) or not 0 <= prior < math.inf:
            raise ValueError(f"prior must be a number of rows, 0 or more; got {shown(prior)}: give prior=1.0")
        self.num_given = len(schema.given)
        self.log_weights = nn.Parameter(torch.full((components,), -math.log(components)))
        self.columns = nn.ModuleList(
            (LevelComponents if column.levels else NumberComponents)(column, components, prior)
            for column in (*schema.given, *schema.modelled)
        )

    @property
    def num_components(self) -> int:
        """How many components there are."""
        return len(self.log_weights)

    def __repr__(self) -> str:
        return f"ProductMixture({len(self.schema.modelled)} columns, components={self.num_components})"

    def all_columns(self) -> list[ComponentColumn]:
        """The columns of the context, then those of the rows, under all components."""
        return [each for each in self.columns if isinstance(each, ComponentColumn)]

    def _log_prob_parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        found = [self._parts(*rows) for rows in pieces(x, context)]
        discrete, log_p = (torch.cat(parts).to(self.log_weights) for parts in zip(*found, strict=True))
        return discrete, torch.where(discrete.isneginf(), 0.0, log_p - discrete)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return torch.cat([self._parts(*rows)[1] for rows in pieces(x, context)]).to(self.log_weights)

    def _parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """log P of what is discrete, and log p, of rows (N, D): each (N,)."""
        prior = self._log_weights_given(context, x.shape[0])
        log_p, densities = prior, []
        wrong = undefined = torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
        for column, coded in zip(self.all_columns()[self.num_given :], self._coded(x, self.num_given), strict=True):
            discrete, density = column(coded.read)
            log_p = log_p + discrete.index_select(0, coded.code)
            densities += [] if density is None else [density.index_select(0, coded.code)]
            wrong, undefined = wrong | coded.is_wrong, undefined | coded.is_undefined
        both = (log_p.logsumexp(1), sum(densities, log_p).logsumexp(1))
        discrete, log_p = (each.masked_fill(wrong, -torch.inf).masked_fill(undefined, torch.nan) for each in both)
        return discrete, log_p

    def _coded(self, values: Tensor, first: int) -> Iterator[Coded]:
        """Columns of values (N, ...), each different value read once; `first` is the number of the first of them."""
        apart = not values_are_visible(values) or values.requires_grad
        for i, column in enumerate(self.all_columns()[first : first + values.shape[1]]):
            yield column.coded(values[:, i].double(), apart=apart)

    def _log_weights_given(self, context: Tensor | None, num_rows: int) -> Tensor:
        """log of the components' weights in each row, (N, components); those given its context where there is one."""
        log_weights = self.log_weights.double().log_softmax(0).expand(num_rows, -1)
        if context is None or not self.num_given:
            return log_weights
        for column, coded in zip(self.all_columns(), self._coded(context, 0), strict=False):
            found = sum(each for each in column(coded.read) if each is not None)
            assert isinstance(found, Tensor)
            unheard = coded.is_wrong | coded.is_undefined  # what no component knows tells nothing of them
            log_weights = log_weights + found.index_select(0, coded.code).masked_fill(unheard[:, None], 0.0)
        return log_weights.log_softmax(1)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        component = torch.cat(
            [
                drawn(self._log_weights_given(None if context is None else context[rows], len(rows)).exp())
                for rows in torch.arange(num_samples, device=self.log_weights.device).split(ROWS)
            ]
        )
        return torch.stack([column.draw(component) for column in self.all_columns()[self.num_given :]], 1)

    def is_exact(self, given: Tensor) -> bool:
        return True

    def weighed(self, given: Tensor) -> Tensor:
        return given

    def log_prob_of(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        return self._log_weights_beside(x, given, context).logsumexp(1)

    def _log_weights_beside(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        """log of a component's weight times p of the given columns under it: (N, components)."""
        found = []
        for rows, own in pieces(x, context):
            log_w = self._log_weights_given(own, len(rows))
            for place in given.nonzero()[:, 0].tolist():
                column = self.all_columns()[self.num_given + place]
                coded = column.coded(rows[:, place])
                of_each = sum(each for each in column(coded.read) if each is not None)
                assert isinstance(of_each, Tensor)
                log_w = log_w + of_each.index_select(0, coded.code).masked_fill(coded.is_wrong[:, None], -torch.inf)
            found.append(log_w)
        return torch.cat(found)

    @torch.no_grad()
    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_w = self._log_weights_beside(x, given, context)
        component, columns = drawn(log_w.softmax(1).nan_to_num(1.0)), self.all_columns()[self.num_given :]
        values = [x[:, i] if given[i] else column.draw(component) for i, column in enumerate(columns)]
        return torch.stack(values, 1), log_w.logsumexp(1)

    @torch.no_grad()
    def quantiles(self, x: Tensor, given: Tensor, column: int, levels: Tensor, context: Tensor | None) -> Tensor:
        shares = self._log_weights_beside(x, given, context).softmax(1)
        return self.all_columns()[self.num_given + column].quantiles(shares, levels)
