"""Ours beside the mixtures of `defaults`: paired over splits, as verdicts and as a table."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.default_sets import SETS

Splits = Sequence[Mapping[str, Any]]
HEAD = (
    "| table | rows x columns | cells tied, most at one value | best mixture, of | chosen mixture, of | kernel |"
    " ours | ours - best | ours - chosen | ours chose | fit, s |\n|---|---|---|---:|---:|---:|---:|---:|---:|---|---:|"
)


def best_number(splits: Splits) -> str:
    """The number of components whose held-out mean over the splits is best, of those measured in all."""
    found = [each["gaussian"]["components"] for each in splits]
    numbers = [k for k in found[0] if all(k in each for each in found)]
    return max(numbers, key=lambda k: statistics.fmean(of_mixtures(splits, k)))


def of_mixtures(splits: Splits, components: str | None = None) -> list[float]:
    """Held-out nats a row in each split, of so many components or of as many as the split's folds chose."""
    found = [each["gaussian"] for each in splits]
    return [each["components"][components or str(each["chosen"])]["log_p"] for each in found]


def paired(ours: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The mean of the differences and its standard error, which is infinite for a single one.

    >>> paired([3.0, 5.0], [1.0, 1.0])
    (3.0, 1.0)
    """
    gains = [a - b for a, b in zip(ours, other, strict=True)]
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.inf
    return statistics.fmean(gains), error


def verdict(gain: float, error: float) -> str:
    """In a word: ahead or behind where the difference is more than two standard errors, else level."""
    if abs(gain) <= 2 * error:
        return "level"
    return "ahead" if gain > 0 else "behind"


def verdicts(record: Mapping[str, Any]) -> dict[str, str]:
    """Of each table where ours has been measured, beside the best mixture."""
    found = {name: _both(each["splits"]) for name, each in _measured(record).items()}
    gains = {
        name: paired(_means(both, "ours"), of_mixtures(both, best)) for name, (best, both) in found.items() if both
    }
    return {name: verdict(*each) for name, each in gains.items()}


def table(record: Mapping[str, Any]) -> str:
    """Markdown: a line a table, in nats a row, and how often ours is ahead, level or behind."""
    lines = [HEAD, *(_line(*each) for each in _measured(record).items())]
    count = Counter(verdicts(record).values())
    said = [f"{each} on {count[each]}" for each in ("ahead", "level", "behind")]
    return "\n".join([*lines, *(["", f"Beside the best mixture: {', '.join(said)}."] if count else [])])


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    """The tables, in their order, of which mixtures have been measured."""
    sets = {name: record["sets"][name] for name in SETS if name in record.get("sets", {})}
    return {name: each for name, each in sets.items() if any("gaussian" in s for s in each.get("splits", {}).values())}


def _both(splits: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[Mapping[str, Any]]]:
    """The best number of components over all splits, and the splits in which ours has been measured too."""
    measured = [each for each in splits.values() if "gaussian" in each]
    return best_number(measured), [each for each in measured if "ours" in each]


def _means(splits: Splits, who: str) -> list[float]:
    return [each[who]["log_p"] for each in splits if who in each]


def _line(name: str, found: Mapping[str, Any]) -> str:
    about, splits = found["about"], list(found["splits"].values())
    best, both = _both(found["splits"])
    chosen = Counter(each["gaussian"]["chosen"] for each in splits if "gaussian" in each)
    mixtures = [each for each in splits if "gaussian" in each]
    kernel = _means(splits, "kernel")
    cells = [
        name.replace("_", " "), f"{about['rows']} x {about['columns']}", f"{about['tied']:.0%}, {about['most']:.1%}",
        f"{statistics.fmean(of_mixtures(mixtures, best)):.3f}, {best}",
        f"{statistics.fmean(of_mixtures(mixtures)):.3f}, {_counted(chosen)}",
        f"{statistics.fmean(kernel):.3f}" if kernel else "",
    ]  # fmt: skip
    if both:
        own = _means(both, "ours")
        gains = [paired(own, of_mixtures(both, each)) for each in (best, None)]
        cells += [
            f"{statistics.fmean(own):.3f}"
            + (f" ({len(both)} of {len(mixtures)})" if len(both) < len(mixtures) else ""),
            *(f"{gain:.3f} ± {error:.3f}, {verdict(gain, error)}" for gain, error in gains),
            _counted(Counter(each["ours"]["chosen"] for each in both)),
            f"{statistics.fmean(each['ours']['seconds'] for each in both):.0f}",
        ]
    else:
        cells += [""] * 5
    return "| " + " | ".join(cells) + " |"


def _counted(chosen: Counter[Any]) -> str:
    """What was chosen, the most frequent first, with how often where there are several."""
    if len(chosen) == 1:
        return str(next(iter(chosen)))
    return ", ".join(f"{each} ({n})" for each, n in chosen.most_common())
