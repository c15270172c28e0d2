"""marginflow fit-noise: q(eps | x) fitted to the model of a run, whose p stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from marginflow.cli.options import Device, Run
from marginflow.cli.output import say
from marginflow.runs.is_run import require_run


def fit_noise(
    run: Run,
    noise: Annotated[str, typer.Option(help="q: diagonal_normal, realnvp, iaf, maf, ...")] = "diagonal_normal",
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="Of q and its training, such as noise.hidden=256,256.")
    ] = None,
    run_dir: Annotated[Optional[Path], typer.Option(help="Where the new run goes; RUN_noise by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that directory.")] = False,
    device: Device = "auto",
) -> None:
    """Fit q(eps | x) to a run with noise dimensions: the same p(x), whose bound and importance weights come closer."""
    require_run(run)

    from marginflow.base.devices import device_on
    from marginflow.base.settings import as_choice
    from marginflow.runs.directory import require_free
    from marginflow.runs.fit_noise import LEARNED
    from marginflow.runs.noise_of_run import experiment_with, fit_noise_of_run
    from marginflow.runs.run import Run as OpenRun
    from marginflow.training.progress import TrainingProgress

    to = run_dir or run.with_name(f"{run.resolve().name}_noise")
    opened = OpenRun.open(run, device_on(device))
    experiment = experiment_with(opened, as_choice(noise, LEARNED, "--noise"), overrides or [])
    require_free(to, overwrite)
    progress = TrainingProgress(experiment.train, opened.spec, "q")
    fit_noise_of_run(opened, experiment, to, overwrite=overwrite, progress=progress)
    say(f"wrote {to}: p is that of {run}, bit for bit; next, marginflow evaluate {to}")
