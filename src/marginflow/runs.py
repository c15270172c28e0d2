"""A run directory: what was trained, on what, with which result; enough to load the model again.

config.toml        the experiment with every default filled in
manifest.json      format, versions, machine, and the kind of rows that the model takes
metrics.jsonl      a line an epoch
model.safetensors  the weights that were best on validation
trainer.pt         all that it takes to go on training; not needed to use the model
evaluation.json    the accounting, once evaluated
checksums.json     of the files above but for metrics and evaluation, against which they are read
.lock              while it is trained in
figures/
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from marginflow import __version__, evaluation
from marginflow.checkpoint import (
    CHECKSUMS,
    METRICS,
    TRAINER,
    WEIGHTS,
    keep,
    load_weights,
    part_of,
    read_metrics,
    sha256_of,
    verify,
    write_whole,
)
from marginflow.config import Evaluate, Experiment, build, load_data, parse
from marginflow.data import DataSpec, Split
from marginflow.data.tables import rows_for
from marginflow.devices import fabric_on
from marginflow.divergence import Divergence, divergence
from marginflow.flow import Flow
from marginflow.lock import LOCK, locked

CONFIG, MANIFEST, EVALUATION = "config.toml", "manifest.json", "evaluation.json"
FORMAT = 1
NUM_DIVERGED = 1000  # test rows whose range tells which samples have left it
FOLDERS = {"figures", "tensorboard"}
FILES = {CONFIG, MANIFEST, EVALUATION, WEIGHTS, METRICS, TRAINER, CHECKSUMS, LOCK, *FOLDERS}
UNFINISHED = {part_of(Path(name)).name for name in FILES}
MAY_CHANGE = {  # when a training goes on
    "train.epochs", "train.patience", "train.validate_every", "train.device", "train.checkpoint",
}  # fmt: skip


def check_free(run_dir: Path, overwrite: bool) -> None:
    """Refuse a directory that holds something, unless it is a run and may be overwritten."""
    if run_dir.exists() and not run_dir.is_dir():
        raise FileExistsError(f"{run_dir} is a file: give another --run-dir")
    _put_back(run_dir)
    if _is_empty(run_dir):
        return
    if not overwrite:
        raise FileExistsError(f"{run_dir} exists: give another --run-dir, or --overwrite to replace the run in it")
    try:
        read(run_dir)
    except (ValueError, OSError) as error:
        raise FileExistsError(f"{run_dir} holds something that is not a run, and is left alone: {error}") from error
    if run_dir.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise FileExistsError(f"{run_dir} holds the working directory and cannot be replaced: call from elsewhere")
    others = sorted({path.name for path in run_dir.iterdir()} - FILES - UNFINISHED)
    if others:
        raise FileExistsError(f"{run_dir} holds more than a run ({', '.join(others)}): move that away first")


@contextmanager
def created(run_dir: Path, experiment: Experiment, spec: DataSpec, *, overwrite: bool = False) -> Iterator[None]:
    """A run directory with the experiment in it, to train in.

    Where the training ends without a checkpoint the directory is as it was before, absent or empty; a run that was
    to be overwritten is set aside until there is a checkpoint in its place, and otherwise put back.
    """
    run_dir = run_dir.resolve()
    check_free(run_dir, overwrite)
    empty = run_dir.exists() and _is_empty(run_dir)
    with locked(run_dir) if run_dir.exists() else nullcontext():
        if _set_aside(run_dir).is_dir():  # what stands in its place was never validated
            shutil.rmtree(run_dir)
        elif run_dir.exists() and not empty:
            run_dir.rename(_set_aside(run_dir))
            (_set_aside(run_dir) / LOCK).unlink(missing_ok=True)  # which is held where it has come from
    ours = True
    try:
        run_dir.mkdir(parents=True, exist_ok=empty)
        _describe(run_dir, experiment, spec)
        yield
    except BlockingIOError:  # another has begun here just now
        ours = False
        raise
    except KeyboardInterrupt as interrupt:
        if _set_aside(run_dir).is_dir() and (run_dir / TRAINER).exists() and not (run_dir / WEIGHTS).exists():
            kept = f"{interrupt}; until an epoch is validated, the run that was there stays in {_set_aside(run_dir)}"
            raise KeyboardInterrupt(kept) from interrupt
        raise
    finally:
        if ours:
            if not _has_checkpoint(run_dir):
                _clear(run_dir, keep=empty)
            _put_back(run_dir)


@contextmanager
def continued(run_dir: Path, experiment: Experiment, spec: DataSpec) -> Iterator[None]:
    """A run directory whose training goes on; a new one where it is absent, empty or holds no checkpoint.

    ValueError where the run was started with other settings, but for how long it is trained and where.
    """
    _put_back(run_dir)
    if _is_empty(run_dir) or _was_killed_early(run_dir):
        if run_dir.is_dir():
            with locked(run_dir):
                _clear(run_dir.resolve(), keep=True)
        with created(run_dir, experiment, spec):
            yield
        return
    before, old_spec, _ = read(run_dir)
    check_same_settings(before, experiment, run_dir)
    check_same_rows(old_spec, spec, run_dir)
    with locked(run_dir):
        keep(run_dir / CONFIG, experiment.to_toml().encode())
    try:
        yield
    finally:
        _put_back(run_dir)


def check_same_settings(before: Experiment, now: Experiment, run_dir: Path) -> None:
    """Refuse to go on with other settings: ValueError that names the first."""
    old, new = (each.model_dump(mode="json") for each in (before, now))  # a list, however it was written
    for section in old.keys() - {"evaluate"}:
        for key in sorted(old[section].keys() | new[section].keys()):
            was, is_now = old[section].get(key), new[section].get(key)
            if was != is_now and f"{section}.{key}" not in MAY_CHANGE:
                raise ValueError(
                    f"{run_dir} was started with {section}.{key} = {was!r}; it cannot go on with {is_now!r}: "
                    "set it back, or give another --run-dir"
                )


def check_same_rows(trained_on: DataSpec, found: DataSpec, run_dir: Path) -> None:
    """Refuse data that are no longer what a run was trained on: ValueError that says in what they differ."""
    for what, old, new in (
        ("columns", trained_on.columns, found.columns),
        ("labels", trained_on.labels, found.labels),
        ("shape of a row", trained_on.event_shape, found.event_shape),
    ):
        if old != new:
            raise ValueError(f"the data have changed since {run_dir} was trained: {what} {new}, expected {old}")
    if trained_on != found:
        raise ValueError(
            f"the data have changed since {run_dir} was trained: split anew, rows that it was trained on would be held "
            "out: put them back, or evaluate on other rows with --data"
        )


def _is_empty(run_dir: Path) -> bool:
    """Whether nothing is there, or what a kill has left of a lock or of a file that was being written."""
    return not run_dir.is_dir() or not {path.name for path in run_dir.iterdir()} - {LOCK} - UNFINISHED


def _was_killed_early(run_dir: Path) -> bool:
    """Whether a training has left files of a run there, but nothing that was trained."""
    names = {path.name for path in run_dir.iterdir()}
    return not names & {WEIGHTS, TRAINER, METRICS} and not names - FILES - UNFINISHED


def _has_checkpoint(run_dir: Path) -> bool:
    """Whether a training has left something: its best weights, or a state to go on from."""
    return (run_dir / WEIGHTS).exists() or (run_dir / TRAINER).exists()


def _clear(run_dir: Path, *, keep: bool) -> None:
    """Remove what a training without a checkpoint has written, and where it is not to be kept the directory too."""
    if not keep:
        shutil.rmtree(run_dir, ignore_errors=True)
        return
    for name in FILES - FOLDERS:
        for path in (run_dir / name, part_of(run_dir / name)):
            path.unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(run_dir / name, ignore_errors=True)


def _set_aside(run_dir: Path) -> Path:
    """Where a run waits while another is trained in its place."""
    return run_dir.with_name(f".{run_dir.name}.replaced")


def _put_back(run_dir: Path) -> None:
    """End a replacement, also a killed one: the old run goes where the new one has weights, and returns where it has
    nothing; beside a state that was not validated yet it waits."""
    run_dir = run_dir.resolve()
    replaced = _set_aside(run_dir)
    if not replaced.is_dir():
        return
    if (run_dir / WEIGHTS).exists():
        shutil.rmtree(replaced, ignore_errors=True)
    elif not _has_checkpoint(run_dir):
        shutil.rmtree(run_dir, ignore_errors=True)
        replaced.rename(run_dir)


def _describe(run_dir: Path, experiment: Experiment, spec: DataSpec) -> None:
    """Write the experiment and the manifest."""
    manifest = {
        "format": FORMAT,
        "marginflow": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "data": asdict(spec),
    }
    keep(run_dir / CONFIG, experiment.to_toml().encode())
    keep(run_dir / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def read(run_dir: Path) -> tuple[Experiment, DataSpec, dict[str, Any]]:
    """The experiment of a run, the kind of its rows, and its manifest."""
    for name in (CONFIG, MANIFEST):
        if not (run_dir / name).is_file():
            meant = Path("runs") / run_dir
            hint = f"did you mean {meant}?" if (meant / name).is_file() else "give one that train made"
            raise FileNotFoundError(
                f"{run_dir} is not a run directory: it has no {name}; {hint} "
                "(weights that fit kept: build the model, then marginflow.checkpoint.load_weights(model, Path(run)))"
            )
    for name in (CONFIG, MANIFEST):
        verify(run_dir / name)
    try:
        manifest = json.loads((run_dir / MANIFEST).read_text())
        table = tomllib.loads((run_dir / CONFIG).read_text())
        spec = TypeAdapter(DataSpec).validate_python(manifest["data"])
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{run_dir}: {CONFIG} or {MANIFEST} is damaged: {reason}") from error
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{run_dir} has run format {manifest.get('format')}; this version reads {FORMAT}: update marginflow"
        )
    return parse(table, str(run_dir / CONFIG)), spec, manifest


def load(run_dir: str | Path, device: str | torch.device = "cpu") -> Flow:
    """The trained model of a run directory, in evaluation mode.

    run_dir: a directory that `marginflow train` made. device: where the model goes.

    Returns a `Flow`. FileNotFoundError where there is no run or no checkpoint yet, ValueError where a file is
    damaged.
    """
    run_dir = Path(run_dir)
    experiment, spec, _ = read(run_dir)
    model = build(experiment, spec)
    load_weights(model, run_dir)
    return model.eval().to(device)


@dataclass(frozen=True)
class Evaluation:
    """The accounting of a run, the entropy of its data where that is known, and all of it for evaluation.json.

    log_prob: of each row as it was given, in nats, for images that of its grey levels: (N,). samples: how many of the
    model's leave the range of the test rows; None where that was not asked, or each needs a context.
    """

    accounting: evaluation.Accounting
    entropy: float | None
    record: dict[str, Any]
    log_prob: Tensor
    samples: Divergence | None

    def keep(self, run_dir: Path) -> Path:
        """Write evaluation.json."""
        path = run_dir / EVALUATION
        write_whole(path, (json.dumps(self.record, indent=2) + "\n").encode())
        return path


def read_evaluation(run_dir: Path) -> dict[str, Any]:
    """What `evaluate` has written of a run; FileNotFoundError where it has not, ValueError where it is damaged."""
    path = run_dir / EVALUATION
    if not path.is_file():
        raise FileNotFoundError(f"{run_dir} was not evaluated: call marginflow evaluate {run_dir} first")
    try:
        record = json.loads(path.read_text())
        _ = record["weights_sha256"], record["experiment"]["evaluate"], record["test"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): call marginflow evaluate {run_dir} again") from error
    return record


def held_out(run_dir: Path, rows: int | None = None, table: str | None = None) -> tuple[Split, float | None]:
    """The first test rows of a run, by default all, and the entropy of their distribution where it is known.

    table: a file whose rows are taken instead. ValueError where its columns, or those of the run's data as they are
    now, are not those of the model, and where the run's own table has changed, so that it would be split anew.
    """
    experiment, spec, _ = read(run_dir)
    options = experiment.data.model_dump()
    if table is None:
        by_name = {"columns": list(spec.columns), "drop": []} if options["name"] == "table" else {}
        data = load_data(experiment, **by_name)
        check_same_rows(spec, data.spec, run_dir)
        split, entropy = data.test, data.entropy
    elif len(spec.event_shape) == 1:
        split, entropy = rows_for(spec, table, options.get("delimiter", ","), options.get("labels")), None
    else:
        raise ValueError(f"{run_dir} was trained on images: leave --data out")
    return Split(*split.take(slice(rows))), entropy


def weights_sha256(run_dir: Path) -> str:
    """The checksum of the weights of a run."""
    return sha256_of(run_dir / WEIGHTS)


def trained(run_dir: Path) -> dict[str, Any]:
    """How far a run was trained, with which settings, for results."""
    experiment, _, manifest = read(run_dir)
    epochs = read_metrics(run_dir)
    return {
        "experiment": experiment.model_dump(mode="json"),
        "epochs": max((each["epoch"] for each in epochs), default=0),
        "best_epoch": max((each["epoch"] for each in epochs if each.get("best")), default=None),
        "train_seconds": round(sum(each.get("seconds", 0) for each in epochs), 1),
        **{key: manifest.get(key) for key in ("marginflow", "torch", "python", "machine")},
    }


def evaluate(
    run_dir: Path, options: Evaluate, device: str = "auto", table: str | None = None, *, draw: bool = True
) -> Evaluation:
    """Take the accounting of a run on its test split, or on the rows of a table.

    draw: also draw samples, to see how many leave the range of the first 1,000 test rows, however many are evaluated;
    never against the rows of a table.
    """
    _, spec, _ = read(run_dir)
    place = fabric_on(device).device
    model = load(run_dir, place)
    rows, entropy = held_out(run_dir, options.rows, table)
    started = time.perf_counter()
    of_rows = evaluation.evaluate_rows(model, rows, num_samples=options.num_samples, seed=options.seed)
    exact = evaluation.levels_of(model)[1].exact
    accounting = evaluation.account(of_rows, spec, exact=exact, num_samples=options.num_samples, seed=options.seed)
    log_prob = (of_rows.result.log_prob + of_rows.log_det + spec.log_volume).cpu()
    drawn = None
    if draw and table is None and (model.context_optional or not model.context_features):
        of_range = rows if len(rows.x) >= NUM_DIVERGED else held_out(run_dir, NUM_DIVERGED)[0]
        drawn = divergence(model, of_range.take(slice(NUM_DIVERGED)), seed=options.seed)
    about = trained(run_dir)
    about["experiment"]["evaluate"] = options.model_dump(mode="json")
    record = {
        **about,
        "test": accounting.as_dict(),
        "samples": None if drawn is None else asdict(drawn),
        "entropy_of_the_data": entropy,
        **({} if table is None else {"table": table}),
        "evaluate_seconds": round(time.perf_counter() - started, 1),
        "device": str(place),
        "weights_sha256": weights_sha256(run_dir),
    }
    return Evaluation(accounting, entropy, record, log_prob, drawn)
