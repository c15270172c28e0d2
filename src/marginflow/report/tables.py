"""What the command line shows of results: the accounting, comparisons and findings as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from marginflow.base.literal import literal
from marginflow.base.moments import Estimate
from marginflow.data import DataSpec
from marginflow.evaluation.check.findings import Findings
from marginflow.evaluation.compared import Compared
from marginflow.evaluation.evaluate import Accounting
from marginflow.evaluation.float32_error import Disagreement
from marginflow.evaluation.sample_range import SampleRange
from marginflow.report.estimates import NONE, number, with_error


def findings_table(findings: Findings) -> Table:
    """What a check has found, a row each, with what to do."""
    table = Table()
    for title in ("check", "", "found", "what to do"):
        table.add_column(title, overflow="fold")
    colours = {"pass": "green", "warn": "yellow", "fail": "bold red", "cannot tell": "yellow", "skip": "dim"}
    for each in findings.every:
        status = Text(each.status, colours[each.status])
        table.add_row(each.check, status, _text(each.found), _text(each.remedy))
    return table


def accounting_table(results: Mapping[str, Accounting], floor: float | None = None) -> Group:
    """The accounting of one or more models over the same rows, side by side, means with standard errors."""
    columns = list(results.values())
    estimated = any(not each.exact for each in columns)
    table = Table()
    preprocessed = any(each.log_det.value for each in columns)
    table.add_column("nats a row, after preprocessing" if preprocessed else "nats a row")
    for name in results:
        table.add_column(_text(name), justify="right", overflow="fold")
    if estimated:
        table.add_row("joint NLL  -log p(x, ε)", *[_estimate(each.joint_nll) for each in columns])
        table.add_row("noise entropy  -log q(ε|x)", *[_estimate(each.noise_entropy) for each in columns])
        table.add_row("bound on the NLL", *[NONE if each.exact else _estimate(each.bound) for each in columns])
    table.add_row("NLL", *[_estimate(each.importance_weighted) for each in columns], style="bold")
    table.add_row("  computed", *[computed(each) for each in columns])
    if any(each.discrete for each in columns):
        table.add_row("  -log probability of what is discrete", *[_estimate(each.discrete) for each in columns])
        table.add_row("  -log density of what is real", *[_estimate(each.real) for each in columns])
    if any(each.given_label for each in columns):
        table.add_row("NLL given the label", *[_estimate(each.given_label) for each in columns])
    if estimated:
        table.add_row("  error from the draws", *[_from_draws(e, e.importance_weighted.draws_error) for e in columns])
        table.add_row("  still too high by about", *[_from_draws(each, each.draws_bias) for each in columns])
        table.add_row("  median effective sample size", *[sample_size(each) for each in columns])
    if floor is not None:  # of the preprocessed rows, like all above
        table.add_row("entropy of the data", *[number(floor + each.log_det.value) for each in columns])
    if preprocessed:
        table.add_row("NLL of the rows as given", *[number(each.raw_nll) for each in columns])
    if any(each.bits_per_dim for each in columns):
        table.add_row("bits/dim", *[_estimate(each.bits_per_dim, 4) for each in columns], style="bold")
        if estimated:
            table.add_row("bits/dim, from the bound", *[_estimate(each.bits_per_dim_bound, 4) for each in columns])
    return Group(table, _notes(columns, floor))


def about_samples(samples: SampleRange) -> str:
    """How many samples are out of the range of the data, in a line."""
    if samples.by_column:
        return (
            f"of {samples.num_samples} samples {samples.diverged:.1%} hold a number far out of range, three times as "
            f"far out as any of the training rows; {samples.saturated:.2%} of the numbers are out of their column's "
            "range"
        )
    return (
        f"of {samples.num_samples} samples {samples.diverged:.1%} are far out of range: a value not finite, or three "
        f"times as far out as any of the test rows; {samples.saturated:.2%} of the values are out of their range"
    )


def about_precision(single: Disagreement) -> str:
    """How far float32 lies from float64, in a line."""
    mean, most = (f"{each:.1e}" if math.isfinite(each) else number(each) for each in (single.mean, single.largest))
    more = single.num_overflown
    beyond = f", without {more:,} so far out that log p is a number in float64 alone" if more else ""
    return f"float32 is {mean} nats a row off float64, at most {most}, on {single.num_rows:,} rows{beyond}"


def comparison_table(results: Sequence[Compared], spec: DataSpec) -> Group:
    """Runs side by side, the best first: what each is worth and by how much it lies behind the best."""
    images = spec.levels is not None
    unit, scale = ("bits/dim", spec.bits_per_nat) if images else ("nats a row", 1.0)
    digits = 4 if images else 3
    table = Table()
    table.add_column("run", overflow="fold")
    for heading in (f"NLL, {unit}", f"behind the best, {unit}"):
        table.add_column(heading.replace(", ", ",\n"), justify="right", no_wrap=True)  # a number is never broken
    for heading in ("computed", "median effective sample size"):
        table.add_column(heading, justify="right")
    for each in results:
        behind = NONE if each.behind is None else _estimate(each.behind.scaled(scale), digits)
        nll, how = _estimate(each.nll.scaled(scale), digits), computed(each.accounting)
        table.add_row(_text(each.name), nll, behind, how, sample_size(each.accounting))
    weighted = "weighted " if results[0].accounting.effective_rows else ""
    lines = [
        f"{weighted}means over the same {compared_rows(results)} test rows, as given, before preprocessing",
        "behind the best: mean of the differences row by row, ± their standard error",
    ]
    lines += [f"{each.name}: {line}" for each in results for line in outside_lines(each.accounting)]
    if any(not each.accounting.exact for each in results):
        lines.append("by IW-K: an upper bound that comes down to the NLL as K grows")
    if any(each.accounting.modelled_dequantisation for each in results):
        lines.append("one draw of u: a bound, on average, that K does not tighten")
    return Group(table, "\n".join(lines))


def _notes(columns: list[Accounting], floor: float | None) -> str:
    first = columns[0]
    lines = [
        f"means over {_counted(first.num_rows, 'row')} of {_counted(first.features, 'feature')}, ± standard error; "
        f"seed {first.seed}"
    ]
    if first.effective_rows:
        lines = [f"weighted {lines[0]}", f"weights tell as much as {first.effective_rows:,.0f} rows of equal weight"]
    lines += [line for each in columns for line in outside_lines(each)]
    if any(each.real for each in columns):
        lines.append("densities are in the units of the file: measured in others, the NLL is another number")
    if any(not each.exact for each in columns):
        lines.append("the bound lies above the NLL; IW-K comes down to it as K grows")
    if any(each.given_label for each in columns):
        lines.append("the NLL averages over the labels: of a table by their share of the training rows, else equally")
    if any(each.modelled_dequantisation for each in columns):
        lines.append("u ~ q(u|x), by a model: bits/dim, with one draw of it, are a bound on average; nats after")
        lines.append("preprocessing hold no q and cannot be compared with those of other models")
    if any(not each.converged for each in columns):
        lines.append("NOT CONVERGED: effective sample size under 10; take the NLL as a bound, or raise --num-samples")
    if floor is not None:
        lines.append("no density's NLL averages below the entropy of the data")
    return "\n".join(lines)


def compared_rows(results: Sequence[Compared]) -> str:
    """How many rows runs were compared on."""
    one = results[0].accounting
    if not any(each.accounting.num_outside for each in results):
        return str(one.num_rows)
    return f"{one.num_rows + one.num_outside}, without those outside of the support of a run,"


def outside_lines(accounting: Accounting, of_all: str = "the NLL is infinite") -> list[str]:
    """How many rows have density 0, and which, in a line; none where all have one. of_all: what is so over all rows."""
    count = accounting.num_outside
    if not count:
        return []
    rows = ", ".join(map(str, accounting.outside)) + (" ..." if count > len(accounting.outside) else "")
    return [
        f"OUTSIDE THE SUPPORT: {count:,} of {accounting.num_rows + count:,} rows have density 0, or one too small "
        f"for a number (rows {rows}, counted from 0); over all rows {of_all}, the figures are those of the others",
        *(f"  row {row}: {why}" for row, why in zip(accounting.outside, accounting.reasons, strict=False) if why),
    ]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def computed(accounting: Accounting) -> str:
    """How log p was computed."""
    how = "exactly" if accounting.exact else f"by IW-{accounting.num_samples}"
    return f"{how}, at one draw of u" if accounting.modelled_dequantisation else how


def _estimate(estimate: Estimate | None, digits: int = 3) -> str:
    return NONE if estimate is None else with_error(estimate.value, estimate.standard_error, digits)


def _text(text: str) -> Text:
    """A name, or what was found of one, as it stands: no markup, no emoji, nothing that a terminal would obey."""
    return Text(literal(text))


def _from_draws(accounting: Accounting, value: float | None) -> str:
    """What the draws of noise add to the uncertainty; nothing to an exact density."""
    if accounting.exact:
        return NONE
    if value is None:
        return "unknown at K = 1" if accounting.num_samples == 1 else "unknown, not converged"
    return f"{value:.1e}"


def sample_size(accounting: Accounting) -> str:
    """The median effective sample size; a dash where nothing is estimated."""
    if accounting.exact:
        return NONE
    note = "" if accounting.converged else "  not converged"
    return f"{accounting.effective_sample_size:.1f} of {accounting.num_samples}{note}"
