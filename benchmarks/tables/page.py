"""The page that reads a record: written anew from the JSON, nothing in it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import kept
from benchmarks.tables.measured import REAL_ROWS
from benchmarks.tables.models import BASELINES, INDEPENDENT, OURS, WORDS
from benchmarks.tables.moves import is_of_studies, moves
from benchmarks.tables.standing import beside, beside_all, mean_of, measured, told_apart, verdicts, why_not
from marginflow.storage.files import write_whole

ASKED_AUC = {"adult": 0.53, "diamonds": 0.545, "california": 0.545}
HOW = """\
All densities are on one measure: grid cells, levels, atoms and blanks count as probabilities, the rest as densities
in the units of the file; the schema is the library's own inference from the rows to train on and nobody may change
it. Repeated rows are dropped before the split. A table with 2,000 rows and more is split 80/10/10 by each seed, a
smaller one held out in five folds. Settings of baselines are chosen as the library chooses its own: by validation
rows, or below 5,000 rows by folds of the rows to train on. "±" is one standard error: of the rows, or of the means of
seeds or folds where that is larger. Ahead and behind are by more than two, against **every** baseline; the one named
is that beside which ours does worst, found by test rows. No result depends on a clock.
"""


def write(output: Path) -> Path | None:
    """Write the page of a record beside it; None where it holds no table yet."""
    record = kept.read(output)
    if not any(each.get("parts") for each in record.get("tables", {}).values()):
        return None
    path = output.with_suffix(".md")
    write_whole(path, (moves(record) if is_of_studies(record) else page(record)).encode())
    return path


def page(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    tables = {name: each for name, each in record["tables"].items() if each.get("parts")}
    every = _models(tables)
    models = [each for each in every if any(measured(table, each) for table in tables.values())]
    sections = [
        "# Densities on real tables", HOW, *_trial(tables), _summary(tables, models),
        "## Held-out log p, nats a row, higher is better", _log_p(tables, models),
        "## Ours beside each baseline, row by row", _differences(tables, models),
        "## Two-sample test: AUC of boosted trees, 0.5 if samples cannot be told from test rows",
        _two_sample(tables, models),
        "## Does log p tell training rows: AUC, 0.5 if not", _grid(tables, models, _cell("membership", ".3f")),
        "## Seconds of a fit, its choosing included", _grid(tables, models, _cell("seconds", ",.0f")),
        "## Tables", _about(tables), "## What is not there, and why", _dashes(tables, every), *_skipped(record),
    ]  # fmt: skip
    return "\n\n".join(each.strip() for each in sections if each) + "\n"


def _models(tables: Mapping[str, Any]) -> list[str]:
    found = {model for table in tables.values() for part in table["parts"].values() for model in part.get("models", {})}
    return [each for each in WORDS if each in found] + sorted(found - set(WORDS))


def _own(models: Iterable[str]) -> list[str]:
    return [each for each in models if each not in BASELINES]


def _trial(tables: Mapping[str, Any]) -> list[str]:
    most = {each["about"]["at_most"] for each in tables.values()} - {None}
    return [f"**A trial on at most {max(most):,} rows of each table: no result.**"] if most else []


def _summary(tables: Mapping[str, Any], models: list[str]) -> str:
    """What was asked for beside what was reached, and where a mixture is enough."""
    lines = []
    for own in _own(models):
        count = verdicts(tables, own)
        if not count:
            continue
        said = ", ".join(f"{each} on {count[each]}" for each in ("ahead", "level", "behind"))
        lines.append(
            f"- {_word(own)}: {said} of {sum(count.values())} counted tables (asked: ahead on 9 of 11, behind on none)."
        )
    if OURS in models:
        lines += [*_enough(tables), *_nearest_to_real(tables)]
        lines += [
            f"- Two-sample AUC on {name}: {found['auc']:.3f}, asked at most {_judged(found['auc'], most)}."
            for name, most in ASKED_AUC.items()
            if name in tables and (found := told_apart(tables[name], OURS)) is not None
        ]
    return "\n".join(lines)


def _enough(tables: Mapping[str, Any]) -> list[str]:
    """The tables on which a simple density does as well as ours, each by its name."""
    lines = []
    for name, table in tables.items():
        rivals = [each for each in BASELINES if (found := beside(table, OURS, each)) and found["verdict"] != "ahead"]
        if rivals:
            lines.append(f"- On {name} ours is not ahead of {' and '.join(map(_word, rivals))}, which is enough.")
    return lines


def _nearest_to_real(tables: Mapping[str, Any]) -> list[str]:
    """On how many counted tables trees tell our samples apart less than those of every baseline."""
    counted = [each for each in tables.values() if each["about"]["role"] == "counted"]
    found = [(told_apart(each, OURS), [told_apart(each, other) for other in BASELINES]) for each in counted]
    scales = [(own["scale"], [each["scale"] for each in others if each]) for own, others in found if own]
    known = [(own, others) for own, others in scales if others]
    best = sum(own > max(others) for own, others in known)
    return [
        f"- Two-sample AUC nearer to 0.5 than every baseline's on {best} of {len(known)} counted tables (asked: 8)."
    ]


def _judged(auc: float, most: float) -> str:
    return f"{most}" if auc <= most else f"{most}, not met"


def _log_p(tables: Mapping[str, Any], models: list[str]) -> str:
    def cell(table: Mapping[str, Any], model: str) -> str:
        value = mean_of(table, model, "log_p")
        outside = sum(each["outside"] for each in measured(table, model))
        return "" if value is None else f"{value:.2f}" + (f" ({outside} rows p = 0)" if outside else "")

    return _grid(tables, models, cell)


def _differences(tables: Mapping[str, Any], models: list[str]) -> str:
    parts = []
    for own in _own(models):
        others = [each for each in models if each != own]
        head = ["table", *map(_word, others), "worst beside", "verdict"]
        lines = []
        for name, table in tables.items():
            cells = [_difference(beside(table, own, other)) or _dash(table, other) for other in others]
            worst = beside_all(table, own)
            lines.append([name, *cells, _word(worst[0]) if worst else "", worst[1]["verdict"] if worst else ""])
        parts.append(f"{_word(own)} minus\n\n{_table(head, lines)}")
    return "\n\n".join(parts)


def _two_sample(tables: Mapping[str, Any], models: list[str]) -> str:
    def cell(table: Mapping[str, Any], model: str) -> str:
        found = told_apart(table, model)
        return "" if found is None else f"{found['auc']:.3f} ({found['scale']:.2f})"

    said = (
        "In brackets the published scale, 1 - (2 max(AUC, 1/2) - 1). Real rows are training rows in place of samples."
    )
    first = [each for each in models if each != INDEPENDENT]
    ordered = [*first, *([INDEPENDENT] if INDEPENDENT in models else []), REAL_ROWS]
    return f"{said}\n\n{_grid(tables, ordered, cell)}"


def _about(tables: Mapping[str, Any]) -> str:
    head = [
        "table",
        "rows without repeats",
        "kinds of columns (first part)",
        "test rows without a place",
        "left out",
        "ours chose",
    ]
    lines = []
    for name, table in tables.items():
        about, parts = table["about"], list(table["parts"].values())
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(parts[0]["about"]["kinds"].items()))
        role = {"beside": "; not counted", "settings": "; for settings"}.get(about["role"], "")
        held = "five folds" if about["folds"] else f"{len(parts)} splits"
        dropped = "; ".join(f"{column}: {why}" for column, why in about["dropped"].items())
        chosen = ", ".join(dict.fromkeys(str(each.get("chosen", "")) for each in measured(table, OURS)))
        without = sum(each["about"]["left_out"] for each in parts)
        lines.append(
            [
                name + role,
                f"{about['rows']:,}, {held}",
                kinds + ("; by request" if about["real"] else ""),
                str(without),
                dropped,
                chosen,
            ]
        )
    return _table(head, lines)


def _skipped(record: Mapping[str, Any]) -> list[str]:
    return (
        ["\n".join(f"{name} skipped: {why}." for name, why in record["skipped"].items())]
        if record.get("skipped")
        else []
    )


def _cell(what: str, digits: str) -> Callable[[Mapping[str, Any], str], str]:
    def cell(table: Mapping[str, Any], model: str) -> str:
        value = mean_of(table, model, what)
        return "" if value is None else format(value, digits)

    return cell


def _grid(tables: Mapping[str, Any], models: list[str], cell: Callable[[Mapping[str, Any], str], str]) -> str:
    """A line a table, a column a model; a dash and why below where a model cannot take a table."""
    lines = [[name, *(cell(table, each) or _dash(table, each) for each in models)] for name, table in tables.items()]
    return _table(["table", *map(_word, models)], lines)


def _dash(table: Mapping[str, Any], model: str) -> str:
    return "" if why_not(table, model) is None else "-"


def _dashes(tables: Mapping[str, Any], models: list[str]) -> str:
    """Why some models were not measured on some tables."""
    why = {(model, name): why_not(table, model) for model in models for name, table in tables.items()}
    return "\n".join(f"- {_word(model)}, {name}: {said}." for (model, name), said in why.items() if said)


def _difference(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['gain']:+.3f} ± {found['standard_error']:.3f}"


def _word(model: str) -> str:
    return WORDS.get(model, model)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(each) + " |" for each in rows)
