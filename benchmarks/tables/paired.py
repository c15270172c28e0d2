"""Differences of log p row by row: of a part of a table, of all its parts, and as verdicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from marginflow.base.moments import Estimate


def difference(own: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """The mean of own - other over the rows that have a probability under both, with its standard error.

    Returns:
        "gain", "standard_error", "rows", and how many rows have probability 0 under each: "own_outside",
        "other_outside".

    Examples:
        >>> difference(np.array([3.0, 5.0, 1.0]), np.array([1.0, 1.0, -np.inf]))
        {'gain': 3.0, 'standard_error': 1.0, 'rows': 2, 'own_outside': 0, 'other_outside': 1}
    """
    known = np.isfinite(own) & np.isfinite(other)
    gains = own[known] - other[known]
    error = float(gains.std(ddof=1) / math.sqrt(len(gains))) if len(gains) > 1 else None
    return {
        "gain": float(gains.mean()) if len(gains) else None, "standard_error": error, "rows": int(known.sum()),
        "own_outside": int((~np.isfinite(own)).sum()), "other_outside": int((~np.isfinite(other)).sum()),
    }  # fmt: skip


def over_parts(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The difference over all parts of a table.

    Its standard error is the larger of two: that of the rows, and that of the parts' means, which also vary as a model
    is trained anew.

    Examples:
        >>> part = {"gain": 1.0, "standard_error": 0.3, "rows": 50, "own_outside": 0, "other_outside": 0}
        >>> over_parts([part, {**part, "gain": 2.0}, {**part, "gain": 3.0}])["gain"]
        2.0
    """
    known = [each for each in parts if each["standard_error"] is not None]
    outside = {key: sum(each[key] for each in parts) for key in ("own_outside", "other_outside")}
    rows = sum(each["rows"] for each in known)
    if not known:
        return {"gain": math.nan, "standard_error": math.inf, "rows": rows, **outside}
    of_rows = math.sqrt(sum((each["rows"] * each["standard_error"]) ** 2 for each in known)) / rows
    gains = [each["gain"] for each in known]
    of_parts = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    gain = sum(each["rows"] * each["gain"] for each in known) / rows
    return {"gain": gain, "standard_error": max(of_rows, of_parts), "rows": rows, **outside}


def verdict(found: Mapping[str, Any]) -> str:
    """Ahead or behind where the difference is more than two standard errors, else level.

    Whoever gives more test rows the probability 0 is behind, whatever the others say.

    Examples:
        >>> said = {"gain": 1.0, "standard_error": 0.4, "own_outside": 0, "other_outside": 0}
        >>> verdict(said), verdict({**said, "gain": -0.8}), verdict({**said, "own_outside": 1})
        ('ahead', 'level', 'behind')
    """
    if found["own_outside"] != found["other_outside"]:
        return "behind" if found["own_outside"] > found["other_outside"] else "ahead"
    if not abs(found["gain"]) > 2 * found["standard_error"]:
        return "level"
    return "ahead" if found["gain"] > 0 else "behind"


def mean(log_p: np.ndarray) -> dict[str, Any]:
    """log p of test rows: the mean over those that have a probability, its standard error, and how many have none."""
    known = log_p[np.isfinite(log_p)]
    if not len(known):
        return {"log_p": None, "standard_error": None, "outside": len(log_p)}
    found = Estimate.of(torch.from_numpy(known))
    return {"log_p": found.value, "standard_error": found.standard_error, "outside": len(log_p) - len(known)}
