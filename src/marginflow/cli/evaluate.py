"""marginflow evaluate: the accounting of a run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from marginflow.cli.options import Deterministic, Device, NumSamples, Rows, Run, Seed
from marginflow.cli.output import say
from marginflow.runs.is_run import require_run

if TYPE_CHECKING:
    from marginflow.data import DataSpec
    from marginflow.evaluation.row_scores import RowScores
    from marginflow.runs.evaluate import Evaluation


def evaluate(
    run: Run,
    num_samples: NumSamples = None,
    rows: Rows = None,
    seed: Seed = None,
    data: Annotated[Optional[Path], typer.Option(help="A table to evaluate on instead of the test split.")] = None,
    to: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Write log p of each row: .csv, .parquet, .feather, .npy.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="importance, or annealed: log p where importance weights do not converge, far slower.")
    ] = "importance",
    temperatures: Annotated[
        Optional[int], typer.Option(help="Of annealed: how many; doubled until log p settles by default.")
    ] = None,
    dequantisation: Annotated[
        bool, typer.Option("--dequantisation", help="Of annealed: anneal the noise of dequantisation, too.")
    ] = False,
    draw_figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures of the run.")] = True,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """The accounting of a run on its test split, with figures, or on another table, whose rows far out are counted.

    A row that the model has no place for, as one of a level that it never saw, has density 0: it is named with the
    reason, and the means are those of the others.
    """
    require_run(run)
    if method != "importance" or temperatures is not None or dequantisation:
        from marginflow.cli.evaluate_annealed import evaluate_annealed

        options = {"num_samples": num_samples, "rows": rows, "seed": seed}
        other = {"--data": data, "--output": to}
        evaluate_annealed(run, method, temperatures, dequantisation, options, device, deterministic, other)
        return

    from rich.console import Console
    from rich.text import Text

    from marginflow.base import seeds
    from marginflow.base.devices import device_on
    from marginflow.base.literal import literal
    from marginflow.data.tables.write import require_output
    from marginflow.report import figures
    from marginflow.runs.evaluate import evaluate as evaluated
    from marginflow.runs.evaluate import exhaust
    from marginflow.runs.read_toml import evaluation
    from marginflow.runs.run import Run

    if to is not None:
        require_output(to)
        if data is not None and to.resolve() == data.resolve():
            raise ValueError(f"{to} is the table itself: give another --output")
    opened = Run.open(run, device_on(device))
    options = evaluation(opened.experiment, {"num_samples": num_samples, "rows": rows, "seed": seed})
    table = None if data is None else str(data)
    sink = exhaust if to is None else partial(_write_scores, output=to)
    status = Console(stderr=True).status(Text(f"evaluating {literal(run)} with K = {options.num_samples}"))
    with status, seeds.deterministic(deterministic):
        result = evaluated(opened, options, table, each_row=sink)
    _print(run.resolve().name, result, opened.spec)
    if data is None and not result.accounting.converged:
        from marginflow.cli.evaluate_annealed import hint

        say(hint(opened))
    if to is not None:
        say(f"wrote {to}")
    if data is not None:
        return
    say(f"wrote {result.keep(run)}, on {result.accounting.num_rows:,} rows")
    if draw_figures:
        with Console(stderr=True).status("drawing figures"):
            test = opened.data.test.take()
            drawn = figures.of_run(opened.model, test, opened.spec, run / "figures", options.seed)
        for path in drawn:
            say(f"wrote {path} and .svg")


def _print(name: str, result: Evaluation, spec: DataSpec) -> None:
    """Print what was found."""
    from rich.console import Console

    from marginflow.report.row_accounting import far_out_lines, row_accounting_table
    from marginflow.report.tables import about_precision, about_samples, accounting_table
    from marginflow.runs.reference import is_of_columns

    console = Console()
    if result.accounting.exact and is_of_columns(spec):
        console.print(row_accounting_table(name, result.accounting, spec), highlight=False)
    else:
        console.print(accounting_table({name: result.accounting}, result.entropy))
    if result.far_out is not None:
        console.print(far_out_lines(result.far_out), highlight=False, markup=False, emoji=False)
    if result.samples is not None:
        console.print(about_samples(result.samples), highlight=False)
    if result.single is not None:
        console.print(about_precision(result.single), highlight=False)


def _write_scores(chunks: Iterator[RowScores], output: Path) -> None:
    """log p of each row, of a table's schema also as what is discrete, and what is real where there is a density."""
    import pyarrow as pa

    from marginflow.data.tables.write import write_tables

    def table(scores: RowScores) -> pa.Table:
        parts = {"log_prob": scores.log_prob, "log_prob_discrete": scores.discrete, "log_prob_real": scores.real}
        arrays = {name: part.cpu().numpy() for name, part in parts.items() if part is not None}
        outside = scores.outside.cpu().numpy()
        masks = {name: outside if name == "log_prob_real" else None for name in arrays}
        return pa.table({name: pa.array(array, mask=masks[name]) for name, array in arrays.items()})

    first = table(next(chunks))
    write_tables(chain([first], map(table, chunks)), first.column_names, output)
