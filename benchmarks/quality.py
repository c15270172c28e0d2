"""Time to quality: `python -m benchmarks.quality [--seconds S] [--seeds N] [--output OUTPUT.json]`, one thread.

How long each library takes to the best held-out NLL that the better of the peers reaches: the lower of their medians
over the seeds. All learn the same standardised rows with the same splits; `trainings` says how.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import sets
from benchmarks.candidates import PEERS
from benchmarks.trainings import TRAININGS, Point

OUTPUT = Path("benchmarks/results/quality.json")
SECONDS, SEEDS, POINTS = 28.0, 5, 28  # of CPU a training; trainings a library; times that each is validated
SETS: dict[str, Callable[[], sets.Rows]] = {
    "protein": lambda: sets.table("protein"),
    "california_housing": lambda: sets.table("california_housing"),
    "half moons": sets.moons,
}

Curves = Mapping[str, Sequence[Sequence[Point]]]  # of each library, one a seed


def first_at_or_below(points: Sequence[Point], target: float) -> float | None:
    """The seconds at which a training first stood at a held-out NLL or below; None where it never did."""
    return next((point.seconds for point in points if point.held_out <= target), None)


def best(points: Sequence[Point]) -> float:
    """The held-out NLL of the weights that were the best on validation in the whole training."""
    return points[-1].held_out if points else math.inf


def summary(curves: Curves) -> dict[str, Any]:
    """The better peer, its median best held-out NLL, and of each library that median and the seconds until it is there.

    The seconds are sorted, None for a seed that did not get there.
    """
    medians = {library: statistics.median(map(best, each)) for library, each in curves.items()}
    better = min(PEERS, key=lambda peer: medians[peer])
    reached = {
        library: sorted((first_at_or_below(points, medians[better]) for points in each), key=_last_where_none)
        for library, each in curves.items()
    }
    return {"better_peer": better, "target": medians[better], "best": medians, "seconds": reached}


def _last_where_none(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def shown(seconds: Sequence[float | None]) -> str:
    """The median and range of sorted seconds, or that a target was not reached.

    >>> shown([2.0, 3.0, 9.0]), shown([2.0, None, None])
    ('3.0 s (2.0 to 9.0)', 'not reached (1 of 3)')
    """
    there = [each for each in seconds if each is not None]
    middle = statistics.median(map(_last_where_none, seconds))
    if not math.isfinite(middle):
        return f"not reached ({len(there)} of {len(seconds)})" if there else "not reached"
    some = "" if len(there) == len(seconds) else f", {len(there)} of {len(seconds)}"
    return f"{middle:.1f} s ({there[0]:.1f} to {there[-1]:.1f}{some})"


def table(record: Mapping[str, Any]) -> str:
    """Markdown: a row a set and library."""
    lines = [
        "| rows | library | best held-out NLL, median | seconds to the better peer's best, median (range) |",
        "|---|---|---:|---:|",
    ]
    notes = []
    for name, found in record["sets"].items():
        if "skipped" in found:
            notes.append(f"{name} skipped: {found['skipped']}")
            continue
        for library, nll in found["best"].items():
            mark = " (the better peer's)" if library == found["better_peer"] else ""
            lines.append(f"| {name} | {library} | {nll:.3f}{mark} | {shown(found['seconds'][library])} |")
        if found["entropy"] is not None:
            notes.append(f"The entropy of {name} is {found['entropy']:.4f} nats a row: no density is better.")
    return "\n".join([*lines, "", *notes])


def measure(rows: sets.Rows, seconds: float, seeds: int, points: int) -> dict[str, Any]:
    """Train every library on rows with every seed."""
    curves: dict[str, list[list[Point]]] = {library: [] for library in TRAININGS}
    for seed in range(seeds):
        for library, train in TRAININGS.items():  # in turns, so that other work on the machine meets all
            curves[library].append(train(rows, seed, seconds, seconds / points))
            print(f"{rows.name}, seed {seed}, {library}: {best(curves[library][-1]):.3f}", file=sys.stderr, flush=True)
    return {
        "rows": [len(part) for part in (rows.train, rows.validation, rows.test)],
        "features": rows.train.shape[1],
        "entropy": rows.entropy,
        **summary(curves),
        "curves": {library: [list(map(asdict, each)) for each in found] for library, found in curves.items()},
    }


def warm_up() -> None:
    """Import, and let each library take its first steps, which do not count."""
    few = torch.randn(200, 2)
    for train in TRAININGS.values():
        train(sets.Rows("first", few, few, few, 0.0), 0, 0.5, 0.5)


def main(output: Path, seconds: float, seeds: int, points: int) -> None:
    """All sets; print the table, write the JSON."""
    torch.set_num_threads(1)
    warm_up()
    record: dict[str, Any] = {
        "seconds_a_training": seconds, "seeds": seeds, "threads": 1, "torch": torch.__version__, "sets": {},
    }  # fmt: skip
    for name, load in SETS.items():
        try:
            rows = load()
        except FileNotFoundError as error:
            record["sets"][name] = {"skipped": f"{error.filename} is not there"}
            continue
        record["sets"][name] = measure(rows, seconds, seeds, points)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n")
    print(table(record))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Time to quality, one thread.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU seconds of each training")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    main(given.output, given.seconds, given.seeds, POINTS)
