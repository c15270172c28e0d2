"""A user's mistake ends in one line, or a line for each column of a table; an interrupt says how to resume."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning, TrainingWarning
from marginflow.cli.output import say
from marginflow.cli.typed import in_shell


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake ends in one line and exit status 1, an interrupt in 130; anything else is our bug."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way to interrupt
    try:
        with warnings.catch_warnings():
            _one_line_warnings()
            yield
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        # what is wrong with data has lines of its own, and names in it may hold several blanks
        message = error.told(in_shell) if isinstance(error, DataError) else " ".join(str(error).split())
        say(f"marginflow: {message}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interrupt:
        say(": ".join(["marginflow: interrupted", *map(str, interrupt.args)]), err=True)
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
            text = message.told(in_shell) if isinstance(message, DataWarning) else str(message)
            say(f"marginflow: warning: {' '.join(text.splitlines())}", err=True)
        else:
            as_python_does(message, category, filename, lineno, file, line)

    warnings.showwarning = show
