"""The thesis, item by item, as experiments/thesis.toml lists them.

References:
    I. Lee, Masked Autoregressive Flows with a Marginalising Flow Framework, 2020.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from marginflow.runs.experiments import THESIS, ours

Drawing = Literal["epochs", "digits", "samples", "points", "against", "none"]


@dataclass(frozen=True)
class Trained:
    """A training that an item needs.

    Args:
        experiment: its name.
        label: what tables call it.
        reported: its number in the thesis.
        overrides: of the experiment, such as "noise.features=4".
        at: its position on the axis of the item's figure.
    """

    experiment: str
    label: str
    reported: float | None = None
    overrides: tuple[str, ...] = ()
    at: float | None = None

    @property
    def run(self) -> str:
        """The name of its run."""
        changed = ["_".join(override.replace("=", "_").split(".")[1:]) for override in self.overrides]
        return "_".join([self.experiment, *changed])


@dataclass(frozen=True)
class Item:
    """A figure or table of the thesis.

    Args:
        title: of the item.
        caption: what it shows.
        trained: the trainings that it needs.
        drawing: how it is drawn.
        axis: what `at` of its trainings counts.
    """

    title: str
    caption: str
    trained: tuple[Trained, ...]
    drawing: Drawing
    axis: str = ""


@cache
def items() -> dict[str, Item]:
    """The items by name, in the order of the thesis."""
    table = tomllib.loads(ours(THESIS).read_text(encoding="utf-8"))
    return {name: Item(**{**item, "trained": tuple(map(_trained, item["trained"]))}) for name, item in table.items()}


def _trained(entry: dict[str, Any]) -> Trained:
    return Trained(**{**entry, "overrides": tuple(entry.get("overrides", ()))})
