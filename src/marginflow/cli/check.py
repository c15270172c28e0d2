"""marginflow check: whether a run can be believed."""

from __future__ import annotations

from typing import Annotated

import typer

from marginflow.cli.options import Device, Run
from marginflow.runs.is_run import require_run


def check(run: Run, seed: Annotated[int, typer.Option(help="Seed of all noise.")] = 0, device: Device = "auto") -> None:
    """Ask a run whether it can be believed: its map, its density, its samples. Exit status 1 where a check fails.

    What is estimated passes or fails on evidence; otherwise it says "cannot tell", and why, which is no failure.
    """
    require_run(run)

    from rich.console import Console
    from rich.text import Text

    from marginflow.base.devices import device_on
    from marginflow.base.literal import literal
    from marginflow.report.row_findings import row_findings
    from marginflow.report.tables import findings_table
    from marginflow.runs.evaluate import check as checked
    from marginflow.runs.held_out import is_of_columns
    from marginflow.runs.run import Run

    with Console(stderr=True).status(Text(f"checking {literal(run)}")):
        opened = Run.open(run, device_on(device))
        found = checked(opened, seed)
    of_rows = is_of_columns(opened.spec)
    Console().print(row_findings(found) if of_rows else findings_table(found), highlight=not of_rows)
    if not found.ok:
        raise ValueError(f"{run} fails {', '.join(each.check for each in found.every if each.status == 'fail')}")
