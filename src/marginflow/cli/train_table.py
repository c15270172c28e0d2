"""What marginflow train does for a table: its files, and what is told of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from marginflow.cli.output import say
from marginflow.cli.standard_input import NAME, STDIN, kept

if TYPE_CHECKING:
    from marginflow.data import DataSet
    from marginflow.distributions import Flow
    from marginflow.estimators.choose import Choice
    from marginflow.estimators.trials import Trial
    from marginflow.runs.schema import Experiment
    from marginflow.training.observers import Observer

SETTLED = ("data.columns", "data.drop", "data.validation", "schema.")  # by the choice of a model
ROWS_OF_ESTIMATES = 1000  # held-out rows of the summary, where log p is estimated by several draws each


def called(given: Sequence[Path]) -> str:
    """What a table is called in what is said of it.

    >>> called([Path("-")]), called([Path("a.csv"), Path("b.csv"), Path("c.csv"), Path("d.csv")])
    ('the standard input', 'a.csv, b.csv and 2 more files')
    """
    names = ["the standard input" if each == STDIN else str(each) for each in given]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more files"


@contextmanager
def files_in(given: Sequence[Path], run_dir: Path | None) -> Iterator[list[Path]]:
    """The files of a table as they were given, with one in place of the standard input."""
    if STDIN not in given:
        yield list(given)
        return
    if len(given) > 1:
        raise ValueError("- is the standard input, which is a table of its own: give it alone")
    with kept(run_dir or Path("runs") / NAME) as file:
        yield [file]


def settings_before(run_dir: Path, files: Sequence[Path], overrides: Sequence[str]) -> Experiment:
    """The settings of the run that is resumed, whose model was chosen, and those that are given now.

    What the choice has settled stays: columns, and how they are read.
    """
    from marginflow.runs.read_toml import overridden, parse
    from marginflow.runs.run import Run

    table = Run.open(run_dir).experiment.model_dump(mode="json", exclude_none=True)
    table["data"]["path"] = str(files[0]) if len(files) == 1 else [str(each) for each in files]
    given = [each for each in overrides if not each.strip().startswith(SETTLED)]
    return parse(overridden(table, given), str(run_dir))


class Telling:
    """What is told of a training on a table: before it what is understood, after it the result and what to do next.

    Args:
        source: what the table is called.
        run_dir: where the run goes.
    """

    def __init__(self, source: str, run_dir: Path) -> None:
        self.source, self.run_dir = source, run_dir
        self.trained: tuple[Experiment, DataSet, Flow] | None = None
        self.is_told = False

    def table(self, data: DataSet) -> None:
        """Say what is understood of the rows, and that models are tried."""
        from marginflow.report.understood import table_lines

        self.is_told = True
        for line in table_lines(self.source, data):
            say(line)
        say("trying models on held-out rows (log p, higher is better; --model NAME takes one without trials):")

    @contextmanager
    def trials(self) -> Iterator[dict[str, Callable[..., object]]]:
        """What is told while models are tried, as `choice_for` takes it."""
        from marginflow.cli.trial_progress import TrialProgress

        with TrialProgress() as progress:

            def told(trial: Trial) -> None:
                progress.pause()
                self.trial(trial)

            yield {"understood": self.table, "trying": progress.attempt, "told": told}

    def trial(self, trial: Trial) -> None:
        """Say how a candidate did."""
        from marginflow.report.chosen import trial_line

        error = trial.log_prob.standard_error
        say(trial_line(trial.name, trial.log_prob.value, error, trial.num_rows, trial.seconds, given_up=trial.given_up))

    def choice(self, choice: Choice) -> None:
        """Say what was chosen."""
        from marginflow.report.chosen import choice_line

        most = max(each.log_prob.value for each in choice.trials if not each.given_up)
        say(choice_line(choice.name, choice.folds, is_best=choice.trials[0].log_prob.value == most))

    def before(self, settings: Experiment, data: DataSet, model: Flow) -> None:
        """Say what is understood of the rows, unless it was said, and of the model."""
        from marginflow.report.understood import model_line, table_lines

        self.trained = settings, data, model
        validated = settings.data.model_dump().get("validation", 1) > 0
        for line in [] if self.is_told else table_lines(self.source, data, validated=validated):
            say(line)
        say(model_line(settings.model.name, model, settings.train))

    def pace(self) -> Observer:
        """What says how long the training takes, once that is known."""
        from marginflow.training.pace import Pace

        assert self.trained is not None
        return Pace(self.trained[0].train, say)

    def after(self, done: str) -> None:
        """Say how the model does on held-out rows, and what can be done with it. done: what was written."""
        if self.trained is not None:
            self._result(*self.trained)
        run = shlex.quote(str(self.run_dir))
        say(f"{done}: next, marginflow evaluate {run}")
        say(f"  log p of other rows: marginflow score {run} new.csv -o scored.csv")
        say(f"  new rows: marginflow sample {run} -n 1000 -o new.csv")

    def _result(self, settings: Experiment, data: DataSet, model: Flow) -> None:
        from rich.console import Console

        from marginflow.evaluation.floors import standing
        from marginflow.report.standing import standing_lines
        from marginflow.runs.run import CHOICE

        few = {} if model.density.exact else {"num_samples": settings.evaluate.num_samples, "rows": ROWS_OF_ESTIMATES}
        try:
            with Console(stderr=True).status("comparing with independent columns and a mixture of 6"):
                found = standing(model, data, **few)
        except (ValueError, FloatingPointError) as error:  # the run is whole all the same
            say(f"held out: {error}")
            return
        for line in standing_lines(found, settings.model.name, is_chosen=(self.run_dir / CHOICE).is_file()):
            say(line)
