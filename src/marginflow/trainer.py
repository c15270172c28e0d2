"""An experiment trained into a run directory, with its progress shown and its figures drawn."""

from __future__ import annotations

from pathlib import Path

from marginflow import config, figures, runs
from marginflow.checkpoint import SNAPSHOTS, read_metrics
from marginflow.console import TrainingProgress
from marginflow.training import EpochRecord, check_ready, fit


def train(
    settings: config.Experiment, run_dir: Path, *, resume: bool = False, overwrite: bool = False, label: str = ""
) -> int:
    """Train an experiment in a run directory; how many epochs were trained, 0 where none was left.

    resume: go on where the run in that directory stopped, or start where there is none. overwrite: replace the run.
    label: what the progress bar calls it.

    FileExistsError where the directory holds something and neither is asked. ValueError where both are, where data and
    model do not fit, or the run was started with other settings; FloatingPointError where the training diverges.
    """
    if resume and overwrite:
        raise ValueError("--overwrite starts anew and --resume goes on: give one of them")
    if not resume:
        runs.check_free(run_dir, overwrite)
    data = config.load_data(settings)
    model = config.build(settings, data.spec)
    check_ready(model, data, settings.train)
    progress = TrainingProgress(settings.train, data.spec, label)
    before = read_metrics(run_dir) if resume else []
    for line in before:
        progress.remember(EpochRecord(**line))
    snapshots = figures.snapshots(data, settings.train.epochs, run_dir / SNAPSHOTS)
    if snapshots is not None:
        snapshots.start(model, resume=resume)
    place = (
        runs.continued(run_dir, settings, data.spec)
        if resume
        else runs.created(run_dir, settings, data.spec, overwrite=overwrite)
    )
    with place, progress:
        watching = [progress] if snapshots is None else [progress, snapshots]
        history = fit(model, data, settings.train, run_dir, resume=resume, observers=watching)
    figures.of_training(history, model, data.spec, snapshots, run_dir / "figures")
    return len(history) - len(before)
