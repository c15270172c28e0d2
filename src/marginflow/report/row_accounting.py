"""What the command line shows of log p of a table's rows: in its units, its parts, and the rows far out."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from marginflow.base.literal import literal
from marginflow.base.moments import Estimate
from marginflow.data import DataSpec
from marginflow.evaluation.evaluate import Accounting
from marginflow.evaluation.far_out import FarOut
from marginflow.report.estimates import number, with_error
from marginflow.report.tables import outside_lines

DISCRETE, REAL = "  log probability of what is discrete", "  log density of what is real"


def row_accounting_table(name: str, accounting: Accounting, spec: DataSpec) -> Group:
    """log p of rows as they are in the file, for a model in which it is exact: a mean, its parts, and what they are.

    Args:
        name: of the run.
        accounting: of the rows.
        spec: of the rows.
    """
    table = Table()
    table.add_column("mean of log p, nats a row")
    table.add_column(Text(literal(name)), justify="right", overflow="fold")
    table.add_row("log p", estimate(accounting.log_prob), style="bold")
    if accounting.discrete is not None and accounting.real is not None:
        table.add_row(DISCRETE, estimate(accounting.discrete.scaled(-1.0)))
        table.add_row(REAL, estimate(accounting.real.scaled(-1.0)))
    if accounting.log_prob_given_label is not None:
        table.add_row("log p given the label", estimate(accounting.log_prob_given_label))
    rows = counted(accounting.num_rows, "row")
    weighted = "weighted mean" if accounting.effective_rows else "mean"
    lines = [
        f"{weighted} over {rows} of {counted(accounting.features, 'column')}, ± its standard error; higher is better, "
        "and the losses of training are -log p",
        what_it_is(accounting, spec),
    ]
    if accounting.effective_rows:
        lines.append(f"weights tell as much as {accounting.effective_rows:,.0f} rows of equal weight")
    if accounting.log_prob_given_label is not None:
        lines.append("log p averages over the labels by their share of the training rows")
    return Group(table, "\n".join([*lines, *outside_lines(accounting, "log p is -infinity")]))


def what_it_is(accounting: Accounting, spec: DataSpec) -> str:
    """Whether log p is of a probability or of a density, in words, and in which units."""
    given = [] if spec.schema is None else [repr(literal(each.name)) for each in spec.schema.given]
    of = f" given {', '.join(given)}" if given else ""
    unit = "per unit of each of these columns as the file has them, so that other units give another number"
    if accounting.discrete is None:
        return f"log p{of} is that of a density, {unit}; it may lie above 0"
    if accounting.real is None:
        return f"log p{of} is that of a probability: all columns hold levels or values on a grid; 0 would be certain"
    return (
        f"log p{of} is a probability, of levels, values on a grid, blanks and spikes, times a density of what is real, "
        f"{unit}"
    )


def far_out_lines(far: FarOut) -> str:
    """How many rows are far out, and which are the least likely, with reasons."""
    held, rows = far.reference.num_rows, counted(far.num_rows, "row")
    few = f" (log p below {number(far.reference.least)})" if held else ""
    beside = " besides those of density 0" if far.num_outside else ""
    expected = f"{far.expected:.0f}" if far.expected >= 10 else f"{far.expected:.2g}"
    lines = [
        f"{far.num_unlikely:,} of {rows}{beside} are less likely than any of the {held:,} held-out rows of the "
        f"training table{few}; of as many rows like those chance makes about {expected}"
    ]
    if far.num_out_of_range:
        lines.append(f"{far.num_out_of_range:,} of {rows} hold a number out of its column's range in the training rows")
    first = "the least likely, by their numbers" if far.num_unlikely > len(far.least) else "their numbers"
    lines += [f"{first}, counted from 0:"] if far.least else []
    inside = "no number is out of its range, their combination is rare"
    lines += [f"  row {row}: log p {_short(log_prob)}; {literal(why) or inside}" for row, log_prob, why in far.least]
    if far.others is not None and (far.num_unlikely or far.num_outside):
        lines.append(f"without all of these rows log p is {estimate(far.others)}")
    return "\n".join(lines)


def estimate(value: Estimate | None, digits: int = 3) -> str:
    """A mean and its standard error."""
    assert value is not None
    return with_error(value.value, value.standard_error, digits)


def counted(count: int, what: str) -> str:
    """So many things."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short(log_prob: float) -> str:
    return number(log_prob, 2) if abs(log_prob) < 1e6 else f"{log_prob:.3g}"
