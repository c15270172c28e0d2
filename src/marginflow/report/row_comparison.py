"""Runs on a table side by side in the terminal: by run, and where some have several seeds by experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from marginflow.base.literal import literal
from marginflow.base.moments import Estimate
from marginflow.data import DataSpec
from marginflow.evaluation.evaluate import Compared
from marginflow.report.estimates import NONE, number
from marginflow.report.row_accounting import estimate, what_it_is
from marginflow.report.tables import compared_rows, computed, outside_lines, sample_size

if TYPE_CHECKING:
    from marginflow.runs.seed_groups import SeedGroup

ERRORS = 2  # standard errors, beyond which a run is behind the best
FEW_SEEDS = 4  # of fewer their spread is a rough figure


def row_comparison(runs: Sequence[Compared], groups: Sequence[SeedGroup], spec: DataSpec) -> Group:
    """log p of the same rows by each run, the best first, with its parts and by how much it lies behind the best."""
    parts = all(each.discrete is not None and each.real is not None for each in runs)
    estimated = any(not each.accounting.exact for each in runs)
    table = Table(title="log p, nats a row", title_justify="left")
    for title in ("run", "model"):
        table.add_column(title, overflow="fold")
    right = ["seed", "parameters", "log p", *(("discrete", "real") if parts else ()), "behind the best"]
    for title in right:
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("", *(("computed", "median effective sample size") if estimated else ())):
        table.add_column(title)
    for each in runs:
        cells = [estimate(each.discrete), estimate(each.real)] if parts else []
        more = [computed(each.accounting), sample_size(each.accounting)] if estimated else []
        behind = NONE if each.behind is None else estimate(each.behind)
        size = NONE if each.num_parameters is None else f"{each.num_parameters:,}"
        first = [Text(literal(each.name)), Text(literal(each.model)), str(each.seed), size]
        table.add_row(*first, estimate(each.nll.scaled(-1.0)), *cells, behind, verdict(each.behind), *more)
    first = runs[0].accounting
    weighted = "weighted means" if first.effective_rows else "means"
    lines = [
        f"{weighted} over the same {compared_rows(runs)} test rows, ± standard error; higher is better",
        f"behind the best: mean of the differences row by row, ± their standard error; level: within {ERRORS} of them",
        what_it_is(first, spec),
    ]
    lines += [f"{each.name}: {line}" for each in runs for line in outside_lines(each.accounting, "log p is -infinity")]
    if estimated:
        lines.append("by IW-K: log p is a lower bound that rises to the true one as K grows")
    shown = [table, Text("\n".join(lines))]
    return Group(*shown, *_of_groups(groups)) if groups else Group(*shown)


def verdict(behind: Estimate | None) -> str:
    """What a difference to the best says.

    >>> verdict(None), verdict(Estimate(0.3, 0.1)), verdict(Estimate(0.3, 0.2)), verdict(Estimate(0.3, math.nan))
    ('best', 'behind', 'level with the best', 'cannot tell')
    """
    if behind is None:
        return "best"
    if math.isnan(behind.standard_error):
        return "cannot tell"
    return "behind" if behind.value > ERRORS * behind.standard_error else "level with the best"


def _of_groups(groups: Sequence[SeedGroup]) -> list[Table | Text]:
    """The same by experiment."""
    table = Table(title="by experiment, over seeds", title_justify="left")
    table.add_column("model", overflow="fold")
    for title in ("seeds", "log p", "spread between seeds", "behind the best"):
        table.add_column(title, justify="right")
    table.add_column("")
    for each in groups:
        spread = "unknown" if math.isnan(each.spread) else number(each.spread)
        behind = NONE if each.behind is None else estimate(each.behind)
        told = verdict(each.behind)
        if each.behind is not None and not each.has_spread:
            told = f"{told}, by rows alone"
        table.add_row(Text(literal(each.name)), str(len(each.seeds)), number(each.log_prob), spread, behind, told)
    lines = [
        "spread: standard deviation of the seeds' means; behind: difference of the means over seeds, ± an error that "
        "counts rows (paired) and seeds: the root of s²(differences) / rows + spread² / seeds of both"
    ]
    if any(not each.has_spread for each in groups if each.behind is not None):
        lines.append("by rows alone: one of both has a single seed, whose spread is unknown: train more of them")
    if any(1 < len(each.seeds) < FEW_SEEDS for each in groups):
        lines.append(f"of fewer than {FEW_SEEDS} seeds the spread itself is a rough figure")
    return [table, Text("\n".join(lines))]
