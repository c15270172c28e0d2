"""Where our densities stand in a record: beside each baseline, and beside them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tables.measured import EVERY
from benchmarks.tables.models import BASELINES
from benchmarks.tables.paired import over_parts, verdict

Table = Mapping[str, Any]


def measured(table: Table, model: str) -> list[Mapping[str, Any]]:
    """What is recorded of a model in the parts in which it was measured."""
    found = (each.get("models", {}).get(model, {}) for each in table.get("parts", {}).values())
    return [each for each in found if "log_p" in each]


def mean_of(table: Table, model: str, what: str) -> float | None:
    """The mean over parts of a figure of a model; None where there is none."""
    found = [each[what] for each in measured(table, model) if each.get(what) is not None]
    return sum(found) / len(found) if found else None


def beside(table: Table, own: str, other: str) -> dict[str, Any] | None:
    """The difference over all parts in which both are measured, with its verdict; None where there is none."""
    pairs = (each.get("paired", {}).get(own, {}).get(other) for each in table.get("parts", {}).values())
    parts = [each for each in pairs if each is not None]
    if not parts:
        return None
    found = over_parts(parts)
    return {**found, "verdict": verdict(found), "parts": len(parts)}


def beside_all(table: Table, own: str, others: Sequence[str] = BASELINES) -> tuple[str, dict[str, Any]] | None:
    """The baseline beside which a model does worst, and the difference to it, in standard errors; None without any."""
    found = {other: beside(table, own, other) for other in others}
    known = {other: each for other, each in found.items() if each is not None}
    if not known:
        return None
    worst = min(known, key=lambda each: (_RANK[known[each]["verdict"]], known[each]["gain"]))
    return worst, known[worst]


def why_not(table: Table, model: str) -> str | None:
    """Why a model was not measured on a table; None where it was, or is to be."""
    found = [each.get("models", {}).get(model, {}) for each in table.get("parts", {}).values()]
    told = [each.get("reason") or each.get("failed") for each in found]
    return next((each for each in told if each), None)


def verdicts(tables: Mapping[str, Table], own: str) -> Counter[str]:
    """On how many counted tables a model is ahead of every baseline, level with the best, behind one."""
    found = [beside_all(each, own) for each in tables.values() if each["about"]["role"] == "counted"]
    return Counter(each[1]["verdict"] for each in found if each is not None)


def told_apart(table: Table, model: str) -> dict[str, float] | None:
    """The two-sample test of a model, over folds together or the mean over splits; None where there is none."""
    tests = table.get("two_sample", {})
    found = [each[model] for group, each in tests.items() if model in each and (group == EVERY or EVERY not in tests)]
    if not found:
        return None
    return {key: sum(each[key] for each in found) / len(found) for key in ("auc", "deviation", "scale", "rows")}


_RANK = {"behind": 0, "level": 1, "ahead": 2}
