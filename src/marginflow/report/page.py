"""A report of runs: one HTML page that holds all of its figures and needs no network."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from marginflow.base.literal import literal
from marginflow.report.estimates import NONE, number, with_error
from marginflow.report.ranges import Range, range_of_curves
from marginflow.storage.files import write_whole
from marginflow.storage.limits import json_of

WIDTH, HEIGHT = 320, 120  # of a training curve, in its own units


def write_page(items: Mapping[Path, dict[str, Any]], output: Path) -> Path:
    """Write one page about runs and results; its path.

    items: as `reproduce` writes them, by the file that each was read from, or the run directory that it is about, where
    its figures are. output: the .html file.

    Numbers stand in the page as they stand in the JSON, to the digits shown, with the full value in the title of each.
    ValueError or FileNotFoundError where an item is not whole.
    """
    require_page_path(output)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("marginflow.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        estimate=estimate, curve=curve, about_curve=about_curve, literal=literal, negative=negative
    )
    of_item, page = (environment.get_template(name) for name in ("section.html", "report.html"))
    sections = []
    for i, (source, item) in enumerate(items.items(), 1):
        try:
            section = _section(item, source if source.is_dir() else source.parent)
            html = of_item.render(section=section, id=f"section-{i}", width=WIDTH, height=HEIGHT)
        except (LookupError, TypeError, AttributeError, jinja2.UndefinedError) as error:
            reason = " ".join(repr(error).split())
            raise ValueError(
                f"{source} is not a result of reproduce, nor a whole run ({reason}): give those"
            ) from error
        sections.append({"title": section["title"], "html": html, "of_rows": section["of_rows"]})
    write_whole(output, page.render(sections=sections).encode())
    return output


def require_page_path(output: Path) -> None:
    """Refuse an ending that is not .html, and a folder that does not exist."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{output} must end in .html")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"the folder {output.parent} does not exist: make it first")


def read_item(path: Path) -> dict[str, Any]:
    """What `reproduce` has written; ValueError where it is no JSON."""
    try:
        return json_of(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a result of reproduce ({error}): give those, or run directories") from error


def _section(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the page shows of an item, whose figures lie in a folder."""
    runs = [{**run, **_settings(run["experiment"])} for run in item["runs"]]
    figures = [(_as_data(folder / each["file"]), each["caption"]) for each in item["figures"]]
    keys = ("title", "caption")
    about = {"not_drawn": item.get("not_drawn"), **_columns(runs)}
    return {**{key: item[key] for key in keys}, **about, "runs": runs, "figures": figures}


def _columns(runs: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Whether log p of a table's rows stands in place of the whole accounting, as it is exact; and in which parts."""
    tests = [run["test"] for run in runs if run["experiment"].get("data", {}).get("name") == "table"]
    of_rows = len(tests) == len(runs) > 0 and all(each["exact"] and each.get("log_prob") for each in tests)
    return {"of_rows": of_rows, "has_parts": of_rows and all(each["discrete"] and each["real"] for each in tests)}


def _settings(experiment: dict[str, Any]) -> dict[str, Any]:
    """The settings of an experiment as pairs: (table.key, value), without those that are not set."""
    pairs = [
        (f"{table}.{key}", json.dumps(value))
        for table, section in experiment.items()
        for key, value in section.items()
        if value is not None
    ]
    return {"settings": pairs, "seed": experiment["train"]["seed"]}


def _as_data(path: Path) -> str:
    """A PNG as an address that holds it."""
    if not path.is_file():
        raise FileNotFoundError(f"the figure {path} is missing: put it beside its JSON, or call reproduce again")
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def estimate(value: dict[str, float] | None, digits: int = 3) -> str:
    """A mean and its standard error, or a dash.

    >>> estimate({"value": 1.23456, "standard_error": 0.01}, 2)
    '1.23 ± 0.01'
    """
    if value is None:
        return NONE
    mean, error = (value[key] + 0.0 for key in ("value", "standard_error"))  # TypeError for text
    return with_error(mean, error, digits)


def negative(value: dict[str, float] | None) -> dict[str, float] | None:
    """The mean of the negative, with the same error.

    >>> negative({"value": 2.0, "standard_error": 0.1})
    {'value': -2.0, 'standard_error': 0.1}
    """
    return None if value is None else {**value, "value": -value["value"]}


def curve(records: Sequence[dict[str, Any]], key: str) -> str:
    """A loss by epoch as the points of an SVG polyline, the ends of the range of both losses at its ends.

    Losses that would flatten all others of their curve lie on its upper edge, those that are no numbers are left out.

    >>> curve([{"epoch": 1, "train_nll": 2.0}, {"epoch": 2, "train_nll": 1.0}], "train_nll")
    '0.0,0.0 320.0,120.0'
    """
    shown = _shown(records)
    if shown is None:
        return ""
    low, high = shown
    last = max(each["epoch"] for each in records)
    points = [(each["epoch"], min(each[key], high)) for each in records if _is_number(each.get(key))]
    return " ".join(
        f"{WIDTH * (epoch - 1) / max(last - 1, 1):.1f},{HEIGHT * (high - loss) / ((high - low) or 1.0):.1f}"
        for epoch, loss in points
    )


def about_curve(records: Sequence[dict[str, Any]]) -> str:
    """What the two ends of a curve are, in nats, and what it does not show.

    >>> about_curve([{"epoch": 1, "train_nll": 2.0}, {"epoch": 2, "train_nll": 1.0}])
    'epoch 1 to 2, 1.000 to 2.000 nats'
    """
    losses, shown = _losses(records), _shown(records)
    parts = [f"epoch {records[0]['epoch']} to {records[-1]['epoch']}"] if records else []
    if shown is not None:
        parts.append(" to ".join(number(each) for each in shown) + " nats")
        above = [each for each in losses if _is_number(each) and each > shown[1]]
        parts += [f"{len(above)} above, at most {max(above):.3g}, at the upper edge"] if above else []
    if broken := sum(not _is_number(each) for each in losses):
        parts.append(f"{broken} not finite, left out")
    return ", ".join(parts)


def _losses(records: Sequence[dict[str, Any]]) -> list[float]:
    """Those of training and validation of all epochs."""
    every = [loss for each in records for loss in (each["train_nll"], each.get("validation_nll"))]
    return [loss for loss in every if loss is not None]


def _shown(records: Sequence[dict[str, Any]]) -> Range | None:
    """The range that a plot of both losses shows."""
    return range_of_curves(*([each.get(key) for each in records] for key in ("train_nll", "validation_nll")))


def _is_number(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)
