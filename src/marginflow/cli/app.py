"""The command line: one file a command, each of which imports what it needs when it is called."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from marginflow.cli import data
from marginflow.cli.check import check
from marginflow.cli.compare import compare
from marginflow.cli.demo import demo
from marginflow.cli.errors import one_line_errors
from marginflow.cli.evaluate import evaluate
from marginflow.cli.fill import fill
from marginflow.cli.fit_noise import fit_noise
from marginflow.cli.list import list_
from marginflow.cli.output import print_anywhere, say
from marginflow.cli.report import report
from marginflow.cli.reproduce import reproduce
from marginflow.cli.sample import sample
from marginflow.cli.score import score
from marginflow.cli.train import train

app = typer.Typer(
    name="marginflow",
    help="Density estimation and sampling with (marginalising) normalising flows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets: what there is, where it lies, and downloads.", no_args_is_help=True)
app.add_typer(data_app, name="data")

for command in (train, score, evaluate, fit_noise, check, sample, fill, compare, list_, reproduce, report, demo):
    app.command(command.__name__.strip("_").replace("_", "-"))(one_line_errors()(command))
for command in (data.list_, data.fetch, data.path, data.describe):
    data_app.command(command.__name__.strip("_"))(one_line_errors()(command))


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"marginflow {version_of('marginflow')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Density estimation and sampling with (marginalising) normalising flows."""


def main() -> None:
    """Entry point."""
    print_anywhere()
    sys.exit(app())
