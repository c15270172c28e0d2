"""The accounting of a run, on its test rows or on those of a table."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow import checks, evaluation
from marginflow.checkpoint import write_whole
from marginflow.checks import Findings
from marginflow.config import Evaluate, load_data
from marginflow.data import DataSet, Split
from marginflow.data.tables import rows_for
from marginflow.devices import fabric_on
from marginflow.divergence import Divergence, divergence
from marginflow.runs.directory import check_same_rows
from marginflow.runs.reading import EVALUATION, load, read, trained, weights_sha256

NUM_CHECKED = 10_000  # training rows, spread over all
NUM_DIVERGED = 1000  # test rows whose range tells which samples have left it


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


def data_of(run_dir: Path) -> DataSet:
    """The data that a run was trained on; ValueError where they have changed since."""
    experiment, spec, _ = read(run_dir)
    by_name = {"columns": list(spec.columns), "drop": []} if experiment.data.name == "table" else {}
    data = load_data(experiment, **by_name)
    check_same_rows(spec, data.spec, run_dir)
    return data


def check(run_dir: Path, device: str = "auto", seed: int = 0) -> Findings:
    """Check the model of a run: on rows of its training set, and the floor on test rows where it is known."""
    data, model = data_of(run_dir), load(run_dir, fabric_on(device).device)
    some = torch.linspace(0, len(data.train.x) - 1, min(len(data.train.x), NUM_CHECKED)).long()
    found = checks.check(model, Split(*data.train.take(some)), seed=seed)
    if data.entropy is None or not found.ok:
        return found
    return found.and_also(checks.floor(model, data.test, data.entropy, seed))


def held_out(run_dir: Path, rows: int | None = None, table: str | None = None) -> tuple[Split, float | None]:
    """The first test rows of a run, by default all, and the entropy of their distribution where it is known.

    table: a file whose rows are taken instead. ValueError where its columns, or those of the run's data as they are
    now, are not those of the model, and where the run's own table has changed, so that it would be split anew.
    """
    experiment, spec, _ = read(run_dir)
    options = experiment.data.model_dump()
    if table is None:
        data = data_of(run_dir)
        split, entropy = data.test, data.entropy
    elif len(spec.event_shape) == 1:
        split, entropy = rows_for(spec, table, options.get("delimiter", ","), options.get("labels")), None
    else:
        raise ValueError(f"{run_dir} was trained on images: leave --data out")
    return Split(*split.take(slice(rows))), entropy


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
