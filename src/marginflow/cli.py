"""The command line: one function a command. Heavy imports happen inside them."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, TextIO

import typer

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(
    name="marginflow",
    help="Density estimation and sampling with (marginalising) normalising flows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets: what there is, where it lies, and downloads.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Run = Annotated[Path, typer.Argument(help="A run directory, made by train.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
NumSamples = Annotated[Optional[int], typer.Option("--num-samples", "-K", help="Importance samples a row.")]
Rows = Annotated[Optional[int], typer.Option(help="Only the first ROWS test rows.")]
Seed = Annotated[Optional[int], typer.Option(help="Seed of all noise.")]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Refuse operations that the order of threads changes.")
]


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """A user's mistake ends in one line and exit status 1, an interrupt in 130; anything else is our bug."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way to interrupt
    try:
        with warnings.catch_warnings():
            _one_line_warnings()
            yield
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        message = " ".join(str(error).split())
        typer.echo(f"marginflow: {message}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interrupt:
        typer.echo(f"marginflow: interrupted{interrupt}", err=True)
        raise typer.Exit(130) from None


def _one_line_warnings() -> None:
    """Show what is odd about data as a line each, and other warnings as Python does."""
    from marginflow.data.dataset import DataWarning

    as_python_does = warnings.showwarning
    warnings.simplefilter("always", DataWarning)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, DataWarning):
            typer.echo(f"marginflow: warning: {' '.join(str(message).split())}", err=True)
        else:
            as_python_does(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"marginflow {version_of('marginflow')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Density estimation and sampling with (marginalising) normalising flows."""


@app.command()
def train(
    experiment: Annotated[
        Path,
        typer.Argument(
            help="An experiment's TOML file or name (see list), or a table: .csv, .parquet, .feather or .npy."
        ),
    ],
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="SECTION.KEY=VALUE, such as train.lr=1e-4.")
    ] = None,
    run_dir: Annotated[Optional[Path], typer.Option(help="Where the run goes; runs/NAME by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that directory.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in that directory stopped.")] = False,
    deterministic: Deterministic = False,
) -> None:
    """Train the model of an experiment, or one on a table; the weights best on validation are kept."""
    with _one_line_errors():
        from marginflow import experiments, trainer

        directory = run_dir or Path("runs") / experiments.run_name(experiment)
        settings = experiments.read(
            experiment, [*(overrides or []), *(["train.deterministic=true"] if deterministic else [])]
        )
        trained = trainer.train(settings, directory, resume=resume, overwrite=overwrite)
        done = f"wrote {directory}" if trained else f"{directory} is finished, there is nothing to go on with"
        typer.echo(f"{done}: next, marginflow evaluate {directory}")


@app.command()
def evaluate(
    run: Run,
    num_samples: NumSamples = None,
    rows: Rows = None,
    seed: Seed = None,
    data: Annotated[Optional[Path], typer.Option(help="A table to evaluate on instead of the test split.")] = None,
    to: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Write log p of each row: .csv, .parquet, .feather, .npy.")
    ] = None,
    draw_figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures of the run.")] = True,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """The accounting table of a run on its test split, and its figures."""
    with _one_line_errors():
        from rich.console import Console

        from marginflow import config, figures, output, randomness, runs
        from marginflow.console import about_precision, about_samples, accounting_table

        if to is not None:
            output.check_output(to)
            if data is not None and to.resolve() == data.resolve():
                raise ValueError(f"{to} is the table itself: give another --output")
        settings, spec, _ = runs.read(run)
        options = config.evaluation(settings, {"num_samples": num_samples, "rows": rows, "seed": seed})
        table = None if data is None else str(data)
        sink = runs.exhaust if to is None else partial(_write_log_prob, output=to)
        status = Console(stderr=True).status(f"evaluating {run} with K = {options.num_samples}")
        with status, randomness.deterministic(deterministic):
            result = runs.evaluate(run, options, device, table, each_row=sink)
        Console().print(accounting_table({run.resolve().name: result.accounting}, result.entropy))
        if result.samples is not None:
            Console().print(about_samples(result.samples), highlight=False)
        if result.single is not None:
            Console().print(about_precision(result.single), highlight=False)
        if to is not None:
            typer.echo(f"wrote {to}")
        if data is not None:
            return
        typer.echo(f"wrote {result.keep(run)}, on {result.accounting.num_rows:,} rows")
        if draw_figures:
            with Console(stderr=True).status("drawing figures"):
                test, _ = runs.held_out(run)
                drawn = figures.of_run(runs.load(run), test.take(), spec, run / "figures", options.seed)
            for path in drawn:
                typer.echo(f"wrote {path} and .svg")


def _write_log_prob(blocks: Iterator[Tensor], output: Path) -> None:
    from marginflow.output import write_columns

    write_columns((block[:, None] for block in blocks), ["log_prob"], output)


@app.command()
def check(run: Run, seed: Annotated[int, typer.Option(help="Seed of all noise.")] = 0, device: Device = "auto") -> None:
    """Ask a run whether it can be believed: its map, its density, its samples. Exit status 1 where a check fails."""
    with _one_line_errors():
        from rich.console import Console

        from marginflow import runs
        from marginflow.console import findings_table

        with Console(stderr=True).status(f"checking {run}"):
            found = runs.check(run, device, seed)
        Console().print(findings_table(found))
        if not found.ok:
            raise ValueError(f"{run} fails {', '.join(each.check for each in found.every if each.status == 'fail')}")


@app.command()
def sample(
    run: Run,
    num_samples: Annotated[int, typer.Option("--num-samples", "-n", help="How many.")] = 64,
    to: Annotated[Path, typer.Option("--output", "-o", help="A .png, .csv, .parquet, .feather or .npy file.")] = Path(
        "samples.png"
    ),
    label: Annotated[Optional[str], typer.Option(help="Only of this class, for a run with labels.")] = None,
    temperature: Annotated[float, typer.Option(help="Scale of the base; below 1 nearer the modes.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """Draw samples from a run: a grid of images or a scatter plot (.png), or rows (.csv, .parquet, .feather, .npy)."""
    with _one_line_errors():
        import torch
        from rich.console import Console

        from marginflow import output, plotting, randomness, runs, samples
        from marginflow.devices import fabric_on

        output.check_output(to, (".png", *output.FORMATS))
        _, spec, _ = runs.read(run)
        as_picture = to.suffix.lower() == ".png"
        if as_picture:
            plotting.check_picture(num_samples, spec.features)
        model = runs.load(run, fabric_on(device).device)
        draws = samples.Draws(model, spec, num_samples, seed, label=label, temperature=temperature)
        with Console(stderr=True).status(f"drawing {num_samples:,} samples"), randomness.deterministic(deterministic):
            if as_picture:
                plotting.write_picture(torch.cat(list(draws)), spec, to)
            else:
                output.write(draws, spec, to)
        if draws.redrawn:
            typer.echo(f"marginflow: {draws}", err=True)
        typer.echo(f"wrote {to}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run directories.")],
    num_samples: NumSamples = None,
    rows: Rows = None,
    seed: Seed = None,
    device: Device = "auto",
) -> None:
    """Runs on the same held-out rows: their negative log-likelihoods, and paired differences to the best."""
    with _one_line_errors():
        from rich.console import Console

        from marginflow import config
        from marginflow.comparison import compare as compared
        from marginflow.console import comparison_table
        from marginflow.runs import read

        settings, spec, _ = read(runs[0])
        options = config.evaluation(settings, {"num_samples": num_samples, "rows": rows, "seed": seed})
        with Console(stderr=True).status(f"evaluating {len(runs)} runs"):
            results = compared(runs, options, device)
        Console().print(comparison_table(results, spec))


@app.command("list")
def list_() -> None:
    """The models, the noise and the experiments that can be called by name."""
    with _one_line_errors():
        from marginflow import config, experiments
        from marginflow.console import listing

        models = {name: config.about(function) for name, function in config.MODELS.items()}
        images = {name: config.about(function) for name, function in config.IMAGE_MODELS.items()}
        noise = {name: config.about(function) for name, function in config.NOISES.items() if name not in config.FLOWS}
        found = {name: experiments.about(path) for name, path in experiments.at_hand().items()}
        listing("models of vectors, for [model] name = ...", models)
        listing("models of images, for [model] name = ...", images)
        listing("noise, for [noise] name = ..., where any model that sees such rows will do too", noise)
        listing("experiments, for marginflow train NAME", found or {"none": "no experiments/ folder here"})


@data_app.command("list")
def data_list() -> None:
    """The data sets, and where they are."""
    with _one_line_errors():
        from marginflow import config
        from marginflow.console import listing
        from marginflow.data import DATA_SETS, SOURCES, data_root

        def about(name: str) -> str:
            source = SOURCES.get(name)
            missing = source is not None and source.missing()
            return f"{config.about(DATA_SETS[name])}{' [not here: fetch it]' if missing else ''}"

        listing("data sets, for [data] name = ...", {name: about(name) for name in DATA_SETS})
        typer.echo(f"files are looked for below {data_root()} (MARGINFLOW_DATA)")


DataName = Annotated[str, typer.Argument(help="A data set, see data list.")]


@data_app.command("fetch")
def data_fetch(name: DataName) -> None:
    """Download what is missing of a data set, check it, and say where it is."""
    with _one_line_errors():
        from marginflow.data import source

        typer.echo(source(name).fetch())


@data_app.command("path")
def data_path(name: DataName) -> None:
    """Where the files of a data set are."""
    with _one_line_errors():
        from marginflow.data import source

        typer.echo(source(name).path())


@app.command()
def reproduce(
    item: Annotated[str, typer.Argument(help="fig1 ... fig8, table1, one of the others, or all.")],
    epochs: Annotated[Optional[int], typer.Option(help="Instead of those of the experiments.", min=1)] = None,
    run_dir: Annotated[Path, typer.Option(help="The folder of the runs.")] = Path("runs/thesis"),
    results: Annotated[Path, typer.Option(help="Where ITEM.json goes.")] = Path("experiments/results"),
    with_report: Annotated[bool, typer.Option("--report", help="Write the report of it as well.")] = False,
    device: Device = "auto",
) -> None:
    """A figure or table of the thesis: train, or go on, evaluate, draw. It may be interrupted and called again."""
    with _one_line_errors():
        from marginflow.report import read_item
        from marginflow.report import report as written
        from marginflow.reproduce import in_turn
        from marginflow.thesis import ITEMS

        if item != "all" and item not in ITEMS:
            raise ValueError(f"there is no item {item!r}: give all, or one of {', '.join(ITEMS)}")
        found, stopped = [], []
        for name, path in in_turn(ITEMS if item == "all" else [item], run_dir, results, epochs, device):
            if isinstance(path, Path):
                found.append(path)
                typer.echo(f"wrote {path}")
            elif item == "all":
                stopped.append(name)
                typer.echo(f"marginflow: {name}: {' '.join(str(path).split())}", err=True)
            else:
                raise path
        if with_report and found:
            typer.echo(f"wrote {written({path: read_item(path) for path in found}, results / f'{item}.html')}")
        if stopped:
            raise ValueError(f"{', '.join(stopped)} did not come to an end, for the reasons above")


@app.command()
def report(
    sources: Annotated[
        list[Path], typer.Argument(help="Run directories, or JSON files of reproduce.", metavar="RUN...")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
) -> None:
    """One page about runs, that needs no network: accounting, curves, figures, settings."""
    with _one_line_errors():
        from marginflow.report import read_item
        from marginflow.report import report as written
        from marginflow.runs import as_item

        if len({source.resolve() for source in sources}) < len(sources):
            raise ValueError("a source is named twice: give each once")
        items = {source: read_item(source) if source.is_file() else as_item(source) for source in sources}
        typer.echo(f"wrote {written(items, output)}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the runs and figures go.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(help="Epochs for each of the two flows.")] = 100,
) -> None:
    """Half moons through planar flows, without and with noise dimensions: accounting, figures, samples."""
    with _one_line_errors():
        from marginflow.demo import run_demo

        run_demo(output, epochs)


def main() -> None:
    """Entry point."""
    sys.exit(app())
