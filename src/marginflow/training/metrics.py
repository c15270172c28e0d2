"""The results of each epoch, and the lines of metrics.jsonl that hold them."""

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
    """The result of an epoch of training, with negative log-likelihoods in nats a row.

    Both are means over rows as they were given, before preprocessing. For a marginalising flow they are the bound at
    one noise sample a row, or the importance-weighted bound at as many as the configuration says. For a mixture over
    labels they are those of a row given its label.

    The robust mean of the validation counts the hundredth part of the rows with the largest values v as the largest of
    the others:  1/N sum_i min(v_i, c),  c = the (ceil(N / 100) + 1)-th largest v

    Attributes:
        epoch: number of the epoch, from 1.
        train_nll: mean training loss over the steps of the epoch, in nats a row.
        validation_nll: negative log-likelihood of the validation rows, in nats a row; None without validation.
        best: whether validation_nll is the lowest so far.
        seconds: duration of the epoch, validation included.
        lr: learning rate of the last step; None where it is not known.
        validation_robust_nll: robust mean over the validation rows, in nats a row; None where it is not known.
        heavy_rows: numbers of the validation rows, counted from 0, that dominate the mean; mostly none.
        returned: whether the loss had jumped, and the training went back to the best weights, at half the rate.
        ended: why the training ended here and whether it was still improving; None where it did not.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> from marginflow.training import TrainConfig, fit
        >>> (record,) = fit(models.planar(2), torch.randn(500, 2), TrainConfig(epochs=1))
        >>> record.epoch, record.best, record.lr
        (1, True, 0.0005)
    """

    epoch: int
    train_nll: float
    validation_nll: float | None
    best: bool
    seconds: float
    lr: float | None = None
    validation_robust_nll: float | None = None
    heavy_rows: tuple[int, ...] = ()
    returned: bool = False
    ended: str | None = None


def append_metrics(record: Mapping[str, Any], run_dir: Path) -> None:
    """Add a line to metrics.jsonl."""
    path = run_dir / METRICS
    try:
        with path.open("a", encoding="utf-8") as file:
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
