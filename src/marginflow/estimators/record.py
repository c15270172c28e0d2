"""How a model was chosen, kept beside it in its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from marginflow.base.moments import Estimate
from marginflow.estimators.trials import Trial
from marginflow.runs.run import CHOICE
from marginflow.storage.files import write_whole
from marginflow.storage.limits import json_of


def keep_trials(run_dir: Path, trials: Sequence[Trial], folds: int) -> Path:
    """Write choice.json: all candidates, the chosen one first, and in how many folds rows were held out."""
    plain = [
        {
            "name": each.name,
            "log_prob": each.log_prob.value,
            "standard_error": each.log_prob.standard_error,
            "rows": each.num_rows,
            "seconds": round(each.seconds, 1),
            "given_up": each.given_up,
        }
        for each in trials
    ]
    path = run_dir / CHOICE
    write_whole(
        path, (json.dumps({"chosen": trials[0].name, "folds": folds, "trials": plain}, indent=2) + "\n").encode()
    )
    return path


def trials_in(run_dir: Path) -> tuple[tuple[Trial, ...], int]:
    """All candidates, and in how many folds, from choice.json; none where it is not there, ValueError if damaged."""
    path = run_dir / CHOICE
    if not path.is_file():
        return (), 0
    try:
        found = json_of(path)
        trials = tuple(
            Trial(
                str(each["name"]),
                Estimate(float(each["log_prob"]), float(each["standard_error"])),
                int(each["rows"]),
                float(each["seconds"]),
                bool(each["given_up"]),
            )
            for each in found["trials"]
        )
        return trials, int(found["folds"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): delete it, the model needs it not") from error
