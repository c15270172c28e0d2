"""Experiments by name: the TOML files at hand, and the one that a table alone asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marginflow.base.names import hint_at

if TYPE_CHECKING:
    from marginflow.runs.schema import Experiment

THESIS = "thesis.toml"  # which of them stand for each item of the thesis
# here; in the installed package; where it is developed
FOLDERS = (Path("experiments"), Path(__file__).parents[1] / "experiments", Path(__file__).parents[3] / "experiments")


def at_hand(folders: Sequence[Path] = FOLDERS) -> dict[str, Path]:
    """The experiments that can be called by name: name -> TOML file."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            if not _is_thesis(path):
                found.setdefault(path.stem, path)
    return found


def ours(file: str) -> Path:
    """A file of this package's own experiments, whatever others are at hand."""
    for folder in FOLDERS[1:]:
        if (folder / file).is_file():
            return folder / file
    where = " or ".join(str(folder) for folder in FOLDERS[1:])
    raise FileNotFoundError(f"{file} is neither in {where}: install marginflow again")


def _is_thesis(path: Path) -> bool:
    return path.name == THESIS and path.resolve() in [(folder / THESIS).resolve() for folder in FOLDERS[1:]]


def about(path: Path) -> str:
    """What an experiment is, from the comment in its first line."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def find(given: Path) -> Path:
    """The TOML file of an experiment that is given by its path or its name; FileNotFoundError where there is none."""
    by_name = at_hand()
    if not given.exists() and str(given) in by_name:
        return by_name[str(given)]
    if not given.exists():
        hint = hint_at(given.stem, by_name, "give a TOML file, a name, or a table")
        raise FileNotFoundError(
            f"{given} is neither a file nor the name of an experiment; {hint} (marginflow list names them all)"
        )
    if _is_thesis(given):
        raise ValueError(f"{given} lists what marginflow reproduce makes: give an experiment that it names")
    return given


def read(given: Path, overrides: list[str]) -> Experiment:
    """The experiment in a TOML file, of a name, or for a table.

    Args:
        given: path of a TOML file or of a table, or the name of an experiment.
        overrides: such as "train.lr=1e-4".

    Returns:
        The experiment.

    Raises:
        ValueError: where it is neither, or a key or value is wrong.
        FileNotFoundError: where there is no such file or name.
    """
    toml = find(given) if given.suffix in ("", ".toml") and not given.is_dir() else None

    from marginflow.data.tables.formats import require_format
    from marginflow.models import TABLE_MODELS
    from marginflow.runs import read_toml  # with torch, which a name that is not known need not wait for

    if toml is not None:
        return read_toml.read(toml, overrides)
    require_format(given, "an experiment (.toml, or a name) or a table")
    table = for_table(given)
    named = [
        value.strip() for key, _, value in (each.partition("=") for each in overrides) if key.strip() == "model.name"
    ]
    if named:
        table["model"] = {}  # what is said of one model means nothing to another
    if named and named[-1] in TABLE_MODELS:
        table = {"data": table["data"], "model": {}, "train": OF_SCHEMA[named[-1]]}
    return read_toml.parse(read_toml.overridden(table, overrides), str(given))


# how a density of rows of a schema is trained unless something else is said
OF_SCHEMA = {
    "mixed": {
        "epochs": 20, "batch_size": 256, "lr": 2e-3, "schedule": "cosine", "warmup_steps": 200, "ema": 0.998,
        "clip_norm": 20.0, "patience": 5,
    },
    "mixture": {"epochs": 60, "patience": 5},
}  # fmt: skip


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
    from marginflow.data.tables.formats import stem_of

    return re.sub(r"[^\w.-]", "_", stem_of(given)) or "run"
