"""All that is wrong with the columns of a table, at once, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marginflow.base.data_error import DataError, Options
from marginflow.data.tables.numbers import COUNTED, Problem

SHOWN = 50  # problems, each in a line


def refused(
    problems: Sequence[Problem],
    num_columns: int,
    path: Path,
    dropped: Sequence[str] = (),
    labels: str | None = None,
    *,
    free: bool = True,
) -> DataError:
    """The error of columns that cannot be used.

    Args:
        problems: at least one, each of another column.
        num_columns: how many columns were asked for.
        path: of the table.
        dropped: columns that are left out already.
        labels: the column of labels, where there is one.
        free: whether other columns may be chosen.

    Returns:
        A `DataError`.
    """
    remedies = _remedies(problems, num_columns, dropped, labels) if free else []
    if len(problems) == 1:
        correct = "" if remedies else ": correct the table"
        return DataError([f"{path}: column {problems[0].column!r} {problems[0].what}{correct}"], remedies)
    lines = [f"{path}: {len(problems)} of {num_columns} columns cannot be used (rows are counted from 0):"]
    lines += [f"  {each.column!r} {each.what.replace(COUNTED, '')}" for each in problems[:SHOWN]]
    lines += [f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    lines += [] if remedies else ["write numbers plainly in the table, such as 0.5 or -1e-3, each row alike"]
    return DataError(lines, remedies)


def _remedies(
    problems: Sequence[Problem], num_columns: int, dropped: Sequence[str], labels: str | None
) -> list[tuple[str, Options]]:
    """Words and options that mend them."""
    names = [each.column for each in problems]
    remedies: list[tuple[str, Options]] = []
    options = {each.option for each in problems if each.option is not None}
    for name, value in sorted(options):
        remedies.append((f"read {'all numbers' if name == 'decimal' else 'them'} so", {name: value}))
    if len(names) < num_columns:
        every = "it" if len(names) == 1 else "them"
        remedies.append(
            (
                f"fill the gaps, or leave {every} out" if _gaps(problems) else f"leave {every} out",
                {"drop": [*dropped, *names]},
            )
        )
    classes = min((each for each in problems if each.classes), key=lambda each: each.classes, default=None)
    if classes is not None and labels is None and len(names) < num_columns:
        others = [*dropped, *(name for name in names if name != classes.column)]
        label: Options = {"labels": classes.column, **({"drop": others} if others else {})}
        remedies.append((f"or if {classes.column!r} names classes", label))
    if any(each.option is None for each in problems):
        remedies.append(("or model columns of any kind", {"schema": {}}))
    return remedies


def _gaps(problems: Sequence[Problem]) -> bool:
    return any("missing" in each.what for each in problems)
