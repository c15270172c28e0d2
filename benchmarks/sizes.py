"""The models that are timed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from benchmarks.floors import Floor, Floors

ROWS = 100


@dataclass(frozen=True)
class Size:
    """A model: `blocks` masked autoregressive layers over `features`, each with these hidden widths.

    repeats: how often its step and log_prob are timed. rows: of a batch, and how many samples are drawn.
    floors: what was asked for; a model without is timed as the libraries come, and no further.
    """

    name: str
    features: int
    hidden: tuple[int, ...]
    repeats: int
    blocks: int = 5
    rows: int = ROWS
    floors: Floors | None = None

    @property
    def triangle(self) -> int:
        """Weights that the masks leave, counted for degrees spread evenly: half of each layer."""
        widths = [self.features, *self.hidden, 2 * self.features]
        return self.blocks * sum(a * b for a, b in pairwise(widths)) // 2

    @property
    def is_image(self) -> bool:
        return self.features > 500


HALF, ALL = Floor(0.5, at_most=True), Floor(1, at_most=True)  # of the leaner peer's memory
OWN = Floor(goal=1.3, at_most=True)  # sampling over its own log_prob
MOST_ASKED = "CIFAR 5 x 3072"  # for its share of the machine's rate

SIZES = [
    Size(
        "MNIST 5 x (2 x 1024)", 784, (1024, 1024), 20,
        floors=Floors(Floor(2.5), Floor(3.3), Floor(1.7), Floor(1.8), Floor(500), HALF),
    ),
    Size(
        MOST_ASKED, 3072, (3072,), 15,
        floors=Floors(Floor(5), Floor(6), Floor(3.5), Floor(4.5), Floor(4000), HALF, OWN),
    ),
    Size(
        "CIFAR 5 x (3 x 1024)", 3072, (1024, 1024, 1024), 15,
        floors=Floors(Floor(3), Floor(3.5), Floor(2.2), Floor(2.5), Floor(2000), HALF, OWN),
    ),
    Size("CIFAR + 512 noise, 5 x 3584", 3584, (3584,), 5),
    Size("CIFAR + 512 noise, 5 x (3 x 1024)", 3584, (1024, 1024, 1024), 5),
    Size(
        "tabular D = 43, 5 x (2 x 512)", 43, (512, 512), 40,
        floors=Floors(Floor(1.7), Floor(2), Floor(1.2, goal=1.4), Floor(1.3), Floor(10), ALL),
    ),
    Size(
        "tabular D = 10, 5 x (2 x 128), batch 1000", 10, (128, 128), 40, rows=1000,
        floors=Floors(Floor(1.7), Floor(1.7), Floor(1.6), Floor(1.4), megabytes=ALL),
    ),
    Size(
        "tiny D = 2, 5 x (2 x 64)", 2, (64, 64), 40,
        floors=Floors(Floor(1.35, goal=1.6), Floor(1.3, goal=1.6), sample=Floor(1), megabytes=ALL),
    ),
]  # fmt: skip


def named(name: str) -> Size:
    """The model of a name."""
    return next(size for size in SIZES if size.name == name)
