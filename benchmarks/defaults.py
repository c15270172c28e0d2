"""The default estimator beside Gaussian mixtures, on ten tables: `python -m benchmarks.defaults --help`.

For each table of `default_sets` and each of ten splits, held-out nats a row of

- "gaussian": mixtures of 1 to 30 normal distributions with full covariances, each number's, and which number the folds
  of the training rows choose;
- "kernel": a kernel density whose bandwidth folds choose;
- "ours": `marginflow.FlowDensity()` as it comes.

All densities are in file units, on the same rows and columns. Each (table, split, who) is kept once it is done and
skipped by a later call, so the benchmark may be stopped, continued, and cut into parts. "The best" mixture has the
number of components whose mean over all splits is best, which no one can know beforehand.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks import default_peers, default_report, default_sets, kept

OUTPUT = Path("benchmarks/results/defaults.json")


class Density(Protocol):
    """What is asked of an estimator, as scikit-learn names it."""

    def fit(self, X: np.ndarray, /) -> Any: ...
    def score_samples(self, X: np.ndarray, /) -> np.ndarray: ...


def default_estimator(seed: int) -> Density:
    """Ours in its default settings, with the split's seed."""
    from marginflow import FlowDensity  # pyright: ignore[reportAttributeAccessIssue]

    return FlowDensity(random_state=seed)


def ours(
    train: np.ndarray, test: np.ndarray, seed: int, make: Callable[[int], Density] = default_estimator
) -> dict[str, Any]:
    """Held-out nats a row of an estimator, what it chose and seconds of the fit."""
    estimator = make(seed)
    started = time.perf_counter()
    estimator.fit(train)
    seconds = time.perf_counter() - started
    log_p = np.asarray(estimator.score_samples(test), np.float64)
    return {
        "log_p": float(log_p.mean()), "lowest": float(log_p.min()), "seconds": seconds,
        "chosen": chosen(estimator),
    }  # fmt: skip


def chosen(estimator: Density) -> str:
    """The candidate that was chosen; the estimator's type where it tried none."""
    trials = getattr(estimator, "trials_", ())
    return trials[0].name if trials else type(estimator).__name__


MEASURED: dict[str, Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]] = {
    "gaussian": default_peers.gaussian_mixtures,
    "kernel": default_peers.kernel_density,
    "ours": ours,
}


def measure(output: Path, name: str, splits: int, who: Sequence[str], again: bool = False) -> None:
    """What is not kept yet of a table, or, again, all that is asked for."""
    rows = default_sets.rows_of(name)
    tied, most = default_sets.ties(rows)
    about = {
        "rows": len(rows),
        "columns": rows.shape[1],
        "source": default_sets.source(name),
        "tied": tied,
        "most": most,
    }
    before = kept.look(kept.read(output), "sets", name, "about")
    if before not in (None, about):
        raise ValueError(f"{output} holds {name} as {before}; it is {about} now: give another --output")
    kept.keep(output, about, "sets", name, "about")
    for seed in range(splits):
        train, test = default_sets.split(rows, seed)
        for each in who:
            if not again and kept.look(kept.read(output), "sets", name, "splits", str(seed), each):
                continue
            found = MEASURED[each](train, test, seed)
            kept.keep(output, found, "sets", name, "splits", str(seed), each)
            print(f"{name}, split {seed}, {each}: {found['seconds']:.1f} s", file=sys.stderr, flush=True)


def setting(threads: int) -> dict[str, Any]:
    """What the figures of a call depend on."""
    import sklearn
    import torch

    import marginflow

    return {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": threads},
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "marginflow": marginflow.__version__,
            "scikit-learn": sklearn.__version__, "numpy": np.__version__,
        },
    }  # fmt: skip


def main(given: argparse.Namespace) -> None:
    """Measure what is missing, unless only the table is asked for; print the table."""
    if not given.table:
        import torch
        from sklearn import mixture  # noqa: F401, for its pools of threads, which are limited once they are there
        from threadpoolctl import threadpool_limits

        who = [given.only] if given.only else list(MEASURED)
        torch.set_num_threads(given.threads)
        with threadpool_limits(given.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said of each table is not the matter here
            for each in who:
                kept.keep(given.output, setting(given.threads), "settings", each)
            for name in given.sets:
                measure(given.output, name, given.splits, who, given.again)
    print(default_report.table(kept.read(given.output)))


def names_of_sets(text: str) -> list[str]:
    """Names with commas between, each of `SETS`."""
    unknown = [each for each in text.split(",") if each not in default_sets.SETS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such set: {', '.join(unknown)}; there are {', '.join(default_sets.SETS)}")
    return text.split(",")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults", description="The default beside mixtures.")
    parser.add_argument("--sets", type=names_of_sets, default=list(default_sets.SETS), help="names with commas between")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--only", choices=list(MEASURED), help="measure one alone")
    parser.add_argument("--again", action="store_true", help="measure anew what is kept")
    parser.add_argument("--table", action="store_true", help="print the table of what is kept, measure nothing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    main(parser.parse_args())
