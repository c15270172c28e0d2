"""The demo: half moons through flows that fit and as the thesis has them, then a table of orders."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from marginflow.cli.demos.moons import FITTING, THESIS, Learned, learn
from marginflow.cli.demos.orders import RUN, Orders, orders
from marginflow.cli.demos.show import headline, say
from marginflow.runs.directory import require_free
from marginflow.storage.files import write_whole


@dataclass(frozen=True)
class Demo:
    """What the demo has found: of half moons by model, and of the table of orders."""

    fitting: dict[str, Learned]
    thesis: dict[str, Learned]
    orders: Orders


def run_demo(output: Path, epochs: int | None = None) -> Demo:
    """Train, evaluate, score and sample; draw the figures, and say what was written where.

    epochs: of each training, at most. FileExistsError where a run would replace something that is none.
    """
    started = time.perf_counter()
    for name in (*(each.run for each in (*FITTING.models, *THESIS.models)), RUN):
        require_free(output / name, overwrite=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileExistsError(f"{output} is a file: name a folder, --output runs/demo") from error
    headline("1. Half moons, without and with a noise dimension")
    fitting = learn(FITTING, output, epochs)
    headline("2. The thesis's own setting: planar flows of 8 layers")
    thesis = learn(THESIS, output, epochs)
    headline("3. A table of orders: trained on, scored, drawn from")
    found = orders(output, epochs)
    record = {label: each.record for label, each in {**fitting, **thesis}.items()}
    write_whole(output / "half_moons.json", (json.dumps(record, indent=2) + "\n").encode())
    headline(f"Done in {time.perf_counter() - started:.0f} s. In {output}:")
    for file, what in (
        (f"{FITTING.picture}.png", "half moons: data, density, samples, nats beside the floor"),
        (f"{THESIS.picture}.png", "the same in the thesis's setting"),
        ("orders.png", "each column of the orders beside that of the samples"),
        ("half_moons.json", "the accounting of the four flows, with all settings"),
        ("new_orders.scored.csv", "new orders with their log p"),
        ("orders.drawn.csv", "orders that the model drew"),
    ):
        say(f"  {file:<24}{what}")
    say("  and the runs, for marginflow evaluate, sample, compare, check, report")
    return Demo(fitting, thesis, found)
