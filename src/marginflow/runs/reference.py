"""What a run's training and held-out rows are like, against which other rows are held."""

from __future__ import annotations

import math
import warnings
from typing import Any

from marginflow.base.data_warning import DataWarning
from marginflow.data import DataSpec
from marginflow.evaluation.evaluate import evaluate_rows
from marginflow.evaluation.far_out import Reference
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate


def is_of_columns(spec: DataSpec) -> bool:
    """Whether rows are those of a table with columns."""
    return bool(spec.columns) and len(spec.event_shape) == 1


def ranges_of(run: Run) -> Reference:
    """The range of each column in the training rows of a run."""
    return Reference.of_training(run.spec, lambda: run.data.train.x[:])


def reference_of(run: Run, options: Evaluate) -> Reference | None:
    """Those ranges, and the least log p of the test rows: as evaluate has written them, else from the table itself.

    Args:
        run: on a table.
        options: of the evaluation; of estimates K and the seed decide.

    Returns:
        The reference; None where nothing was written and the table is not there, or no longer the same, with a warning
        that says so.
    """
    written = _written(run, options)
    if written is not None:
        return written
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # they were told when it was trained
            ranges, test = ranges_of(run), run.test()
            scores = evaluate_rows(run.model, test, spec=run.spec, num_samples=options.num_samples, seed=options.seed)
    except (OSError, ValueError, FloatingPointError) as error:
        reason = " ".join(str(error).split())
        warnings.warn(f"rows far out are not counted, for want of held-out rows: {reason}", DataWarning, stacklevel=2)
        return None
    inside = scores.log_prob[scores.log_prob.isfinite()]
    least = float(inside.min()) if len(inside) else -math.inf
    return Reference(ranges.lower, ranges.upper, len(test.x), least)


def as_record(reference: Reference) -> dict[str, Any]:
    """Plain values for evaluation.json, None for what is infinite."""

    def plain(values: tuple[float, ...]) -> list[float | None]:
        return [each if math.isfinite(each) else None for each in values]

    least = reference.least if math.isfinite(reference.least) else None
    ranges = {"lower": plain(reference.lower), "upper": plain(reference.upper)}
    return {"num_rows": reference.num_rows, "least_log_prob": least, **ranges}


def _written(run: Run, options: Evaluate) -> Reference | None:
    """What evaluate has written of all test rows by these weights; None where it has not, or it is damaged."""
    try:
        record = run.evaluation
        found, asked = record["held_out"], Evaluate(**record["experiment"]["evaluate"])
        sizes = {len(found["lower"]), len(found["upper"])}
        if record["weights_sha256"] != run.weights_sha256 or asked.rows is not None or sizes != {run.spec.features}:
            return None
        if not run.model.density.exact and (asked.num_samples, asked.seed) != (options.num_samples, options.seed):
            return None
        lower, upper = (
            tuple(end if each is None else float(each) for each in found[name])
            for name, end in (("lower", -math.inf), ("upper", math.inf))
        )
        least = found["least_log_prob"]
        return Reference(lower, upper, int(found["num_rows"]), -math.inf if least is None else float(least))
    except (OSError, ValueError, KeyError, TypeError):
        return None
