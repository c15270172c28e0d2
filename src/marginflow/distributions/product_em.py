"""EM for a mixture of independent columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from marginflow.data import Split
from marginflow.distributions.columns.components import Coded, ComponentColumn
from marginflow.distributions.columns.reader import Read
from marginflow.distributions.em import EM
from marginflow.distributions.product_mixture import ProductMixture

SIZE = 2**17  # numbers that are computed at once, which stay in a processor's cache
FEW = 3  # rows a value, from which on a column's values are computed once for all rows
NEVER_NONE = 1e-6  # rows that each component has beforehand


class ProductEM(EM):
    """EM for a `ProductMixture`.

    No step lowers the likelihood of the rows, their context included, times that of the rows given beforehand, but for
    rounding; see `NumberComponents`.

    model: the mixture. rows: training rows and their context, on its device. check: called now and then, and may raise.
    """

    def __init__(self, model: ProductMixture, rows: Split, check: Callable[[], None]) -> None:
        self.model, self.check = model, check
        x, context, weight = rows.take()
        values = x if context is None else torch.cat([context.to(x), x], 1)
        self.values = values.to(model.log_weights.device, torch.float64)
        self.weight = torch.ones(len(x)) if weight is None else weight / weight.double().mean()  # of sum N
        self.weight = self.weight.to(model.log_weights)
        self.columns = model.all_columns()
        coded = [column.coded(self.values[:, i]) for i, column in enumerate(self.columns)]
        self.at_once = max(1, SIZE // model.num_components)
        self.coded = {i: each for i, each in enumerate(coded) if FEW * len(each.read.point) <= len(x)}

    @torch.no_grad()
    def start(self, seed: int) -> None:
        """Let each component begin about a row."""
        model, generator = self.model, torch.Generator().manual_seed(seed)
        rows = torch.cat([torch.randperm(len(self.values), generator=generator) for _ in range(self._rounds)])
        for i, column in enumerate(self.columns):
            column.start_at(self.values[rows[: model.num_components].to(self.values.device), i])
        model.log_weights.fill_(0.0)

    @property
    def _rounds(self) -> int:
        """How often all rows must be taken until there is one for each component."""
        return -(-self.model.num_components // len(self.values))

    @torch.no_grad()
    def step(self) -> float:
        """A step over all rows; -mean log p(row | context), in nats, of the model before it."""
        like, total = self.model.log_weights, 0.0
        tables = {i: self._log_p(i, each) for i, each in self.coded.items()}
        shares = {i: torch.zeros_like(table) for i, table in tables.items()}
        sums: dict[int, Tensor] = {}
        weights = torch.zeros_like(like, dtype=torch.float64)
        for rows in torch.arange(len(self.values), device=like.device).split(self.at_once):
            self.check()
            coded = {i: self._coded(i, rows) for i in range(len(self.columns))}
            share, log_p = self._shared_out(coded, tables)
            total -= float((self.weight[rows] * log_p).double().sum())
            share *= self.weight[rows, None]
            weights += share.sum(0)
            for i, each in coded.items():
                if i in shares:
                    shares[i].index_add_(0, each.code, share)
                else:
                    sums[i] = sums.get(i, torch.zeros((), device=like.device)) + self.columns[i].sums(each.read, share)
        for i, column in enumerate(self.columns):
            column.maximise(self._sums(column, self.coded[i].read, shares[i]) if i in shares else sums[i])
        self.model.log_weights.copy_(((weights + NEVER_NONE) / (weights + NEVER_NONE).sum()).log())
        return total / len(self.values)

    def _coded(self, column: int, rows: Tensor) -> Coded:
        """A column of some rows."""
        if column in self.coded:
            return self.coded[column]._replace(code=self.coded[column].code[rows])
        return self.columns[column].coded(self.values[rows, column], apart=True)

    def _log_p(self, column: int, coded: Coded) -> Tensor:
        """log p of the different values of a column under each component (U, C), in the model's precision."""
        parts = []
        for read in self._pieces(coded.read):
            discrete, density = self.columns[column](read)
            parts.append((discrete if density is None else discrete + density).to(self.model.log_weights))
        return torch.cat(parts)

    def _pieces(self, read: Read) -> Iterator[Read]:
        """The values that were read, some at once."""
        yield from (Read(*parts) for parts in zip(*(each.split(self.at_once) for each in read), strict=True))

    def _sums(self, column: ComponentColumn, read: Read, shares: Tensor) -> Tensor:
        """The sums of a column over all of its different values."""
        pieces = zip(self._pieces(read), shares.split(self.at_once), strict=True)
        return torch.stack([column.sums(*piece) for piece in pieces]).sum(0)

    def _shared_out(self, coded: dict[int, Coded], tables: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """The share of each component in each row (N, C), and log p of the rows given their contexts (N,)."""
        joint = self.model.log_weights.log_softmax(0)[None]
        given = torch.zeros((), device=joint.device)
        for i, each in coded.items():
            if i == self.model.num_given and i:
                given = joint.logsumexp(1)
            joint = joint + (tables[i].index_select(0, each.code) if i in tables else self._log_p(i, each))
        log_p = joint.logsumexp(1)
        return (joint - log_p[:, None]).exp_(), log_p - given
