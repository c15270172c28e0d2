"""Experiments by name: the TOML files at hand, and the one that a table alone asks for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marginflow.base.names import hint_at
from marginflow.runs.is_run import is_run

if TYPE_CHECKING:
    from marginflow.runs.schema import Experiment

OF_ONE_MODEL = ("model", "noise", "context", "preprocess", "dequantise")  # sections that go with a model
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
    """The TOML file of an experiment that is given by its path or its name; FileNotFoundError where there is none.

    A name stands for its experiment also where a folder, such as its run, is called so.
    """
    by_name = at_hand()
    if not given.is_file() and str(given) in by_name:
        return by_name[str(given)]
    if not given.exists():
        hint = hint_at(given.stem, by_name, "give a TOML file, a name, or a table")
        raise FileNotFoundError(
            f"{given} is neither a file nor the name of an experiment; {hint} (marginflow list names them all)"
        )
    if _is_thesis(given):
        raise ValueError(f"{given} lists what marginflow reproduce makes: give an experiment that it names")
    return given


def is_table(given: Sequence[Path]) -> bool:
    """Whether what is given are tables, and no experiment: told by their names, before torch is loaded.

    >>> is_table([Path("people.csv")]), is_table([Path("half_moons_maf")]), is_table([Path("year-*")])
    (True, False, True)
    """
    return len(given) > 1 or given[0].suffix not in ("", ".toml") or has_magic(str(given[0]))


def leaves_open(overrides: Sequence[str]) -> bool:
    """Whether overrides such as "train.lr=1e-4" leave the model to be chosen.

    >>> leaves_open(["train.epochs=3"]), leaves_open(["model.name=maf"]), leaves_open(["data.labels=kind"])
    (True, False, False)
    """
    keys = [each.partition("=")[0].strip() for each in overrides]
    return not any(key.partition(".")[0] in OF_ONE_MODEL or key == "data.labels" for key in keys)


def read(given: Path | Sequence[Path], overrides: list[str]) -> Experiment:
    """The experiment in a TOML file, of a name, or for a table.

    Args:
        given: path of a TOML file or of a table, or the name of an experiment; several files of one table, or patterns.
        overrides: such as "train.lr=1e-4".

    Returns:
        The experiment.

    Raises:
        ValueError: where it is neither, or a key or value is wrong.
        FileNotFoundError: where there is no such file or name.
    """
    every = [given] if isinstance(given, Path) else list(given)
    for each in every:
        _require_no_folder(each)
    toml = None if is_table(every) else find(every[0])

    from marginflow.data.tables.formats import require_format
    from marginflow.data.tables.paths import files_of
    from marginflow.runs import read_toml  # with torch, which a name that is not known need not wait for

    if toml is not None:
        return read_toml.read(toml, overrides)
    files = files_of(every)
    for file in files:
        require_format(file, "an experiment (.toml, or a name) or a table" if len(files) == 1 else "a table")
    return read_toml.parse(read_toml.overridden(table_alone(every), overrides), ", ".join(map(str, every)))


def _require_no_folder(given: Path) -> None:
    """Refuse a folder in place of a table or an experiment, such as a run: ValueError that says what to type.

    A folder that is called as an experiment stands for that.
    """
    if given.is_dir() and str(given) in at_hand():
        return
    if is_run(given):
        run = shlex.quote(str(given))
        raise ValueError(
            f"{given} is a run directory: for log p of other rows type marginflow score {run} new.csv; to resume its "
            "training, the command that began it and --resume"
        )
    if given.is_dir():
        files = shlex.quote(str(given / "*.csv"))
        raise ValueError(f"{given} is a folder: give an experiment, or a table, such as all files {files}")


def table_alone(given: Sequence[Path]) -> dict[str, Any]:
    """The experiment that a table alone asks for, as TOML would have it: its files, and a MAF by default.

    How that is trained on the rows of a table, `estimators.candidates` knows.
    """
    from marginflow.data.tables.paths import files_of

    files = files_of(given)
    path = str(files[0]) if len(files) == 1 else [str(each) for each in files]
    return {"data": {"name": "table", "path": path}, "model": {"name": "maf"}}


def run_name(given: Path | Sequence[Path]) -> str:
    """The name of a run of an experiment or table, whose files may be several."""
    from marginflow.data.tables.paths import files_of, name_of

    every = [given] if isinstance(given, Path) else list(given)
    return re.sub(r"[^\w.-]", "_", name_of(files_of(every) if is_table(every) else every)) or "run"
