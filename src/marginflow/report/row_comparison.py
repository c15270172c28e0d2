"""Runs on a table side by side in the terminal: by run, and where some have several seeds by experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from marginflow.base.literal import literal
from marginflow.base.moments import Estimate
from marginflow.data import DataSpec
from marginflow.evaluation.compared import Compared
from marginflow.report.estimates import NONE, number
from marginflow.report.parted import Cells, Parted
from marginflow.report.row_accounting import estimate, what_it_is
from marginflow.report.tables import compared_rows, computed, outside_lines, sample_size

if TYPE_CHECKING:
    from marginflow.runs.seed_groups import SeedGroup

ERRORS = 2  # standard errors, beyond which a run is behind the best
FEW_SEEDS = 4  # of fewer their spread is a rough figure


def row_comparison(runs: Sequence[Compared], groups: Sequence[SeedGroup], spec: DataSpec) -> Group:
    """log p of the same rows by each run, the best first, with its parts and by how much it lies behind the best."""
    table = Parted(_columns(runs), "log p, nats a row")
    first = runs[0].accounting
    weighted = "weighted means" if first.effective_rows else "means"
    lines = [
        f"{weighted} over the same {compared_rows(runs)} test rows, ± standard error; higher is better",
        f"behind the best: mean of the differences row by row, ± their standard error; level: within {ERRORS} of them",
        what_it_is(first, spec),
    ]
    lines += [f"{each.name}: {line}" for each in runs for line in outside_lines(each.accounting, "log p is -infinity")]
    if any(not each.accounting.exact for each in runs):
        lines.append("by IW-K: log p is a lower bound that rises to the true one as K grows")
    shown = [table, Text("\n".join(lines))]
    return Group(*shown, *_of_groups(groups)) if groups else Group(*shown)


def _columns(runs: Sequence[Compared]) -> list[Cells]:
    """Those that decide, and then what else is known of each run."""
    behind = [NONE if each.behind is None else estimate(each.behind) for each in runs]
    sizes = [NONE if each.num_parameters is None else f"{each.num_parameters:,}" for each in runs]
    columns = [
        Cells("run", [Text(literal(each.name)) for each in runs]),
        Cells("model", [Text(literal(each.model)) for each in runs], whole=True),
        _numbers("seed", [str(each.seed) for each in runs], later=True),
        _numbers("parameters", sizes, later=True),
        _numbers("log p", [estimate(each.nll.scaled(-1.0)) for each in runs]),
    ]
    if all(each.discrete is not None and each.real is not None for each in runs):
        columns.append(_numbers("discrete", [estimate(each.discrete) for each in runs], later=True))
        columns.append(_numbers("real", [estimate(each.real) for each in runs], later=True))
    columns += [_numbers("behind\nthe best", behind), Cells("", [verdict(each.behind) for each in runs], whole=True)]
    if any(not each.accounting.exact for each in runs):
        columns.append(Cells("computed", [computed(each.accounting) for each in runs], later=True))
        sample_sizes = [sample_size(each.accounting) for each in runs]
        columns.append(Cells("median effective sample size", sample_sizes, later=True))
    return columns


def _numbers(title: str, cells: Sequence[str], *, later: bool = False) -> Cells:
    """Numbers, none of which is broken."""
    return Cells(title, cells, right=True, whole=True, later=later)


def verdict(behind: Estimate | None) -> str:
    """What a difference to the best says.

    >>> verdict(None), verdict(Estimate(0.3, 0.1)), verdict(Estimate(0.3, 0.2)), verdict(Estimate(0.3, math.nan))
    ('best', 'behind', 'level', 'cannot tell')
    """
    if behind is None:
        return "best"
    if math.isnan(behind.standard_error):
        return "cannot tell"
    return "behind" if behind.value > ERRORS * behind.standard_error else "level"


def _of_groups(groups: Sequence[SeedGroup]) -> list[Parted | Text]:
    """The same by experiment."""
    spread = ["unknown" if math.isnan(each.spread) else number(each.spread) for each in groups]
    columns = [
        Cells("model", [Text(literal(each.name)) for each in groups]),
        _numbers("seeds", [str(len(each.seeds)) for each in groups]),
        _numbers("log p", [number(each.log_prob) for each in groups]),
        _numbers("spread", spread),
        _numbers("behind\nthe best", [_behind(each) for each in groups]),
        Cells("", [verdict(each.behind) for each in groups], whole=True),
    ]
    lines = [
        "spread: standard deviation of the seeds' means; behind: difference of the means over seeds, ± an error that "
        "counts rows (paired) and seeds: the root of s²(differences) / rows + spread² / seeds of both"
    ]
    if any(not each.has_spread for each in groups if each.behind is not None):
        lines.append("by rows alone: one of both has a single seed, whose spread is unknown: train more of them")
    if any(1 < len(each.seeds) < FEW_SEEDS for each in groups):
        lines.append(f"of fewer than {FEW_SEEDS} seeds the spread itself is a rough figure")
    return [Parted(columns, "by experiment, over seeds"), Text("\n".join(lines))]


def _behind(group: SeedGroup) -> str:
    """By how much it lies behind the best, and by what that is told where seeds say nothing."""
    if group.behind is None:
        return NONE
    return estimate(group.behind) if group.has_spread else f"{estimate(group.behind)}\nby rows alone"
