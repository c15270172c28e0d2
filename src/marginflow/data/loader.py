"""Batches to train on: in which order, from where on, which part of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.data.dataset import Batch, Split


class Loader:
    """The rows of a split in batches, each epoch in an order of its own, which the seed and its number determine.

    `number` is the epoch under way, counted from 1; `step` is how many of its batches were given.

    Args:
        rows: the split.
        batch_size: rows of all ranks together; an incomplete last batch is left out.
        seed: of the order.
        rank: which share of each batch, whose rows are the same for all ranks, this one gets, in order.
        world_size: the number of ranks.

    Raises:
        ValueError: for a batch larger than the split, or a rank that gets no rows of it.

    Examples:
        >>> loader = Loader(Split(torch.arange(10.0)[:, None]), 4, seed=0)
        >>> [len(batch.x) for batch in loader.epoch(1)]
        [4, 4]
    """

    def __init__(self, rows: Split, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size > len(rows.x):
            raise ValueError(
                f"batch_size {batch_size} is larger than the training set of {len(rows.x)} rows: set it to "
                f"{len(rows.x)} or less, on the command line --set train.batch_size={len(rows.x)}"
            )
        if not 0 <= rank < world_size <= batch_size:
            raise ValueError(f"rank {rank} of {world_size} gets no rows of a batch of {batch_size}: ranks count from 0")
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.number, self.step = 1, 0
        self._order: Tensor | None = None

    @property
    def num_batches(self) -> int:
        """How many batches an epoch has."""
        return len(self.rows.x) // self.batch_size

    def order(self, number: int) -> Tensor:
        """The order of the rows in an epoch."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0])
        return torch.randperm(len(self.rows.x), generator=torch.Generator().manual_seed(seed))

    def rows_of_step(self) -> Tensor:
        """The numbers of the rows in the batch that was given last."""
        order = self.order(self.number) if self._order is None else self._order
        return order.split(self.batch_size)[self.step - 1].tensor_split(self.world_size)[self.rank]

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch; what is left of them where it is the one under way."""
        if number != self.number:
            self.start(number)
        order = self.order(number) if self._order is None else self._order
        batches = order.split(self.batch_size)
        while self.step < self.num_batches:
            batch = self.rows.take(batches[self.step].tensor_split(self.world_size)[self.rank])
            self.step += 1
            yield batch

    def start(self, number: int) -> None:
        """Stand at the beginning of an epoch."""
        self.number, self.step, self._order = number, 0, None

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: the epoch, the batches given, and an order that the seed does not determine."""
        return {"epoch": self.number, "step": self.step, "order": self._order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from there. Trainings of marginflow 0.1 drew the order of an epoch, and have it in their state."""
        self.number, self.step, self._order = state["epoch"], state["step"], state["order"]
