"""The density of a table's rows whose real columns a flow models, given the discrete ones."""

from __future__ import annotations

import torch
from torch import Tensor

from marginflow.base.adapter import as_distribution
from marginflow.base.density import Density
from marginflow.base.devices import like_of
from marginflow.base.distribution import Distribution
from marginflow.base.names import listed
from marginflow.base.overrides import of_column
from marginflow.data.schema import CONTINUOUS, Column, Schema
from marginflow.distributions.columns.context_encoder import ContextEncoder
from marginflow.distributions.columns.reader import IMPOSSIBLE, RowReader
from marginflow.distributions.mixed import Mixed
from marginflow.distributions.row_density import RowDensity


class RealByFlow(RowDensity):
    """An exact density of rows whose real columns a flow models together, given the discrete ones.

    p(row) = p(discrete columns) p(real columns | discrete columns)

    The flow sees real columns through their warps, whose derivatives are counted, and the others, with the context, as
    `ContextEncoder` encodes them.

    Args:
        schema: of the table, with at least one real column; these can be neither blank nor an atom.
        flow: a density of so many real numbers, whose context is as wide as the encoded columns; none where there are
            none.
        discrete: of the schema without its real columns; None where there is nothing else.

    Raises:
        ValueError: where no column is real, one can be blank or has atoms, or a part does not fit.

    Examples:
        >>> from marginflow import models
        >>> from marginflow.data import Column, Warp
        >>> size = Column("size", "real", warp=Warp("standardise"), quantiles=(-1.0, 0.0, 1.0))
        >>> RealByFlow(Schema((size,)), models.nsf(1, hidden=[8])).sample(3).shape
        torch.Size([3, 1])
    """

    def __init__(self, schema: Schema, flow: Density, discrete: Mixed | None = None) -> None:
        super().__init__(schema)
        require_plain_reals(schema)
        self.discrete, self.flow = discrete, as_distribution(flow)
        self.is_real = [is_real(column) for column in schema.modelled]
        seen = seen_by_flow(schema)
        self.encoder = ContextEncoder(seen) if seen else None
        self.reader = RowReader([column for column in schema.modelled if is_real(column)])
        expected = torch.Size([sum(self.is_real)]), 0 if self.encoder is None else self.encoder.out_features
        found = self.flow.event_shape, self.flow.context_features
        if found != expected:
            raise ValueError(
                f"the flow must be one of {expected[0][0]} features with context_features={expected[1]}; got one of "
                f"shape {None if found[0] is None else tuple(found[0])} with context_features={found[1]}"
            )
        rest = sum(not each for each in self.is_real)
        if rest != (0 if discrete is None else len(discrete.schema.modelled)):
            raise ValueError(f"discrete must be a density of the {rest} columns that are not real: give mixed of them")

    @property
    def exact(self) -> bool:
        return self.flow.exact

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        rows, real = self._apart(x.double())
        return self.flow, self.reader(real).low.to(self.like), self._seen(rows, context)

    def _log_prob_parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        rows, real = self._apart(x.double())
        discrete = real.new_zeros(len(real)) if self.discrete is None else self.discrete._log_prob(rows, context)
        read = self.reader(real)
        density = self.flow._log_prob(read.low.to(self.like), self._seen(rows, context)).double()
        density = (density + read.log_slope.sum(1)).masked_fill(read.undefined, torch.nan)
        impossible = (read.point == IMPOSSIBLE).any(1)
        discrete = discrete.to(self.like).masked_fill(impossible, -torch.inf)
        return discrete, torch.where(discrete.isneginf(), 0.0, density).to(self.like)

    @property
    def like(self) -> Tensor:
        """Of the precision and on the device of the model."""
        found = like_of(self.flow)
        return torch.empty(()) if found is None else found

    def _apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The columns of rows that are not real, and those that are."""
        others, real = self._places(x.device)
        return x.index_select(1, others), x.index_select(1, real)

    def _places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Where the columns stand that are not real, and those that are; not as masks, which have no meta tensors."""
        places = [[i for i, real in enumerate(self.is_real) if real == wanted] for wanted in (False, True)]
        others, real = (torch.tensor(each, dtype=torch.long, device=device) for each in places)
        return others, real

    def _seen(self, rows: Tensor, context: Tensor | None) -> Tensor | None:
        """What the flow sees of the context and of columns that are not real."""
        if self.encoder is None:
            return None
        return self.encoder(rows if context is None else torch.cat([context.double(), rows], 1)).to(self.like)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        discrete, density = self._log_prob_parts(x, context)
        return discrete + density

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        x = torch.empty(num_samples, len(self.is_real), dtype=torch.float64, device=self.like.device)
        others, real = self._places(x.device)
        rows = x.index_select(1, others)
        if self.discrete is not None:
            rows = self.discrete._sample(num_samples, context)
            x[:, others] = rows
        z = self.flow._sample(num_samples, self._seen(rows, context)).double()
        assert self.reader.warps is not None
        x[:, real] = torch.stack([self.reader.warps.inverse(z[:, i], i) for i in range(z.shape[1])], 1)
        return x


def is_real(column: Column) -> bool:
    """Whether a column has a density, not probabilities."""
    return column.kind in CONTINUOUS


def seen_by_flow(schema: Schema) -> list[Column]:
    """The columns that the flow over real ones sees: the context, then those that are not real."""
    return [*schema.given, *(column for column in schema.modelled if not is_real(column))]


def require_plain_reals(schema: Schema) -> None:
    """Refuse a schema without real columns, or with some that can be blank or have atoms: ValueError names them."""
    reals = [column for column in schema.modelled if is_real(column)]
    if not reals:
        raise ValueError("no column is real, so that a flow has nothing to model: leave model.real out")
    blank = [column.name for column in reals if column.blank]
    spiked = [column.name for column in reals if column.atoms]
    problems = [f"{listed(blank)} can be blank, and a flow has no density of a part of a row"] if blank else []
    if spiked:
        remedy = " ".join(of_column(name, {"atoms": []}) for name in spiked[:10])
        hold = "holds" if len(spiked) == 1 else "hold"
        problems.append(f"{listed(spiked)} {hold} spikes, which a flow cannot: {remedy} takes them for other values")
    if problems:
        raise ValueError("; ".join([*problems, "or leave model.real out"]))
