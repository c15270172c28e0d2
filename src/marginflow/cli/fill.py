"""marginflow fill: a table with its missing cells filled in."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from marginflow.cli.options import Deterministic, Device, Run, StdinFormat, Table, TableOutput
from marginflow.cli.output import say
from marginflow.cli.streams import from_stdin, require_format, require_other_file, write_to
from marginflow.runs.is_run import require_run

if TYPE_CHECKING:
    from marginflow.runs.run import Run as OpenRun


def fill(
    run: Run,
    table: Table,
    to: TableOutput = Path("-"),
    by: Annotated[
        str, typer.Option(help="draw, one from the density; or median, of categories the most probable level.")
    ] = "draw",
    quantiles: Annotated[
        Optional[str],
        typer.Option(help="Levels such as 0.05,0.95, in columns behind those of the table, age_q5, ..."),
    ] = None,
    num_samples: Annotated[int, typer.Option("--num-samples", "-K", help="Draws a row, where it is not exact.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    format: StdinFormat = None,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """Fill the missing cells of a table, given the other cells of each row, as rows without gaps have them.

    Exact where the missing cells of a row come last in the order of the model, for one cell of a category, and of
    mixtures always; otherwise by weighted draws. All other cells stay as they are. Draws keep how columns spread and
    depend on each other, so that several files of other seeds are multiple imputations; medians do not.
    """
    require_run(run)
    require_format(format, table)
    levels = _levels(quantiles)

    from rich.console import Console

    from marginflow.base import seeds
    from marginflow.base.devices import device_on
    from marginflow.base.settings import as_choice
    from marginflow.distributions.by_columns import NoFactorsError, by_columns
    from marginflow.distributions.fill import WAYS
    from marginflow.runs.run import Run

    as_choice(by, WAYS, "--by")
    seeds.require_seed(seed)
    if num_samples < 2:
        raise ValueError(f"-K must be 2 or more; got {num_samples}")
    require_other_file(to, table)
    opened = Run.open(run, device_on(device))
    try:
        by_columns(opened.model)
    except NoFactorsError as error:
        raise ValueError(f"{run}: {error}; train with --model mixed") from None
    source = from_stdin(f"marginflow fill {run} - < rows.csv", format) if str(table) == "-" else nullcontext(table)
    with Console(stderr=True).status("filling the table"), seeds.deterministic(deterministic), source as path:
        for line in _write(opened, path, to, by, levels, num_samples, seed):
            say(f"marginflow: {line}", err=True)
    if str(to) != "-":
        say(f"wrote {to}")


def _levels(quantiles: str | None) -> list[float]:
    """Levels as they are typed; ValueError for what is none."""
    try:
        found = [] if quantiles is None else [float(each) for each in quantiles.split(",")]
    except ValueError:
        found = [0.0]
    if any(not 0 < each < 1 for each in found) or len({f"{each:g}" for each in found}) < len(found):
        raise ValueError(f"--quantiles must be different numbers between 0 and 1, such as 0.05,0.95; got {quantiles}")
    return found


def _write(
    opened: OpenRun, path: Path, to: Path, by: str, levels: list[float], num_samples: int, seed: int
) -> list[str]:
    """Write the table with its cells filled; what is to be said of them."""
    from itertools import chain

    from marginflow.base.data_error import DataError
    from marginflow.data.tables.formats import ending_of
    from marginflow.data.tables.keep import Keeper, require_other_names
    from marginflow.runs.fill import RowFiller, columns_with_blanks
    from marginflow.runs.score import rows_of

    rows, ending = rows_of(opened, str(path)), ".csv" if str(to) == "-" else ending_of(to)
    spec = opened.spec
    names = spec.column_names if spec.schema is None else spec.schema.names
    of = columns_with_blanks(rows.beside([]), names) if levels else []
    filler = RowFiller(opened, by, levels, of, num_samples, seed)
    require_other_names(rows.names, filler.more)
    keeper = Keeper(spec, rows.dialect, ending)
    chunks = rows.beside(rows.names)
    first = next(chunks)
    assert first.kept is not None
    try:
        keeper.require_possible(first.kept.schema)
    except DataError as error:  # all columns of the table are written
        raise DataError([*error.lines, f"give -o {to.with_suffix('.csv')}"]) from None
    filled, columns = filler.filled(chain([first], chunks), keeper), [*rows.names, *filler.more]
    tables = chain([next(filled)], filled)  # nothing is written where the first rows cannot be filled
    write_to(tables, columns, to)
    return list(filler.counts.in_words())
