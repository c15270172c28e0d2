"""The density of a table's rows: a product over columns of a factor of the kind that each has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from marginflow.base.arguments import Values, as_whole
from marginflow.base.names import did_you_mean
from marginflow.base.settings import generator_from
from marginflow.base.surroundings import becomes_graph
from marginflow.data.schema import Schema
from marginflow.distributions.by_columns import ByColumns
from marginflow.distributions.columns.column_by_column import ColumnByColumn, Known
from marginflow.distributions.columns.context_encoder import ContextEncoder
from marginflow.distributions.columns.encoder import RowEncoder
from marginflow.distributions.columns.factors import Factors
from marginflow.distributions.columns.levels import drawn
from marginflow.distributions.columns.noise_columns import noise_columns
from marginflow.distributions.columns.pieces import ROWS, pieces
from marginflow.distributions.columns.reader import Read, RowReader, require_fitted
from marginflow.distributions.row_density import RowDensity
from marginflow.nets.activations import Activation
from marginflow.nets.masked.degrees import resolve_order
from marginflow.nets.masked.linear import MaskedLinear


class InColumns(NamedTuple):
    """log p of rows by `Mixed`, told apart.

    Attributes:
        discrete: log P of what is discrete, (N,).
        real: the log density of what is real, (N,).
        columns: log p of each column given those before it, (N, D).
    """

    discrete: Tensor
    real: Tensor
    columns: Tensor


class Mixed(RowDensity, ByColumns):
    """An exact density of rows with columns of every kind.

    p(row) = product over columns of p(column | the columns before it)

    Each factor has the kind of its column: a probability for each level, for each value on a grid, for blank and for
    atoms, values that hold a spike; a density for the rest of real numbers, in the units of the file. One masked
    network gives the parameters of all. A row is one of the schema, float64: levels as their places, values on a grid
    as steps, NaN where blank.

    With several orders of the columns, log p is the log of the mean of their densities. In training mode it is the mean
    of their log p, so that each is trained for itself.

    Args:
        schema: of the table.
        hidden: the widths of the hidden layers; of three or more, residual connections join the first, third, ...
        components: logistics in the mixture of a column of numbers.
        order: of the columns: "sequential", "reversed", "random", or their places, the first first.
        orders: how many orders are averaged: the first is `order`, others are random.
        activation: of the hidden layers.
        dropout: the probability with which a hidden unit is left out in training.
        seed: of orders.
        noise_features: real numbers that a row holds behind its own columns, first in the order: latent variables of a
            density that is marginalised over them, see `Marginalising`.
        first: names of columns that stand before all others in every order, so that rows given these are drawn exactly.

    Raises:
        ValueError: where an argument does not fit, or the schema holds no statistics of training rows.

    References:
        Germain, Gregor, Murray and Larochelle, MADE, 2015 (arXiv 1502.03509).

    Examples:
        >>> import torch
        >>> from marginflow.data import Column, Schema
        >>> schema = Schema((Column("open", "boolean", levels=("false", "true"), shares=(0.25, 0.75)),))
        >>> model = Mixed(schema, hidden=[16]).eval()
        >>> model.sample(3).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        schema: Schema,
        hidden: Sequence[int] = (256,) * 5,
        components: int = 10,
        order: str | Sequence[int] = "sequential",
        orders: int = 1,
        activation: Activation = "silu",
        dropout: float = 0.1,
        seed: int = 0,
        noise_features: int = 0,
        first: Sequence[str] = (),
    ) -> None:
        super().__init__(schema)
        leading = [self._place_of(name) for name in first]
        require_fitted((*schema.modelled, *schema.given))
        components, orders = as_whole(components, "components", least=1), as_whole(orders, "orders", least=1)
        self.noise_features = as_whole(noise_features, "noise_features", least=0)
        columns = (*schema.modelled, *noise_columns(self.noise_features))
        generator, number = generator_from(seed), len(schema.modelled)
        listed = [resolve_order(order if i == 0 else "random", number, generator).tolist() for i in range(orders)]
        ordered = [[*dict.fromkeys([*leading, *own])] for own in listed]
        noise = list(range(number, len(columns)))
        self.reader, self.encoder = RowReader(columns), RowEncoder(columns)
        self.factors = Factors(columns, components)
        self.of_context = ContextEncoder(schema.given) if schema.given else None
        width = 0 if self.of_context is None else self.of_context.out_features
        shared = columns, self.encoder, self.factors, width
        self.members = nn.ModuleList(
            ColumnByColumn(*shared, [*noise, *own], hidden, activation, dropout, generator) for own in ordered
        )

    @property
    def event_shape(self) -> torch.Size:
        return torch.Size([len(self.schema.modelled) + self.noise_features])

    def _place_of(self, name: str) -> int:
        """The place of a column in a row; ValueError where there is none of that name."""
        names = self.schema.names
        if name not in names:
            raise ValueError(f"first must name columns that are modelled; got {name!r}{did_you_mean(name, names)}")
        return names.index(name)

    def _parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """log P of what is discrete, and log p, of each order: (orders, N)."""
        found = [self._parts_of_piece(*piece) for piece in pieces(x, context)]
        discrete, log_p = (torch.cat(each, 1) for each in zip(*found, strict=True))
        return discrete, log_p

    def _parts_of_piece(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        discrete, density = self._in_orders(self.factors, self.reader(x.double()), context)
        return discrete, discrete + density

    def _in_orders(
        self, factors: Callable[[Tensor, Read], tuple[Tensor, Tensor]], read: Read, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What factors tell of rows given the parameters by each order, those of few rows at once: (orders, N, ...)."""
        inputs, seen, number = self.encoder(read, self.like), self._seen(context), len(self.members)
        params = (cast(Tensor, member(inputs, seen)) for member in self.members)
        if number > 1 and not becomes_graph() and number * len(inputs) <= ROWS:
            found = factors(torch.cat([*params]), Read(*(torch.cat([each] * number) for each in read)))
            first, second = (each.unflatten(0, (number, -1)) for each in found)
            return first, second
        first, second = zip(*(factors(each, read) for each in params), strict=True)
        return torch.stack(first), torch.stack(second)

    def _log_prob_parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        discrete, log_p = (_log_mean(each).to(self.like) for each in self._parts(x, context))
        return discrete, torch.where(discrete.isneginf(), 0.0, log_p - discrete)

    def log_prob_columns(self, x: Values, context: Values | None = None) -> Tensor:
        """log p of each column of rows given those before it in the order of the density.

        log p(row) = sum over columns of log p(column | the columns before it)

        What a column says so depends on that order: of two that are alike the second is hardly ever surprising. With
        several orders it is the mean of log p over them, whose sum over columns lies at or below log p of the row.

        Args:
            x: rows (N, D), or one row.
            context: (N, C), a row for each row of x, or one for all; None where the schema has no context.

        Returns:
            (N, D), in nats: -inf where a column holds no value of its own, NaN where it is blank and cannot be.

        Raises:
            ValueError: where rows or context do not fit.

        Examples:
            >>> from marginflow.data import Column, Schema
            >>> schema = Schema((Column("open", "boolean", levels=("false", "true"), shares=(0.25, 0.75)),))
            >>> model, rows = Mixed(schema, hidden=[16]).eval(), [[0.0], [1.0]]
            >>> torch.equal(model.log_prob_columns(rows).sum(1), model.log_prob(rows))
            True
        """
        return self.log_prob_in_columns(x, context).columns

    def log_prob_in_columns(self, x: Values, context: Values | None = None) -> InColumns:
        """Both parts of log p as `log_prob_parts` gives them, and `log_prob_columns`, computed at once."""
        parts = [self._in_columns(*piece) for piece in pieces(*self._fitting(x, context))]
        return InColumns(*(torch.cat(each).to(self.like) for each in zip(*parts, strict=True)))

    def _in_columns(self, x: Tensor, context: Tensor | None) -> InColumns:
        x = x.double()
        discrete, density = self._in_orders(self.factors.of_each, self.reader(x), context)  # (orders, N, D)
        discrete = discrete.masked_fill(x.isnan() & ~self.reader.blank, torch.nan)
        columns = discrete + density
        of_row, log_p = _log_mean(discrete.sum(2)), _log_mean(columns.sum(2))
        return InColumns(of_row, torch.where(of_row.isneginf(), 0.0, log_p - of_row), columns.mean(0))

    def __repr__(self) -> str:
        orders = "; ".join(", ".join(map(str, cast(ColumnByColumn, each).order)) for each in self.members)
        hidden = cast(ColumnByColumn, self.members[0]).network.hidden_layers
        widths = ", ".join(str(cast(MaskedLinear, layer).out_features) for layer in hidden)
        return f"Mixed({len(self.schema.modelled)} columns, order={orders}, hidden=[{widths}])"

    @property
    def like(self) -> Tensor:
        """Of the precision and on the device of the model."""
        return cast(ColumnByColumn, self.members[0]).like

    def _seen(self, context: Tensor | None) -> Tensor | None:
        """A context as inputs of the networks."""
        return None if context is None or self.of_context is None else self.of_context(context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        _, log_p = self._parts(x, context)
        return (log_p.mean(0) if self.training else _log_mean(log_p)).to(self.like)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self._drawn(torch.randint(len(self.members), (num_samples,)), self._seen(context))

    def _drawn(self, which: Tensor, seen: Tensor | None, known: Known | None = None) -> Tensor:
        """Rows, each by one of the orders, which (N,) says; columns that are known are not drawn."""
        x = torch.empty(len(which), *self.event_shape, dtype=torch.float64)
        for i, member in enumerate(cast("Iterable[ColumnByColumn]", self.members)):
            own = (which == i).nonzero()[:, 0]
            if len(own):
                held = None if known is None else Known(known.x[own.to(known.x.device)], known.given)
                x[own] = member.draw(len(own), None if seen is None else seen[own], held).cpu()
        return x.to(self.like.device)

    def is_exact(self, given: Tensor) -> bool:
        number, places = int(given.sum()), given.tolist()
        orders = (cast(ColumnByColumn, member).order for member in self.members)
        return all(all(places[place] for place in order[:number]) for order in orders)

    def weighed(self, given: Tensor) -> Tensor:
        if len(self.members) > 1:
            return torch.ones_like(given)
        order, found = cast(ColumnByColumn, self.members[0]).order, torch.zeros_like(given)
        last = max((i for i, place in enumerate(order) if bool(given[place])), default=-1)
        found[order[: last + 1]] = True
        return found

    def log_prob_of(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        return _log_mean(self._log_of_given(x, given, context))

    def _log_of_given(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        """The sum of log p of given columns, each given those before it, in each order: (orders, N)."""
        found = []
        for rows, own in pieces(x, context):
            discrete, density = self._in_orders(self.factors.of_each, self.reader(rows), own)
            found.append(torch.where(given, discrete + density, 0.0).sum(2))
        return torch.cat(found, 1)

    @torch.no_grad()
    def propose(self, x: Tensor, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        seen, known = self._seen(context), Known(x, given.tolist())
        if self.is_exact(given):
            log_p = self._log_of_given(x, given, context)
            which = drawn(log_p.softmax(0).nan_to_num(1.0).T).cpu()
            return self._drawn(which, seen, known), _log_mean(log_p)
        which = torch.randint(len(self.members), (len(x),))
        x = self._drawn(which, seen, known)
        log_w = self._log_of_given(x, given, context).gather(0, which[None].to(x.device))
        return x, log_w[0]

    @torch.no_grad()
    def quantiles(self, x: Tensor, given: Tensor, column: int, levels: Tensor, context: Tensor | None) -> Tensor | None:
        member, step = cast(ColumnByColumn, self.members[0]), int(given.sum())
        if len(self.members) > 1 or not self.is_exact(given) or member.order[step] != column:
            return None
        found = []
        for rows, own in pieces(torch.where(given, x, 0.0), context):
            params = member(self.encoder(self.reader(rows), self.like), self._seen(own))
            found.append(self.factors.quantiles(column, params, levels))
        return torch.cat(found)


def _log_mean(log_p: Tensor) -> Tensor:
    """log of the mean over the first dimension."""
    outside = log_p.isneginf().all(0)  # where logsumexp has no gradient
    mean = log_p.masked_fill(outside, 0.0).logsumexp(0) - math.log(len(log_p))
    return mean.masked_fill(outside, -math.inf)
