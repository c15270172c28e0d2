"""marginflow train: an experiment trained into a run directory, with its progress shown and its figures drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from marginflow.cli.options import Deterministic
from marginflow.cli.output import say
from marginflow.cli.typed import names_in, override

if TYPE_CHECKING:
    from marginflow.runs.schema import Experiment


def train(
    experiment: Annotated[
        Path,
        typer.Argument(
            help="An experiment's TOML file or name (see list), or a table: .csv, .tsv, .parquet, .feather, .npy, ..."
        ),
    ],
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="SECTION.KEY=VALUE, such as train.lr=1e-4.")
    ] = None,
    drop: Annotated[Optional[str], typer.Option(help="Columns of a table to leave out: a,b.")] = None,
    columns: Annotated[Optional[str], typer.Option(help="Columns of a table to use: a,b; all by default.")] = None,
    labels: Annotated[
        Optional[str], typer.Option(help="A column of classes, given which the rest is modelled.")
    ] = None,
    context: Annotated[Optional[str], typer.Option(help="Columns given which the others are modelled: a,b.")] = None,
    weights: Annotated[Optional[str], typer.Option(help="A column of weights, by which rows count.")] = None,
    delimiter: Annotated[Optional[str], typer.Option(help="Between values of a .csv; told by the file.")] = None,
    run_dir: Annotated[Optional[Path], typer.Option(help="Where the run goes; runs/NAME by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that directory.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in that directory.")] = False,
    deterministic: Deterministic = False,
) -> None:
    """Train the model of an experiment, or one on a table; the weights best on validation are kept."""
    from marginflow.runs.experiments import read, run_name
    from marginflow.runs.small_tables import suited

    lists = {"drop": drop, "columns": columns, "context": context}
    of_data: dict[str, object] = {name: names_in(text) for name, text in lists.items() if text is not None}
    texts = {"labels": labels, "weights": weights, "delimiter": delimiter}
    of_data |= {name: text for name, text in texts.items() if text is not None}
    given = [*(overrides or []), *(override(name, value) for name, value in of_data.items())]
    settings = read(experiment, [*given, *(["train.deterministic=true"] if deterministic else [])])
    directory = run_dir or Path("runs") / run_name(experiment)
    suits = None if experiment.suffix in ("", ".toml") else partial(suited, overrides=given)
    trained = train_run(settings, directory, resume=resume, overwrite=overwrite, suits=suits)
    done = f"wrote {directory}" if trained else f"{directory} is finished, there is nothing to resume"
    say(f"{done}: next, marginflow evaluate {directory}")


def train_run(
    settings: Experiment,
    run_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    label: str = "",
    suits: Callable[[Experiment, int], Experiment] | None = None,
) -> int:
    """Train an experiment in a run directory; how many epochs were trained, 0 where none was left.

    resume: resume the run in that directory, or start where there is none. overwrite: replace the run.
    label: what the progress bar calls it. suits: changes the experiment to what suits its number of training rows.

    FileExistsError where the directory holds something and neither is asked. ValueError where both are, where data and
    model do not fit, or the run was started with other settings; FloatingPointError where the training diverges.
    """
    from marginflow.report import figures
    from marginflow.runs.build import build, load_data
    from marginflow.runs.directory import created, require_free, resumed
    from marginflow.training import EpochRecord, check_ready, fit
    from marginflow.training.checkpoint import SNAPSHOTS
    from marginflow.training.metrics import read_metrics
    from marginflow.training.progress import TrainingProgress

    if resume and overwrite:
        raise ValueError("--overwrite starts anew and --resume continues: give one of them")
    if not resume:
        require_free(run_dir, overwrite)
    data = load_data(settings)
    settings = settings if suits is None else suits(settings, len(data.train.x))
    model = build(settings, data.spec)
    check_ready(model, data, settings.train)
    progress = TrainingProgress(settings.train, data.spec, label)
    before = read_metrics(run_dir) if resume else []
    for line in before:
        progress.remember(EpochRecord(**line))
    snapshots = figures.snapshots(data, settings.train.epochs, run_dir / SNAPSHOTS)
    if snapshots is not None:
        snapshots.start(model, resume=resume)
    place = (
        resumed(run_dir, settings, data.spec) if resume else created(run_dir, settings, data.spec, overwrite=overwrite)
    )
    with place:
        watching = [] if snapshots is None else [snapshots]
        history = fit(model, data, settings.train, run_dir, resume=resume, observers=watching, progress=progress)
    figures.of_training(history, model, data.spec, snapshots, run_dir / "figures")
    return len(history) - len(before)
