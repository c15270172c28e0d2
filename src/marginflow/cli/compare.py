"""marginflow compare: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginflow.cli.options import Device, NumSamples, Rows, Seed
from marginflow.runs.is_run import require_run


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run directories.")],
    num_samples: NumSamples = None,
    rows: Rows = None,
    seed: Seed = None,
    device: Device = "auto",
) -> None:
    """Runs on the same held-out rows, by model and by seed: what each is worth, and paired differences to the best."""
    for run in runs:
        require_run(run)

    from rich.console import Console

    from marginflow.base.devices import device_on
    from marginflow.report.row_comparison import row_comparison
    from marginflow.report.tables import comparison_table
    from marginflow.runs.compare import compare as compared
    from marginflow.runs.read_toml import evaluation
    from marginflow.runs.reference import is_of_columns
    from marginflow.runs.run import Run

    opened = [Run.open(run, device_on(device)) for run in runs]
    options = evaluation(opened[0].experiment, {"num_samples": num_samples, "rows": rows, "seed": seed})
    with Console(stderr=True).status(f"evaluating {len(runs)} runs"):
        results = compared(opened, options)
    spec = opened[0].spec
    if is_of_columns(spec):
        Console().print(row_comparison(results.runs, results.groups, spec), highlight=False)
    else:
        Console().print(comparison_table(results.runs, spec))
