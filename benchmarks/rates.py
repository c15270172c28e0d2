"""What the machine multiplies in exact float32: each product back end's rate, and the best."""

from __future__ import annotations

import torch

from benchmarks.sizes import ROWS
from benchmarks.timing import interleaved
from marginflow.nets import products

WIDTH, REPEATS = 3072, 30


def rates(threads: int | None = None) -> dict[str, float]:
    """Operations a second of the product 100 x 3072 by 3072 x 3072, forward, by each back end that is usable here.

    threads: as many as torch has by default.
    """
    x, weight, out = torch.randn(ROWS, WIDTH), torch.randn(WIDTH, WIDTH), torch.empty(ROWS, WIDTH)
    before = torch.get_num_threads()

    def multiply(back_end: str) -> None:
        with products.using(products.all_by(back_end)):
            products.forward(x, weight, out)

    torch.set_num_threads(threads or before)
    try:
        seconds = interleaved({name: lambda name=name: multiply(name) for name in products.usable()}, REPEATS)
    finally:
        torch.set_num_threads(before)
    return {name: 2 * ROWS * WIDTH**2 / each for name, each in seconds.items()}


def measured() -> dict[int, dict[str, float]]:
    """The rates with as many threads as torch takes, and with one: threads -> back end -> operations a second."""
    return {threads: rates(threads) for threads in sorted({torch.get_num_threads(), 1}, reverse=True)}


def better(first: dict[int, dict[str, float]], second: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    """The higher of two measurements of each rate: other work on the machine only ever lowers them."""
    return {
        threads: {name: max(rate, second[threads][name]) for name, rate in each.items()}
        for threads, each in first.items()
    }
