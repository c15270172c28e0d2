"""Experiments by name: the TOML files at hand, and the one that a table alone asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from marginflow.data.tables.read import FORMATS
from marginflow.runs.read_toml import overridden, parse
from marginflow.runs.read_toml import read as read_toml
from marginflow.runs.schema import Experiment

FOLDERS = (Path("experiments"), Path(__file__).parents[3] / "experiments")  # here, or where the package is developed


def at_hand() -> dict[str, Path]:
    """The experiments that can be called by name: name -> TOML file."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def about(path: Path) -> str:
    """What an experiment is, from the comment in its first line."""
    first = path.read_text().partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def read(given: Path, overrides: list[str]) -> Experiment:
    """The experiment in a TOML file, of a name, or for a table; with overrides such as "train.lr=1e-4"."""
    if given.suffix.lower() in FORMATS:
        table = for_table(given)
        if any(override.partition("=")[0].strip() == "model.name" for override in overrides):
            table["model"] = {}  # what is said of one model means nothing to another
        return parse(overridden(table, overrides), str(given))
    if given.suffix not in ("", ".toml") or given.is_dir():
        raise ValueError(f"{given} must be an experiment (.toml, or a name) or a table ({', '.join(FORMATS)})")
    by_name = at_hand()
    if not given.exists() and str(given) in by_name:
        given = by_name[str(given)]
    if not given.exists() and not given.suffix:
        names = ", ".join(by_name) or "none at hand"
        raise FileNotFoundError(
            f"{given} is neither a file nor the name of an experiment ({names}): give a TOML file, a name, or a table"
        )
    return read_toml(given, overrides)


def for_table(path: Path) -> dict[str, Any]:
    """What a table is trained with unless something else is said: a MAF on standardised columns, stopped early."""
    return {
        "data": {"name": "table", "path": str(path)},
        "preprocess": {"standardise": True},
        "model": {"name": "maf", "hidden": [128, 128], "blocks": 5, "dropout": 0.1},
        "train": {"epochs": 200, "lr": 1e-3, "ema": 0.99, "weight_decay": 1e-5, "patience": 10},
    }


def run_name(given: Path) -> str:
    """The name of a run of an experiment or table."""
    return re.sub(r"[^\w.-]", "_", given.stem) or "run"
