"""Annealing a run: what was walked is kept, so that an evaluation that was interrupted goes on from there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.distributions.annealed import Through
from marginflow.distributions.hamiltonian import LEAPS
from marginflow.evaluation.annealed import ROWS, Annealed, evaluate_annealed, seeded_walks
from marginflow.runs.evaluate import evaluate
from marginflow.runs.run import EVALUATION, Run
from marginflow.runs.schema import Evaluate
from marginflow.storage.files import write_whole
from marginflow.storage.limits import json_of

JOURNAL = "annealed.jsonl"  # of the run, what was walked so far


def annealed(
    run: Run,
    options: Evaluate,
    num_temperatures: int | None = None,
    *,
    dequantisation: bool = False,
    told: Callable[[str], object] = lambda text: None,
) -> Annealed:
    """Anneal test rows of a run, see `evaluate_annealed`; one that was interrupted goes on where it was.

    Args:
        run: whose density draws noise.
        options: K chains a row, how many test rows, and the seed.
        num_temperatures: T; None doubles it until log p settles.
        dequantisation: whether the noise of dequantisation is annealed, too.
        told: called with what is walked.

    Returns:
        An `Annealed`; its seconds are those of this call.
    """
    journal = _Journal(run, options, dequantisation, told)
    found = evaluate_annealed(
        run.model,
        run.test(options.rows or ROWS),
        spec=run.spec,
        num_samples=options.num_samples,
        num_temperatures=num_temperatures,
        dequantisation=dequantisation,
        seed=options.seed,
        through=journal.through,
    )
    keep(run, options, found)
    journal.path.unlink(missing_ok=True)
    return found


def keep(run: Run, options: Evaluate, found: Annealed) -> Path:
    """Enter it into evaluation.json, beside the accounting, which is taken of as many rows where there is none yet."""
    path, record = run.path / EVALUATION, dict[str, Any]()
    with suppress(OSError, ValueError):
        record = json_of(path)
    if record.get("weights_sha256") != run.weights_sha256 or "test" not in record:
        own = run.experiment.evaluate.model_copy(update={"rows": options.rows or ROWS, "seed": options.seed})
        record = evaluate(run, own, draw=False).record
    record["annealed"] = found.as_dict()
    write_whole(path, (json.dumps(record, indent=2) + "\n").encode())
    return path


class _Journal:
    """What was walked, in a file of the run: parts of the same settings are not walked again."""

    def __init__(self, run: Run, options: Evaluate, dequantisation: bool, told: Callable[[str], object]) -> None:
        settings = {"evaluate": options.model_dump(), "dequantisation": dequantisation, "weights": run.weights_sha256,
                    "leaps": LEAPS, "data": run.experiment.data.model_dump(mode="json")}  # fmt: skip
        self.key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self.path, self.walks, self.told = run.path / JOURNAL, seeded_walks(options.seed), told
        self.known = _read(self.path, self.key)
        if self.path.is_file() and not self.path.read_bytes().endswith(b"\n"):  # a line that was cut short ends here
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def through(self, rows: str) -> Through:
        """Walks parts of the rows called so, each from a seed of its own, and keeps them."""

        def walked(way: str, first: int, walk: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
            name = f"{rows}, {way}, {first}"
            if name not in self.known:
                direction, number = way.split()
                self.told(f"annealing {rows} rows from {first}, {direction}, {number} temperatures")
                self._keep(name, [each.double().cpu() for each in self.walks(rows)(way, first, walk)])
            return tuple(self.known[name])

        return walked

    def _keep(self, name: str, found: list[Tensor]) -> None:
        self.known[name] = found
        line = {"key": self.key, "part": name, "values": [[_plain(v) for v in each.tolist()] for each in found]}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _read(path: Path, key: str) -> dict[str, list[Tensor]]:
    """The parts of these settings; a line that was cut short is left out."""
    found: dict[str, list[Tensor]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with suppress(ValueError, KeyError, TypeError):
            each = json.loads(line)
            if each["key"] == key:
                values = [torch.tensor([float(v) for v in some], dtype=torch.float64) for some in each["values"]]
                found[each["part"]] = values
    return found
