"""Rows of a table, some at once: what is computed of them stays in a processor's cache, and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from marginflow.base.surroundings import becomes_graph

ROWS = 4096


def pieces(x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Rows and context in pieces of at most 4096 rows; at least one piece, and one where a graph is made.

    >>> import torch
    >>> [len(x) for x, _ in pieces(torch.zeros(5000, 2), None)]
    [4096, 904]
    """
    if becomes_graph():
        yield x, context
        return
    contexts: Sequence[Tensor | None] = [None] * (len(x) // ROWS + 1) if context is None else context.split(ROWS)
    yield from zip(x.split(ROWS), contexts, strict=False)
