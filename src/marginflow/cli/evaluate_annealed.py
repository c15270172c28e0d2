"""marginflow evaluate --method annealed: log p of test rows, and how near both sides come on rows that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from marginflow.cli.output import say

if TYPE_CHECKING:
    from marginflow.runs.run import Run as OpenRun


def evaluate_annealed(
    run: Path,
    method: str,
    temperatures: int | None,
    dequantisation: bool,
    options: Mapping[str, int | None],
    device: str,
    deterministic: bool,
    other: Mapping[str, object],
) -> None:
    """Anneal test rows of a run, print and keep what comes of it.

    Args:
        run: the run directory.
        method: "annealed".
        temperatures: how many; None doubles them until log p settles.
        dequantisation: whether its noise is annealed, too.
        options: num_samples, rows and seed, as they were given.
        device: to compute on.
        deterministic: whether to refuse operations that the order of threads changes.
        other: options that this method does not take, by name.

    Raises:
        ValueError: where an option makes no sense.
    """
    from rich.console import Console
    from rich.text import Text

    from marginflow.base import seeds
    from marginflow.base.devices import device_on
    from marginflow.base.literal import literal
    from marginflow.base.settings import as_choice
    from marginflow.distributions.log_likelihood import METHODS
    from marginflow.evaluation.annealed import CHAINS, ROWS
    from marginflow.report.annealed import annealed_lines
    from marginflow.runs.annealed import annealed
    from marginflow.runs.read_toml import evaluation
    from marginflow.runs.run import EVALUATION, Run

    if as_choice(method, METHODS, "--method") == "importance":
        raise ValueError("--temperatures and --dequantisation are of annealing: give --method annealed")
    given = [name for name, value in other.items() if value is not None]
    if given:
        raise ValueError(f"--method annealed takes test rows of the run: leave {' and '.join(given)} out")
    if temperatures is not None and temperatures < 2:
        raise ValueError(f"--temperatures must be 2 or more, as half as many are walked too; got {temperatures}")
    opened = Run.open(run, device_on(device))
    defaults = {"num_samples": CHAINS, "rows": ROWS}
    wanted = {name: defaults.get(name) if value is None else value for name, value in options.items()}
    settings = evaluation(opened.experiment, wanted)
    if (opened.model if dequantisation else opened.model.density).exact:
        say(f"the density of {run} is exact, and there is nothing to anneal: marginflow evaluate {run} tells log p")
        return
    with (
        Console(stderr=True).status(Text(f"annealing {literal(run)}")) as status,
        seeds.deterministic(deterministic),
    ):
        told = {"told": lambda text: status.update(Text(text))}
        found = annealed(opened, settings, temperatures, dequantisation=dequantisation, **told)
    for line in annealed_lines(found):
        say(line)
    say(f"wrote {run / EVALUATION}")


def hint(run: OpenRun) -> str:
    """What to type where importance weights have not converged, and about how long it takes."""
    import shlex

    from marginflow.evaluation.annealed import ROWS, TIMED, seconds_to_anneal

    typed = f"marginflow evaluate {shlex.quote(str(run.path))} --method annealed --rows {ROWS}"
    not_yet = "importance weights have not converged, the estimate is a bound"
    try:
        minutes = max(1, round(seconds_to_anneal(run.model, run.test(TIMED)) / 60))
    except (ValueError, FloatingPointError):  # of noise along which no chain can walk
        return not_yet
    return f"{not_yet}: {typed} tells log p, in about {minutes} min"
