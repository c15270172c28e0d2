"""Densities on real tables: `python -m benchmarks.tables --help`.

For each table and each split by a seed, or each fold of a table with fewer than 2,000 rows: held-out nats a row, the
difference to each baseline row by row, how well boosted trees tell samples from rows, whether log p tells training
rows, seconds. All on one measure, see `measure`. What is done is kept at once and skipped by a later call, so the run
may be stopped and continued. No result depends on a clock. Settings are chosen on moons, abalone, synthetic and
people; the others are run once at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import defaults, kept
from benchmarks.tables import page, studies
from benchmarks.tables.measured import measure
from benchmarks.tables.models import BASELINES, MODELS, OURS
from benchmarks.tables.sets import SETS, missing
from marginflow.nets.products import VARIABLE

OUTPUT, OF_STUDIES = (Path(f"benchmarks/results/{name}.json") for name in ("tables", "table_studies"))


def main(given: argparse.Namespace) -> None:
    """Measure what is missing, unless only the page is asked for; write the page beside the record."""
    if not given.page:
        os.environ.setdefault(VARIABLE, "torch")  # products of matrices by the same code, not by what was quicker once
        _measure(given)
    written = page.write(given.output)
    print(written.read_text() if written else f"{given.output} holds no table yet")


def _measure(given: argparse.Namespace) -> None:
    from sklearn import mixture  # noqa: F401, for its pools of threads, which are limited once they are there
    from threadpoolctl import threadpool_limits

    failed: list[str] = []
    torch.set_num_threads(given.threads)
    kept.keep(given.output, defaults.setting(given.threads), "settings")
    with threadpool_limits(given.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is said of each table is not the matter here
        for name in given.tables:
            why = missing(name)
            if why is not None:
                print(f"{name} skipped: {why}", file=sys.stderr)
                kept.keep(given.output, why, "skipped", name)
                continue
            try:
                for each in _asked(given, name):
                    measure(given.output, name, each.models, given.seeds, most=given.rows, change=each.change)
            except ValueError as error:  # one table must not end hours of others
                failed.append(f"{name}: {error}")
    if failed:
        sys.exit("\n".join(failed))


def _asked(given: argparse.Namespace, table: str) -> list[studies.Study]:
    """What is measured of a table: models on it as it is, or studies."""
    if given.studies:
        return studies.every_study(table)
    if given.as_name:
        return [studies.study(given.as_name, given.set, without_atoms=given.without_atoms)]
    return [studies.Study({each: MODELS[each] for each in given.models})]


def _names(known: list[str]) -> Callable[[str], list[str]]:
    """Reads names with commas between."""

    def read(text: str) -> list[str]:
        unknown = [each for each in text.split(",") if each not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return text.split(",")

    return read


def _arguments() -> argparse.Namespace:
    counted = [name for name, each in SETS.items() if each.role != "settings"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description="Densities on real tables.")
    parser.add_argument("--tables", type=_names([*SETS]), help="names with commas between")
    parser.add_argument("--models", type=_names([*MODELS]), default=[*MODELS], help=f"{OURS}, ..., {BASELINES[-1]}")
    parser.add_argument("--seeds", type=int, default=3, help="splits of a table of 2,000 rows and more")
    parser.add_argument("--rows", type=int, help="of each table at most, for a trial; needs another --output")
    parser.add_argument("--page", action="store_true", help="write the page of what is kept, measure nothing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help=f"by default {OUTPUT}")
    parser.add_argument("--studies", action="store_true", help=f"what moves `mixed`, by default in {OF_STUDIES}")
    parser.add_argument("--as", dest="as_name", help="of a trial: the name of `mixed` with other settings")
    parser.add_argument(
        "--set", action="append", default=[], help="of a trial: such as model.orders=4; may be repeated"
    )
    parser.add_argument("--without-atoms", action="store_true", help="of a trial: no spikes on grids")
    given = parser.parse_args()
    given.tables = given.tables or ([*studies.TABLES] if given.studies else counted)
    given.output = given.output or (OF_STUDIES if given.studies else OUTPUT)
    if given.studies and not set(given.tables) <= set(studies.TABLES):
        parser.error(f"there are studies of {', '.join(studies.TABLES)}; got {', '.join(given.tables)}")
    if given.output in (OUTPUT, OF_STUDIES) and (given.rows or given.as_name):
        parser.error("trials are no part of the committed records: give --output FILE.json")
    if (given.set or given.without_atoms) and not given.as_name:
        parser.error("--set and --without-atoms are of a trial: give it a name, as by --as 'four orders'")
    return given


if __name__ == "__main__":
    main(_arguments())
