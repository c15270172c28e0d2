"""marginflow score: a table with how unusual each of its rows is."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from marginflow.cli.options import Deterministic, Device, NumSamples, Run, StdinFormat, Table, TableOutput
from marginflow.cli.output import say
from marginflow.cli.streams import from_stdin, require_format, require_other_file, write_to
from marginflow.cli.typed import names_in
from marginflow.runs.is_run import require_run

if TYPE_CHECKING:
    from marginflow.runs.run import Run as OpenRun
    from marginflow.runs.score import Scorer
    from marginflow.runs.score_given import GivenScorer


def score(
    run: Run,
    table: Table,
    to: TableOutput = Path("-"),
    keep: Annotated[
        Optional[str],
        typer.Option(help='Columns of the table to keep before the scores: a,b; all by default, "" none.'),
    ] = None,
    contamination: Annotated[
        float, typer.Option(help="The share of rows, as rare as that among held-out ones, that are outliers.")
    ] = 0.01,
    given: Annotated[
        Optional[str], typer.Option(help="Columns b: log p of the others, or of --of, given these: a,b.")
    ] = None,
    of: Annotated[Optional[str], typer.Option(help="Columns a, whose log p given b is wanted; all others.")] = None,
    num_samples: NumSamples = None,
    seed: Annotated[int, typer.Option(help="Seed of all noise.")] = 0,
    format: StdinFormat = None,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """Write a table with the log p of each of its rows: how unusual they are to the model of a run.

    Behind its columns stand log_prob, the log density in the units of the table; for a run with a schema
    log_prob_discrete and log_prob_real, the log probability of what is discrete and the log density of what is real;
    percentile, the share of held-out rows that are as unusual; outlier, whether the row is among the rarest; where
    log_prob is an estimate, by -K draws, its standard_error; and by the model "mixed" unusual_column, the column that
    is furthest below what held-out rows have there, given the columns before it: it depends on their order.
    A row that the model has no place for, as one of a level that it never saw, has log_prob -inf and percentile 0, and
    a blank log_prob_real.

    With --given the scores are log_prob_given, the log probability or density of the other columns given these, and its
    standard_error: 0 where given columns, and those given and asked for together, come first in the order of the model,
    and for mixtures; otherwise it is estimated by weighted draws, where log p of
    the given columns alone is so, high on average.
    """
    require_run(run)
    require_format(format, table)
    _require_sense(contamination, num_samples)
    if of is not None and given is None:
        raise ValueError("--of says whose log p is wanted given others: name these, --given a,b")

    from marginflow.base import seeds
    from marginflow.base.devices import device_on
    from marginflow.runs.held_out import held_out_for
    from marginflow.runs.run import Run
    from marginflow.runs.score import Scorer

    seeds.require_seed(seed)
    require_other_file(to, table)
    opened = Run.open(run, device_on(device))
    scorer: Scorer | GivenScorer
    if given is not None:
        scorer = scorer_given(opened, names_in(given), names_in(of or ""), num_samples, seed)
    else:
        held_out, note = held_out_for(opened, num_samples)
        if note:
            say(f"marginflow: {note}", err=True)
        draws = num_samples or opened.experiment.evaluate.num_samples
        scorer = Scorer(opened, held_out, contamination, draws, seed)
    source = from_stdin(f"marginflow score {run} - < new.csv", format) if str(table) == "-" else nullcontext(table)
    with seeds.deterministic(deterministic), source as path:
        names = write_scores(opened, scorer, path, to, None if keep is None else names_in(keep))
    for line in scorer.in_words():
        say(f"marginflow: {line}", err=True)
    if str(to) != "-":
        say(f"wrote {to}: {', '.join(names)}")


def _require_sense(contamination: float, num_samples: int | None) -> None:
    """Refuse options that make no sense, before anything is loaded."""
    if not 0 < contamination < 1:
        raise ValueError(f"--contamination must lie between 0 and 1, such as 0.01; got {contamination}")
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"-K must be 1 or more; got {num_samples}")


def scorer_given(run: OpenRun, given: list[str], of: list[str], num_samples: int | None, seed: int) -> GivenScorer:
    """Gives rows log p of columns given others; ValueError with a remedy where the model cannot."""
    from marginflow.cli.sample_given import in_context
    from marginflow.distributions.by_columns import NoFactorsError
    from marginflow.runs.score_given import DRAWS, GivenScorer

    try:
        return GivenScorer(run, given, of, num_samples or DRAWS, seed)
    except NoFactorsError as error:
        raise ValueError(f"{run.path}: {error}{in_context(given)}") from None


def write_scores(
    run: OpenRun, scorer: Scorer | GivenScorer, path: Path, to: Path, keep: list[str] | None = None
) -> list[str]:
    """Write a table's columns that are kept, all by default, and the scores of its rows; their names."""
    from itertools import chain

    from marginflow.data.tables.formats import ending_of
    from marginflow.data.tables.keep import Keeper, require_other_names
    from marginflow.runs.score import beside, rows_of

    rows = rows_of(run, str(path))
    ending = ".csv" if str(to) == "-" else ending_of(to)
    kept = keep if keep is not None else [] if ending == ".npy" else rows.names
    names = [each for each in scorer.names if ending != ".npy" or each != "unusual_column"]
    require_other_names(kept, names)
    keeper = Keeper(run.spec, rows.dialect, ending)
    chunks = rows.beside(kept)
    first = next(chunks)
    if first.kept is not None:
        keeper.require_possible(first.kept.schema)
    tables = beside(chain([first], chunks), scorer, keeper, names)
    write_to(tables, [*kept, *names], to)
    return [*kept, *names]
