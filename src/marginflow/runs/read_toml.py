"""An experiment from its TOML file, with overrides; every mistake is named in one line."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from marginflow.base.names import hint_at
from marginflow.base.overrides import column_option, typed
from marginflow.data.tables.paths import absolute
from marginflow.runs.schema import IN_MEMORY, NAMES, SECTIONS, Evaluate, Experiment
from marginflow.storage.limits import text_of
from marginflow.training import TrainConfig

LIKELY = ("train", "data", "model", "noise")  # sections of a key that is given without one


def read(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment in a TOML file.

    Args:
        path: of the file.
        overrides: such as "train.lr=1e-4".

    Returns:
        The experiment.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is no TOML file, or a key or value is wrong; the message names the key.
    """
    try:
        table = tomllib.loads(text_of(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: give the path of an experiment's TOML file") from None
    except (ValueError, IsADirectoryError, RecursionError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    overrides = list(overrides)
    if not any(override.partition("=")[0].strip() == "data.path" for override in overrides):
        _stay_in(table, path)
    _make_absolute(table, path.parent)
    return parse(overridden(table, overrides), str(path))


def parse(table: Mapping[str, Any], source: str) -> Experiment:
    """The experiment in a table; ValueError that names the first wrong key.

    Text with commas, where a list is needed, is one: hidden = "64,64".
    """
    try:
        return Experiment.model_validate(table)
    except ValidationError as error:
        with suppress(ValidationError):
            return Experiment.model_validate(_with_lists(table, error))
        raise ValueError(f"{source}: {_explain(error)}") from error


def _with_lists(table: Mapping[str, Any], error: ValidationError) -> Mapping[str, Any]:
    """The table with lists in place of those texts with commas that were refused."""
    changed = {name: dict(section) if isinstance(section, dict) else section for name, section in table.items()}
    for each in error.errors():
        section, key = str(each["loc"][0]), _field(each["loc"])[-1]
        text = changed.get(section, {}).get(key) if isinstance(changed.get(section), dict) else None
        if isinstance(text, str) and "," in text:
            with suppress(tomllib.TOMLDecodeError):
                changed[section][key] = tomllib.loads(f"value = [{text}]")["value"]
    return changed


def overridden(table: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The table of an experiment with overrides such as "train.lr=1e-4" in it, and the path of its data absolute."""
    for override in overrides:
        _override(table, override)
    _make_absolute(table, Path())
    return table


def _stay_in(table: dict[str, Any], file: Path) -> None:
    """Refuse a file of an experiment, which may come from a stranger, that names data outside its own folder."""
    folder = file.parent.resolve()
    for path in _paths(table):
        if not (folder / path).resolve().is_relative_to(folder):
            given = table["data"]["path"]
            raise ValueError(
                f"{file}: data.path = {path!r} lies outside the folder of the experiment: move it there, or if "
                f"that is what you mean give --set {shlex.quote(f'data.path={typed(given)}')}"
            )


def _make_absolute(table: dict[str, Any], folder: Path) -> None:
    """Make the paths of the data absolute, so that the run can be evaluated from anywhere.

    In a file they are relative to the file's folder, on the command line to the working directory. Rows in memory have
    none.
    """
    found = [absolute(path, folder) for path in _paths(table)]
    if found:
        data = table["data"]
        data["path"] = found[0] if isinstance(data["path"], str) else found


def _paths(table: Mapping[str, Any]) -> list[str]:
    """The paths of the data in the table of an experiment, where it has such."""
    data = table.get("data")
    path = data.get("path") if isinstance(data, dict) else None
    if isinstance(path, list) and all(isinstance(each, str) for each in path):
        return path
    return [path] if isinstance(path, str) and path != IN_MEMORY else []


def evaluation(experiment: Experiment, overrides: Mapping[str, Any]) -> Evaluate:
    """How to evaluate, with overrides for what the experiment says; those that are None do not count."""
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Evaluate.model_validate({**experiment.evaluate.model_dump(), **given})
    except ValidationError as error:
        raise ValueError(_explain(error)) from error


def _override(table: dict[str, Any], override: str) -> None:
    """Set a key such as train.lr in the table to the TOML value (or else the text) behind the equals sign."""
    in_quotes = column_option(override)
    if in_quotes is None:
        key, equals, text = override.partition("=")
        *parents, last = _path(key)
    else:
        (name, last, text), equals = in_quotes, "="
        parents = ["schema", name]
    if not equals or not parents or not last:
        meant = _meant(last.strip()) if equals and not parents else []
        hint = f"; did you mean {' or '.join(f'{each}={text.strip()}' for each in meant)}?" if meant else ""
        raise ValueError(f"--set takes SECTION.KEY=VALUE, such as train.lr=1e-4; got {override!r}{hint}")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {override}: {parent} is a value, not a section")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text.strip()


def _meant(key: str) -> list[str]:
    """What a key without its section may be, the likely first, two at most.

    >>> _meant("epoch"), _meant("seed"), _meant("x")
    (['train.epochs'], ['train.seed', 'data.seed'], [])
    """
    sections = {**SECTIONS, "train": {"": TrainConfig}}
    keys = {name: {key for kind in sections[name].values() for key in kind.model_fields} for name in LIKELY}
    close = get_close_matches(key, sorted(set().union(*keys.values())), 1, cutoff=0.7)
    return [f"{name}.{each}" for each in close for name, known in keys.items() if each in known][:2]


def _path(key: str) -> list[str]:
    """The parts of a key; the name of a column in schema.NAME.OPTION may hold dots.

    >>> _path("train.lr"), _path("schema.Sepal.Width.kind")
    (['train', 'lr'], ['schema', 'Sepal.Width', 'kind'])
    """
    parts = key.strip().split(".")
    if parts[0] != "schema" or len(parts) < 3:
        return parts
    return ["schema", ".".join(parts[1:-1]), parts[-1]]


def _explain(error: ValidationError) -> str:
    """The first mistake in one line: where, what, and what would be right."""
    first = error.errors()[0]
    loc = _field(first["loc"])
    where = ".".join(part for i, part in enumerate(loc) if i != 1 or part not in NAMES)
    context = first.get("ctx", {})
    if first["type"] == "extra_forbidden":
        fields = _section_at(loc[:-1]).model_fields
        known = [field.alias or name for name, field in fields.items()]
        close = get_close_matches(loc[-1], known, 1, cutoff=0.7)
        hint = f"; did you mean {'.'.join([*where.split('.')[:-1], close[0]])}?" if close else ""
        return f"unknown key {where}; known here: {', '.join(known)}{hint}"
    if first["type"] == "union_tag_invalid":
        tag = str(context.get("tag"))
        return f"unknown {where} {tag!r}; {hint_at(tag, SECTIONS[where])}"
    if first["type"] == "union_tag_not_found":
        return f"{where}.name is missing"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "value_error" and where == "schema":  # which says itself where
        return "; ".join(str(context.get("error")).splitlines())
    if first["type"] == "value_error":
        return f"{where}: {context.get('error')}"
    # a key that may be of several types has a message for each
    messages = dict.fromkeys(each["msg"] for each in error.errors() if _field(each["loc"]) == loc)
    return f"{where} = {first['input']!r}: " + ", or ".join(text[0].lower() + text[1:] for text in messages)


def _field(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The part of a location of pydantic's that names a key; what follows is the type that it tried."""
    depth = 3 if len(loc) > 1 and loc[1] in SECTIONS.get(str(loc[0]), {}) else 2
    return tuple(str(part) for part in loc[:depth])


def _section_at(loc: tuple[str, ...]) -> type[BaseModel]:
    """The section that a location of pydantic's lies in, such as ("model", "maf")."""
    if len(loc) == 2:
        return SECTIONS[loc[0]][loc[1]]
    return cast("type[BaseModel]", Experiment.model_fields[loc[0]].annotation) if loc else Experiment
