"""What each epoch came to, and the lines of metrics.jsonl that say so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marginflow.storage.files import unwritten, write_whole
from marginflow.storage.limits import LARGEST_METRICS, text_of

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to: mean negative log-likelihoods in nats a row, over whole rows as they were given.

    validation_nll is None in epochs without validation; best says whether it is the lowest so far. lr is that of the
    last step. For a marginalising flow both are the bound at one draw of noise a row, or the importance-weighted one
    at as many as the configuration says; for a mixture over labels that of a row given its label.
    """

    epoch: int
    train_nll: float
    validation_nll: float | None
    best: bool
    seconds: float
    lr: float | None = None


def append_metrics(record: Mapping[str, Any], run_dir: Path) -> None:
    """Add a line to metrics.jsonl."""
    path = run_dir / METRICS
    try:
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise unwritten(path, error) from error


def write_metrics(records: Iterable[Mapping[str, Any]], run_dir: Path) -> None:
    """Write metrics.jsonl anew."""
    write_whole(run_dir / METRICS, "".join(json.dumps(record) + "\n" for record in records).encode())


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, but for a last one that a kill has cut short."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    try:
        whole, _, _ = text_of(path, LARGEST_METRICS).rpartition("\n")
        records = [json.loads(line) for line in whole.splitlines()]
        _ = [each["epoch"] + each.get("seconds", 0) for each in records]
        return records
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
