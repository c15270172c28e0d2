"""The missing cells of a table, filled by the model of a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.data_error import DataError
from marginflow.base.names import listed
from marginflow.base.seeds import RandomStream
from marginflow.data.schema import Schema
from marginflow.data.tables.cells import pc
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.keep import Keeper
from marginflow.data.tables.other_rows import Beside
from marginflow.distributions.fill import Filled, fill
from marginflow.distributions.sample_given import FEWEST
from marginflow.runs.run import Run


@dataclass
class FillCounts:
    """What was filled.

    Attributes:
        cells: how many of each column.
        rows: how many rows had any.
        weighted: of these, how many by weighted draws.
        few: of these, how many by fewer than 20 that count.
        left: cells that stayed blank, as all draws of them were.
        unknown: cells that the model has no place for, which stay, and tell nothing of the others.
        pooled: cells filled with a level that stands for several.
    """

    cells: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    weighted: int = 0
    few: int = 0
    left: int = 0
    unknown: int = 0
    pooled: int = 0

    def in_words(self) -> Iterator[str]:
        """Lines for people."""
        number = sum(self.cells.values())
        of_each = ", ".join(f"{name} {count:,}" for name, count in self.cells.items())
        yield f"cells filled: {number:,}, in {self.rows:,} of the rows" + (f": {of_each}" if number else "")
        if self.weighted:
            few = f", {self.few:,} of these from fewer than {FEWEST} that count" if self.few else ""
            yield f"rows filled by weighted draws: {self.weighted:,}{few}; the others exactly"
        if self.pooled:
            yield f"cells filled with a level that stands for rare ones: {self.pooled:,}"
        if self.left:
            yield f"cells that stay blank, as all draws of them are: {self.left:,}"
        if self.unknown:
            yield f"cells that the model has no place for, which stay and count as unknown: {self.unknown:,}"


def missing_in(chunk: Beside, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which cells of rows are blank, and which the model has no place for, (N, D) each."""
    x = torch.as_tensor(chunk.rows.x[:]).double()
    blank = x.isnan()
    for i, name in enumerate(names):
        if name in chunk.gaps.blanks:
            blank[:, i] |= torch.from_numpy(chunk.gaps.blanks[name])
    unknown = chunk.gaps.among(names)
    return blank, torch.zeros_like(blank) if unknown is None else unknown & ~blank


def columns_with_blanks(chunks: Iterable[Beside], names: Sequence[str]) -> list[str]:
    """The columns of the model in which some row of a table is blank."""
    found = torch.zeros(len(names), dtype=torch.bool)
    for chunk in chunks:
        found |= missing_in(chunk, names)[0].any(0)
    return [name for name, any_blank in zip(names, found.tolist(), strict=True) if any_blank]


class RowFiller:
    """Fills the rows of a table.

    Args:
        run: with the model.
        by: "draw" or "median".
        levels: of quantiles that stand behind the columns.
        quantiles_of: the columns of these.
        num_samples: see `fill`.
        seed: of all draws.
    """

    def __init__(
        self, run: Run, by: str, levels: Sequence[float], quantiles_of: Sequence[str], num_samples: int, seed: int
    ) -> None:
        self.model, self.spec, self.by, self.levels = run.model, run.spec, by, levels
        self.names = self.spec.column_names if self.spec.schema is None else self.spec.schema.names
        self.quantiles_of = [name for name in quantiles_of if self._has_order(name)]
        self.num_samples, self.noise, self.counts = num_samples, RandomStream(seed), FillCounts()

    @property
    def more(self) -> list[str]:
        """The names of the columns with quantiles."""
        return [quantile_name(name, level) for name in self.quantiles_of for level in self.levels]

    def _has_order(self, name: str) -> bool:
        return self.spec.schema is None or self.spec.schema[name].kind != "category"

    def filled(self, chunks: Iterable[Beside], keeper: Keeper) -> Iterator[pa.Table]:
        """The chunks of a table with their blanks filled, and quantiles behind."""
        for chunk in chunks:
            blank, unknown = missing_in(chunk, self.names)
            self._require_context(chunk)
            context = None if self.model.density.context_optional else chunk.rows.context
            context = None if context is None else torch.as_tensor(context[:])
            x = torch.as_tensor(chunk.rows.x[:]).double()
            with self.noise.on():
                found = fill(
                    self.model, x, blank | unknown, context,
                    by=self.by, levels=self.levels, num_samples=self.num_samples,
                )  # fmt: skip
            self._count(blank, found)
            self.counts.unknown += int(unknown.sum())
            assert chunk.kept is not None
            yield self._table(keeper.table(chunk.kept), blank, found)

    def _require_context(self, chunk: Beside) -> None:
        """Refuse rows in which a value of the context is none that the model knows: DataError."""
        given = [] if self.spec.schema is None else [each.name for each in self.spec.schema.given]
        wrong = chunk.gaps.among(given) if given else None
        if wrong is not None and bool(wrong.any()):
            row = int(wrong.any(1).nonzero()[0])
            where = f"row {chunk.first + row} (counted from 0)"
            raise DataError(
                [f"the context {listed(given)} must be known in every row; {where}: {chunk.gaps.reason(row)}"]
            )

    def _count(self, blank: Tensor, found: Filled) -> None:
        left = blank & found.x.cpu().isnan()
        rows, ess = blank.any(1), found.effective_sample_size.cpu()
        weighted = rows & (ess < math.inf)
        self.counts.cells.update({n: c for n, c in zip(self.names, (blank & ~left).sum(0).tolist(), strict=True) if c})
        self.counts.rows += int(rows.sum())
        self.counts.weighted += int(weighted.sum())
        self.counts.few += int((weighted & (ess < FEWEST)).sum())
        self.counts.left += int(left.sum())
        for i, column in enumerate([] if self.spec.schema is None else self.spec.schema.modelled):
            if column.pooled:
                self.counts.pooled += int((blank[:, i] & (found.x[:, i].cpu() == len(column.levels) - 1)).sum())

    def _table(self, kept: pa.Table, blank: Tensor, found: Filled) -> pa.Table:
        columns = dict(zip(kept.column_names, kept.columns, strict=True))
        types = {name: columns[name].type for name in self.names}
        own = spelt_like(found.x.cpu(), self.spec.schema, types, self.names)
        for i, name in enumerate(self.names):
            as_own = columns[name].cast(own[name].type) if own[name].type != types[name] else columns[name]
            columns[name] = pc.if_else(pa.array(blank[:, i].numpy()), own[name], as_own)
        for j, level in enumerate(self.levels):
            at_level = spelt_like(found.quantiles[..., j].cpu(), self.spec.schema, types, self.names)
            columns |= {quantile_name(name, level): at_level[name] for name in self.quantiles_of}
        order = [*kept.column_names, *self.more]
        return pa.table([columns[name] for name in order], names=order)


def quantile_name(name: str, level: float) -> str:
    """The name of the column with quantiles of another.

    >>> quantile_name("age", 0.05)
    'age_q5'
    """
    return f"{name}_q{100 * level:g}"


def spelt_like(
    x: Tensor, schema: Schema | None, types: Mapping[str, pa.DataType], names: Sequence[str]
) -> dict[str, Any]:
    """Columns of rows with the types of a file, or with their own where these hold them no more: text as the file
    writes it, none where a number is NaN.
    """
    if schema is None:
        plain = {
            name: pa.array(np.ascontiguousarray(column), from_pandas=True)
            for name, column in zip(names, x.numpy().T, strict=True)
        }
        return {name: plain[name].cast(_type(types[name], pa.float64())) for name in names}
    typed, text = decoded(np.asarray(x), schema), decoded(np.asarray(x), schema, as_written=True)
    found = {}
    for name in names:
        is_text = pa.types.is_string(types[name]) or pa.types.is_large_string(types[name])
        column = (text if is_text else typed)[name]
        kind = _type(types[name], column.type)
        found[name] = column.cast(kind) if column.type != kind else column
    return found


def _type(of_file: pa.DataType, own: pa.DataType) -> pa.DataType:
    """That of a file, unless all is blank there, or whole numbers get others beside them."""
    narrow = pa.types.is_integer(of_file) and (pa.types.is_floating(own) or pa.types.is_decimal(own))
    return own if narrow or pa.types.is_null(of_file) else of_file
