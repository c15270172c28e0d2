"""Which batch size and learning rate? `python -m studies.batch_size throughput`, `train`, `check`, `table`, `figure`.

A MAF of the size that a table asks for by default is trained on 1,000 to 1,000,000 rows of a known density, or of the
table whose path `train` and `check` are given, for as many seconds as a person waits. The seconds are the steps taken
times what a step takes where nothing disturbs it, `throughput`, which can so be measured anew without training anew.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marginflow.training import suggested_batch_size
from studies import RESULTS
from studies.batch_size_training import COLUMNS, DEFAULTS, WIDTHS, known, real, seconds_a_step, trial

BATCHES = tuple(2**k for k in range(5, 14))
RATES = tuple(2.5e-4 * 2**k for k in range(8))
# training rows: seconds, batch sizes, seeds
PLAN = {
    1_000: (4.0, BATCHES[:5], (0, 1, 2)),
    10_000: (10.0, BATCHES[1:6], (0, 1)),
    100_000: (20.0, BATCHES[2:7], (0,)),
    1_000_000: (45.0, BATCHES[3:7], (0,)),
}
Budget = tuple[int, float, tuple[int, ...], tuple[int, ...]]


def path_of(name: str) -> Path:
    return RESULTS / f"batch_size_{name}.json"


def network(dropout: float = 0.0, columns: int = COLUMNS) -> str:
    """A network, as `throughput` names it."""
    name = f"D = {columns}, 2 x {WIDTHS[columns]}"
    return f"{name}, dropout {dropout}" if dropout else name


def throughput() -> None:
    """Seconds a step by batch size, of each size of network, and of that of a table with its dropout."""
    dropout = DEFAULTS["model"]["dropout"]
    measured = {network(columns=columns): seconds_a_step(columns, BATCHES) for columns in WIDTHS}
    measured[network(dropout)] = seconds_a_step(COLUMNS, BATCHES, dropout)
    for name, row in measured.items():
        cells = [f"{size / seconds:,.0f}" for size, seconds in row.items()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    record = {name: {str(size): round(each, 6) for size, each in row.items()} for name, row in measured.items()}
    about = {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}
    path_of("throughput").write_text(json.dumps({**about, "seconds_a_step": record}, indent=1) + "\n")


class Study:
    """The trainings on one kind of table so far, each written when it is done, and those that are to come."""

    def __init__(self, source: Path | None = None) -> None:
        self.source = source
        self.name = "known density" if source is None else source.name.partition(".")[0]
        self.path = path_of("known" if source is None else self.name)
        record = json.loads(self.path.read_text()) if self.path.exists() else {"trials": []}
        self.trials: list[dict[str, Any]] = record["trials"]
        self.seconds = json.loads(path_of("throughput").read_text())["seconds_a_step"]

    def plan(self) -> Iterator[Budget]:
        """What is to be trained; of a table as far as its rows reach."""
        most = sys.maxsize if self.source is None else len(real(self.source, sys.maxsize, 0).train)
        for num_rows, (budget, batches, seeds) in PLAN.items():
            yield min(num_rows, most), budget, batches, seeds
            if num_rows >= most:
                return

    def search(self) -> None:
        """For each batch size the best learning rate, with the first seed; then that one with the others."""
        best: dict[tuple[int, int], float] = {}
        for num_rows, budget, batches, _ in self.plan():
            lr = RATES[1]
            for size in batches:
                lr = best[num_rows, size] = self.climb(num_rows, budget, size, lr)
        for num_rows, budget, batches, seeds in self.plan():
            for seed, size in itertools.product(seeds[1:], batches):
                self.result(num_rows, budget, size, best[num_rows, size], seed)

    def climb(self, num_rows: int, budget: float, size: int, start: float) -> float:
        """The learning rate that is better than half and twice of it, from one that is near."""
        at = RATES.index(start)
        values: dict[int, float] = {}
        while True:
            for k in (at, at + 1, at - 1):
                if 0 <= k < len(RATES) and k not in values:
                    values[k] = final(self.result(num_rows, budget, size, RATES[k], 0))
                    if k == at + 1 and values[k] < values[at]:
                        break
            best = min(values, key=lambda k: values[k])
            if best == at:
                return RATES[at]
            at = best

    def check(self) -> None:
        """What the rule chooses beside what a table is trained with by default, both without dropout and with it."""
        size, lr = 100, DEFAULTS["train"]["lr"]
        for num_rows, budget, _, seeds in self.plan():
            rule = suggested_batch_size(num_rows)
            for seed, dropout in itertools.product(seeds, (0.0, DEFAULTS["model"]["dropout"])):
                self.result(num_rows, budget, rule.size, rule.lr, seed, dropout)
                self.result(num_rows, budget, size, lr, seed, dropout)

    def result(
        self, num_rows: int, budget: float, size: int, lr: float, seed: int, dropout: float = 0.0
    ) -> dict[str, Any]:
        """A training, done now or before."""
        what = {"rows": num_rows, "batch_size": size, "lr": lr, "dropout": dropout, "seed": seed}
        done = [each for each in self.trials if what.items() <= each.items()]
        if not done:
            table = known(num_rows, seed) if self.source is None else real(self.source, num_rows, seed)
            done = [trial(table, round(budget / self.step(size, dropout)), what)]
            self.trials += done
            print(*what.values(), done[0]["cpu_seconds"], f"{final(done[0]):.4f}", flush=True)
            self.write()
        return done[0]

    def write(self) -> None:
        """The trainings so far, one a line."""
        about = json.dumps({"device": "cpu", "threads": torch.get_num_threads(), "recipe": DEFAULTS})
        lines = ",\n  ".join(json.dumps(each) for each in self.trials)
        self.path.write_text(f'{about[:-1]},\n "trials": [\n  {lines}\n ]\n}}\n')

    def step(self, size: int, dropout: float) -> float:
        """Seconds of a step, straight between the batch sizes that were measured."""
        measured = self.seconds[network(dropout)]
        return float(np.interp(size, [int(each) for each in measured], list(measured.values())))


def final(row: dict[str, Any]) -> float:
    """The test NLL in the end, at the mark that was best on validation."""
    return min(row["curve"], key=lambda point: point[1])[2] if row["curve"] else math.inf


def sources() -> list[Path | None]:
    """The known density, then the tables that were trained on, by name."""
    names = {path.stem.removeprefix("batch_size_") for path in RESULTS.glob("batch_size_*.json")}
    return [None, *(Path(name) for name in sorted(names - {"known", "throughput"}))]


def main(command: str, source: Path | None) -> None:
    torch.set_num_threads(1)
    if command == "throughput":
        throughput()
    elif command == "train":
        Study(source).search()
    elif command == "check":
        Study(source).check()
    else:
        from studies.batch_size_figure import save, table

        print(table(sources())) if command == "table" else save(sources())


if __name__ == "__main__":
    chosen, *given = sys.argv[1:] or ["table"]
    main(chosen, Path(given[0]) if given else None)
