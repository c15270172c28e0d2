"""What is told while models are tried: a line that changes where there is a terminal, and else one a fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.text import Text

from marginflow.cli.output import say
from marginflow.report.chosen import attempt_line, fold_line

if TYPE_CHECKING:
    from marginflow.estimators.trials import Attempt


class TrialProgress:
    """On the standard error which candidate is trained."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.status = self.console.status("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the line away, so that others can be written, until the next attempt."""
        self.status.stop()

    def attempt(self, attempt: Attempt) -> None:
        """Show the training that begins; where no terminal is, that a fold is done."""
        if self.console.is_terminal:
            self.status.update(Text(attempt_line(*attempt)))
            self.status.start()
        elif attempt.fold > 1 and attempt.place == 1:
            say(fold_line(attempt.fold - 1, attempt.folds, attempt.candidates), err=True)
