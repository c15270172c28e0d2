"""The command line: train, evaluate, sample, demo. Heavy imports happen inside the commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="marginflow",
    help="Density estimation and sampling with (marginalising) normalising flows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Run = Annotated[Path, typer.Argument(help="A run directory, made by train.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """A user's mistake ends in one line and exit status 1, an interrupt in 130; anything else is our bug."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way to interrupt
    try:
        yield
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        message = " ".join(str(error).split())
        typer.echo(f"marginflow: {message}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interrupt:
        typer.echo(f"marginflow: interrupted{interrupt}", err=True)
        raise typer.Exit(130) from None


@app.command()
def train(
    experiment: Annotated[Path, typer.Argument(help="The experiment's TOML file.")],
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="SECTION.KEY=VALUE, such as train.lr=1e-4.")
    ] = None,
    run_dir: Annotated[Optional[Path], typer.Option(help="Where the run goes; runs/NAME by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that directory.")] = False,
) -> None:
    """Train the model of an experiment; the weights best on validation are kept."""
    with _one_line_errors():
        from marginflow import config, console, plotting, runs
        from marginflow.training import check_ready, fit

        directory = run_dir or Path("runs") / experiment.stem
        settings = config.read(experiment, overrides or [])
        runs.check_free(directory, overwrite)
        data = config.load_data(settings)
        model = config.build(settings, data.spec)
        check_ready(model, data, settings.train)
        progress = console.TrainingProgress(settings.train.epochs)
        with runs.created(directory, settings, data.spec, overwrite=overwrite), progress:
            history = fit(model, data, settings.train, directory, observers=[progress])
        plotting.save(plotting.training_curves(history), directory / "figures" / "training.png")
        typer.echo(f"wrote {directory}: next, marginflow evaluate {directory}")


@app.command()
def evaluate(
    run: Run,
    num_samples: Annotated[Optional[int], typer.Option("--num-samples", "-K", help="Importance samples a row.")] = None,
    rows: Annotated[Optional[int], typer.Option(help="Only the first ROWS test rows.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Seed of all noise.")] = None,
    device: Device = "auto",
) -> None:
    """The accounting table of a run on its test split."""
    with _one_line_errors():
        from rich.console import Console

        from marginflow import config, runs
        from marginflow.console import accounting_table

        settings, _, _ = runs.read(run)
        options = config.evaluation(settings, {"num_samples": num_samples, "rows": rows, "seed": seed})
        with Console(stderr=True).status(f"evaluating {run} with K = {options.num_samples}"):
            result = runs.evaluate(run, options, device)
        path = result.keep(run)
        Console().print(accounting_table({run.resolve().name: result.accounting}, result.entropy))
        typer.echo(f"wrote {path}")


@app.command()
def sample(
    run: Run,
    num_samples: Annotated[int, typer.Option("--num-samples", "-n", help="How many.")] = 64,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png, .npy or .csv file.")] = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Draw samples from a run: a grid of images or a scatter plot (.png), or rows (.npy, .csv)."""
    with _one_line_errors():
        from marginflow import runs, samples
        from marginflow.devices import fabric_on

        samples.check_output(output)
        _, spec, _ = runs.read(run)
        x = samples.draw(runs.load(run, fabric_on(device).device), spec, num_samples, seed)
        samples.write(x, spec, output)
        typer.echo(f"wrote {output}")


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
