"""A run directory is created, resumed or replaced; never by accident, never in part."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

from marginflow.base.overrides import of_column
from marginflow.data import DataSpec
from marginflow.runs.provenance import provenance
from marginflow.runs.run import CONFIG, FILES, FITTED_NOISE, FOLDERS, MANIFEST, UNFINISHED, Run, require_same_rows
from marginflow.runs.schema import Experiment
from marginflow.storage.files import keep, part_of
from marginflow.storage.lock import LOCK, locked
from marginflow.training.checkpoint import FORMAT, TRAINER, WEIGHTS
from marginflow.training.metrics import METRICS

MAY_CHANGE = {  # when a training is resumed
    "train.epochs", "train.patience", "train.validate_every", "train.device", "train.checkpoint",
    "train.compile", "train.returns",
}  # fmt: skip


def require_free(run_dir: Path, overwrite: bool) -> None:
    """Refuse a directory that holds something, unless it is a run and may be overwritten.

    Args:
        run_dir: the directory.
        overwrite: whether a run in it may be replaced.

    Raises:
        FileExistsError: where it is not free.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise FileExistsError(f"{run_dir} is a file: give another --run-dir")
    _end_replacement(run_dir)
    if _is_empty(run_dir):
        return
    if not overwrite:
        raise FileExistsError(f"{run_dir} exists: give another --run-dir, or --overwrite to replace the run in it")
    try:
        Run.open(run_dir)
    except (ValueError, OSError) as error:
        raise FileExistsError(f"{run_dir} holds something that is not a run, and is left alone: {error}") from error
    if run_dir.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise FileExistsError(f"{run_dir} holds the working directory and cannot be replaced: call from elsewhere")
    others = sorted({path.name for path in run_dir.iterdir()} - FILES - UNFINISHED)
    if others:
        raise FileExistsError(f"{run_dir} holds more than a run ({', '.join(others)}): move that away first")


@contextmanager
def created(run_dir: Path, experiment: Experiment, spec: DataSpec, *, overwrite: bool = False) -> Iterator[None]:
    """Create a run directory with the experiment in it, to train in.

    Where the training ends without a checkpoint the directory is as it was before, absent or empty. A run that is to be
    overwritten is moved to a directory beside it, deleted once the new one has validated weights, and restored where
    the new one leaves no checkpoint.

    Args:
        run_dir: the directory.
        experiment: with which the model is trained.
        spec: of the rows that it is trained on.
        overwrite: whether a run in it may be replaced.

    Returns:
        A context manager, inside of which the training runs.

    Raises:
        FileExistsError: where the directory is not free.
        BlockingIOError: where another training runs in it.
    """
    run_dir = run_dir.resolve()
    require_free(run_dir, overwrite)
    empty = run_dir.exists() and _is_empty(run_dir)
    with locked(run_dir) if run_dir.exists() else nullcontext():
        if _replaced(run_dir).is_dir():  # the run in its place was never validated
            shutil.rmtree(run_dir)
        elif run_dir.exists() and not empty:
            run_dir.rename(_replaced(run_dir))
            (_replaced(run_dir) / LOCK).unlink(missing_ok=True)  # which is held at its former place
    ours = True
    try:
        run_dir.mkdir(parents=True, exist_ok=empty)
        _describe(run_dir, experiment, spec)
        yield
    except BlockingIOError:  # another has begun here just now
        ours = False
        raise
    except KeyboardInterrupt as interrupt:
        if _replaced(run_dir).is_dir() and (run_dir / TRAINER).exists() and not (run_dir / WEIGHTS).exists():
            stays = f"until an epoch is validated, the run that was there stays in {_replaced(run_dir)}"
            raise KeyboardInterrupt("; ".join([*map(str, interrupt.args), stays])) from interrupt
        raise
    finally:
        if ours:
            if not _has_checkpoint(run_dir):
                _clear(run_dir, keep_folder=empty)
            _end_replacement(run_dir)


@contextmanager
def resumed(run_dir: Path, experiment: Experiment, spec: DataSpec) -> Iterator[None]:
    """Resume the training of a run directory; create it where it is absent, empty or holds no checkpoint.

    Args:
        run_dir: the directory.
        experiment: with which the training is resumed.
        spec: of the rows that it is trained on.

    Returns:
        A context manager, inside of which the training runs.

    Raises:
        ValueError: where the run was started with other settings, apart from `MAY_CHANGE`, or on other rows.
        BlockingIOError: where another training runs in it.
    """
    _end_replacement(run_dir)
    if _is_empty(run_dir) or _was_killed_early(run_dir):
        if run_dir.is_dir():
            with locked(run_dir):
                _clear(run_dir.resolve(), keep_folder=True)
        with created(run_dir, experiment, spec):
            yield
        return
    before = Run.open(run_dir)
    if (run_dir / FITTED_NOISE).exists():
        raise ValueError(
            f"{run_dir} holds a q(eps | x) that fit-noise made, whose p a training would change: fit it anew by "
            "marginflow fit-noise RUN --overwrite"
        )
    require_same_settings(before.experiment, experiment, run_dir)
    require_same_rows(before.spec, spec, run_dir)
    with locked(run_dir):
        keep(run_dir / CONFIG, experiment.to_toml().encode())
    try:
        yield
    finally:
        _end_replacement(run_dir)


def require_same_settings(before: Experiment, now: Experiment, run_dir: Path) -> None:
    """Refuse to resume with other settings, by a ValueError that names the first."""
    old, new = _settings(before), _settings(now)
    for key in sorted((old.keys() | new.keys()) - MAY_CHANGE):
        was, is_now = old.get(key), new.get(key)
        if was != is_now:
            raise ValueError(
                f"{run_dir} was started with {key} = {was!r}; it cannot be resumed with {is_now!r}: "
                f"use the former value{_typed(key, was)}, or give another --run-dir"
            )


def _settings(experiment: Experiment) -> dict[str, object]:
    """All that decides on a training, under keys such as train.lr and schema.age.kind."""
    table = experiment.model_dump(mode="json", exclude={"evaluate"})  # a list, however it was written
    of_columns = {f"schema.{name}": options for name, options in table.pop("schema").items()}
    return {
        f"{section}.{key}": value for section, each in {**table, **of_columns}.items() for key, value in each.items()
    }


def _typed(key: str, value: object) -> str:
    """How a plain value is given on the command line."""
    if type(value) not in (int, float, str):
        return ""
    if key.startswith("schema."):
        name, option = key.removeprefix("schema.").rsplit(".", 1)
        return f" ({of_column(name, {option: value})})"
    return f" (--set {shlex.quote(f'{key}={value}')})"


def _is_empty(run_dir: Path) -> bool:
    """Whether nothing is there, or what a kill has left of a lock or of a file that was being written."""
    return not run_dir.is_dir() or not {path.name for path in run_dir.iterdir()} - {LOCK} - UNFINISHED


def _was_killed_early(run_dir: Path) -> bool:
    """Whether a training has left files of a run there, but nothing that was trained."""
    names = {path.name for path in run_dir.iterdir()}
    return not names & {WEIGHTS, TRAINER, METRICS} and not names - FILES - UNFINISHED


def _has_checkpoint(run_dir: Path) -> bool:
    """Whether a training has left something: its best weights, or a state to resume from."""
    return (run_dir / WEIGHTS).exists() or (run_dir / TRAINER).exists()


def _clear(run_dir: Path, *, keep_folder: bool) -> None:
    """Remove what a training without a checkpoint has written, and unless `keep_folder` the directory too."""
    if not keep_folder:
        shutil.rmtree(run_dir, ignore_errors=True)
        return
    for name in FILES - FOLDERS:
        for path in (run_dir / name, part_of(run_dir / name)):
            path.unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(run_dir / name, ignore_errors=True)


def _replaced(run_dir: Path) -> Path:
    """Where a run is stored while another is trained in its place."""
    return run_dir.with_name(f".{run_dir.name}.replaced")


def _end_replacement(run_dir: Path) -> None:
    """End a replacement, also a killed one: delete the old run where the new one has weights, restore it where the new
    one has no checkpoint; beside a state that was not validated yet it stays."""
    run_dir = run_dir.resolve()
    replaced = _replaced(run_dir)
    if not replaced.is_dir():
        return
    if (run_dir / WEIGHTS).exists():
        shutil.rmtree(replaced, ignore_errors=True)
    elif not _has_checkpoint(run_dir):
        shutil.rmtree(run_dir, ignore_errors=True)
        replaced.rename(run_dir)


def _describe(run_dir: Path, experiment: Experiment, spec: DataSpec) -> None:
    """Write the experiment and the manifest."""
    manifest = {"format": FORMAT, **provenance(), "data": asdict(spec)}
    keep(run_dir / CONFIG, experiment.to_toml().encode())
    keep(run_dir / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
