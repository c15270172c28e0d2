"""Columns of a table, given which something is modelled, as inputs of its network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.call import RemembersArguments
from marginflow.base.constants import HoldsConstants
from marginflow.data.schema import Column
from marginflow.distributions.columns.encoder import RowEncoder
from marginflow.distributions.columns.reader import RowReader, require_fitted


class ContextEncoder(RemembersArguments, HoldsConstants):
    """Columns of any kind, blank or not, as inputs of a network: those of a context, or rows that noise is drawn for.

    Levels are one-hot; a number is its warped value and a piecewise linear code; blank is a value of its own.

    Args:
        columns: such as `schema.given`, or `schema.modelled` for q(eps | row).

    Raises:
        ValueError: where there is none, or one holds no statistics of training rows.

    Examples:
        >>> import torch
        >>> from marginflow.data import Column
        >>> shop = Column("shop", "category", given=True, blank=True, levels=("a", "b"), shares=(0.5, 0.25))
        >>> ContextEncoder([shop])(torch.tensor([[1.0], [torch.nan]]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """

    encodes_context = True

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        if not columns:
            raise ValueError("no column is given: name some, data.table(path, context=['a', 'b'])")
        require_fitted(columns)
        self.reader = RowReader(columns)
        self.encoder = RowEncoder(columns)
        self.in_features, self.out_features = len(columns), self.encoder.num_inputs
        self._like: Tensor  # carries dtype and device
        self._register_constants()

    def _constants(self) -> dict[str, Tensor]:
        return {"_like": torch.zeros((), device="cpu")}

    def forward(self, context: Tensor) -> Tensor:
        """The inputs (N, out_features) of a context (N, columns), float64, NaN where blank."""
        return self.encoder(self.reader(context.double()), self._like)
