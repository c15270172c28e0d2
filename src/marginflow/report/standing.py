"""How a trained density of a table stands beside its floors, in lines."""

from __future__ import annotations

from marginflow.base.moments import Estimate
from marginflow.evaluation.floors import CLEAR, Standing
from marginflow.report.estimates import with_error


def standing_lines(found: Standing, name: str, *, is_chosen: bool = False) -> list[str]:
    """The mean of log p on held-out rows, that of each floor, and which of them are not beaten.

    Args:
        found: of the density.
        name: of its model.
        is_chosen: whether it is the best of several that were tried.

    Returns:
        Lines.

    Examples:
        >>> from marginflow.evaluation.floors import Floor
        >>> floor = Floor("a mixture of 6", Estimate(-4.01, 0.03), Estimate(0.01, 0.02))
        >>> for line in standing_lines(Standing(Estimate(-4.0, 0.03), 500, 0, (floor,)), "maf"):
        ...     print(line)
        held out: log p = -4.000 ± 0.030 nats a row, over 500 rows (higher is better)
          a mixture of 6: -4.010 ± 0.030, behind by 0.010 ± 0.020
        the model is not clearly better than a mixture of 6: 2 standard errors or less
        train it longer, or on more rows, or try another, as with --model mixture
    """
    rows = f"over {found.num_rows:,} rows (higher is better)"
    lines = [f"held out: log p = {_told(found.log_prob)} nats a row, {rows}"]
    if found.num_samples is not None:
        draws = "1 draw" if found.num_samples == 1 else f"{found.num_samples:,} draws"
        lines.append(f"  an estimate from {draws} a row, on average a little too low")
    width = max((len(floor.name) for floor in found.floors), default=0)
    for floor in found.floors:
        title = f"{floor.name}:"
        lines.append(f"  {title:{width + 1}} {_told(floor.log_prob)}, {_apart(floor.ahead)}")
    if found.num_outside:
        lines.append(f"  left out: {found.num_outside:,} rows in which a density is 0")
    return [*lines, *_verdicts(found, name, is_chosen)]


def _verdicts(found: Standing, name: str, is_chosen: bool) -> list[str]:
    """Which floors are not beaten, and what to try."""
    weak = [floor for floor in found.floors if not floor.is_beaten]
    if not weak:
        return []
    another = "mixed" if name == "mixture" else "mixture"
    worse = [floor.name for floor in weak if floor.ahead.value < -CLEAR * floor.ahead.standard_error]
    even = [floor.name for floor in weak if floor.name not in worse]
    lines = [f"the model is worse than {' and '.join(worse)}"] if worse else []
    lines += [f"the model is not clearly better than {' and '.join(even)}: 2 standard errors or less"] if even else []
    if is_chosen:
        return [*lines, "more rows may settle it: no other model that was tried did better"]
    return [*lines, f"train it longer, or on more rows, or try another, as with --model {another}"]


def _apart(ahead: Estimate) -> str:
    return f"{'behind' if ahead.value >= 0 else 'ahead'} by {with_error(abs(ahead.value), ahead.standard_error)}"


def _told(estimate: Estimate) -> str:
    return with_error(estimate.value, estimate.standard_error)
