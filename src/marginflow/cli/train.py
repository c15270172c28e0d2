"""marginflow train: an experiment trained into a run directory, with its progress shown and its figures drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from marginflow.base.data_warning import LeftOut
from marginflow.cli.options import Deterministic
from marginflow.cli.output import say
from marginflow.cli.standard_input import STDIN
from marginflow.cli.train_table import Telling, called, files_in, settings_before
from marginflow.cli.typed import names_in, override

if TYPE_CHECKING:
    from marginflow.data import DataSet
    from marginflow.runs.schema import Experiment

BOTH = "--overwrite starts anew and --resume continues: give one of them"


def train(
    experiment: Annotated[
        list[Path],
        typer.Argument(
            help="An experiment's TOML file or name (see list), or a table: .csv, .tsv, .parquet, .feather, .npy, ...; "
            "several files of the same columns, a pattern in quotes, or - for the standard input."
        ),
    ],
    model: Annotated[Optional[str], typer.Option(help="The model by name, such as maf, nsf, mixed or mixture.")] = None,
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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing of what a table holds, nor how its model compares.")
    ] = False,
    deterministic: Deterministic = False,
) -> None:
    """Train the model of an experiment, or one on a table; the weights best on validation are kept."""
    if quiet:
        warnings.simplefilter("ignore", LeftOut)
    from marginflow.runs.experiments import is_table, leaves_open, read, run_name

    _require_one_name(model, overrides or [])
    of_table = STDIN in experiment or is_table(experiment)
    source = called(experiment)
    if of_table and not quiet:
        say(f"reading {source}")  # before torch is loaded
    lists = {"drop": drop, "columns": columns, "context": context}
    of_data: dict[str, object] = {name: names_in(text) for name, text in lists.items() if text is not None}
    texts = {"labels": labels, "weights": weights, "delimiter": delimiter}
    of_data |= {name: text for name, text in texts.items() if text is not None}
    named = [] if model is None else [f"model.name={model}"]
    given = [*named, *(overrides or []), *(override(name, value) for name, value in of_data.items())]
    with files_in(experiment, run_dir) if of_table else nullcontext(experiment) as files:
        given += ["train.deterministic=true"] if deterministic else []
        settings = read(files, given)  # also where the model is chosen: what is wrong is said before
        directory = run_dir or Path("runs") / run_name(files)
        telling = Telling(source, directory) if of_table and not quiet else None
        if of_table and leaves_open(given):
            trained = train_chosen(files, given, directory, resume=resume, overwrite=overwrite, telling=telling)
        else:
            from marginflow.estimators.for_table import named_for

            suits = partial(named_for, files, given) if of_table else None
            trained = train_run(settings, directory, resume=resume, overwrite=overwrite, suits=suits, telling=telling)
    done = f"wrote {directory}" if trained else f"{directory} is finished, there is nothing to resume"
    if telling is None:
        say(f"{done}: next, marginflow evaluate {directory}")
        return
    telling.after(done)


def _require_one_name(model: str | None, overrides: Sequence[str]) -> None:
    """Refuse a model that is named in two ways, and not as the same: ValueError that says what to type."""
    for each in overrides if model is not None else []:
        key, _, name = (part.strip() for part in each.partition("="))
        if key == "model.name" and name.strip("\"'") != model:
            raise ValueError(
                f"--model {model} and --set {each} name two models: leave one of them out, so that --model {model} or "
                f"--model {name} stands alone"
            )


def train_chosen(
    files: Sequence[Path],
    overrides: Sequence[str],
    run_dir: Path,
    *,
    resume: bool,
    overwrite: bool,
    telling: Telling | None,
) -> int:
    """Choose the model of a table and train it; how many epochs were trained. Arguments and errors as of `train_run`.

    A run that is resumed has its model.
    """
    from marginflow.estimators.for_table import choice_for, keep_choice, load_again
    from marginflow.runs.directory import require_free
    from marginflow.runs.is_run import is_run

    if resume and is_run(run_dir):
        settings = settings_before(run_dir, files, overrides)
        return train_run(settings, run_dir, resume=True, overwrite=overwrite, telling=telling)
    if resume and overwrite:
        raise ValueError(BOTH)
    require_free(run_dir, overwrite)
    try:
        with nullcontext({}) if telling is None else telling.trials() as saying:
            choice, data = choice_for(files, overrides, **saying)
    except KeyboardInterrupt:  # which may tell of the training of a candidate, whose weights go
        raise KeyboardInterrupt("no model was chosen yet, nothing was written") from None
    if telling is not None:
        telling.choice(choice)
    data, keep = load_again(choice, data), partial(keep_choice, choice)
    how: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "telling": telling}
    return train_run(choice.experiment, run_dir, data=data, keep=keep, **how)


def train_run(
    settings: Experiment,
    run_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    label: str = "",
    suits: Callable[[DataSet], Experiment] | None = None,
    telling: Telling | None = None,
    data: DataSet | None = None,
    keep: Callable[[Path], object] = lambda run_dir: None,
) -> int:
    """Train an experiment in a run directory; how many epochs were trained, 0 where none was left.

    resume: resume the run in that directory, or start where there is none. overwrite: replace the run.
    label: what the progress bar calls it. suits: gives the experiment that suits the rows. telling: of a table.
    data: the rows, where they were read before. keep: writes what else belongs into the run, before its first step.

    FileExistsError where the directory holds something and neither is asked. ValueError where both are, where data and
    model do not fit, or the run was started with other settings; FloatingPointError where the training diverges.
    """
    from marginflow.report import figures
    from marginflow.runs.build import build, load_data
    from marginflow.runs.directory import created, require_free, resumed
    from marginflow.runs.grown import start_grown
    from marginflow.runs.held_out import kept_after_training
    from marginflow.training import EpochRecord, check_ready, fit
    from marginflow.training.checkpoint import SNAPSHOTS
    from marginflow.training.metrics import read_metrics
    from marginflow.training.progress import TrainingProgress

    if resume and overwrite:
        raise ValueError(BOTH)
    if not resume:
        require_free(run_dir, overwrite)
    data = load_data(settings) if data is None else data
    settings = settings if suits is None else suits(data)
    model = build(settings, data.spec)
    if settings.noise.grow is not None:
        start_grown(model, settings)
    check_ready(model, data, settings.train)
    if telling is not None:
        telling.before(settings, data, model)
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
        keep(run_dir)
        watching = [*([] if snapshots is None else [snapshots]), *([] if telling is None else [telling.pace()])]
        history = fit(model, data, settings.train, run_dir, resume=resume, observers=watching, progress=progress)
    kept_after_training(run_dir, data)
    figures.of_training(history, model, data.spec, snapshots, run_dir / "figures")
    return len(history) - len(before)
