"""A user's mistake ends in one line, an interrupt says how to resume."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from marginflow.base.data_warning import DataWarning, TrainingWarning


@contextmanager
def one_line_errors() -> Iterator[None]:
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
    """Show what is odd about data or a training as a line each, and other warnings as Python does."""
    as_python_does = warnings.showwarning
    for category in (DataWarning, TrainingWarning):
        warnings.simplefilter("always", category)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, (DataWarning, TrainingWarning)):
            typer.echo(f"marginflow: warning: {' '.join(str(message).split())}", err=True)
        else:
            as_python_does(message, category, filename, lineno, file, line)

    warnings.showwarning = show
