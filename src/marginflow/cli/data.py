"""marginflow data: what data sets there are, where they lie, downloads; what the columns of a table are."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from marginflow.base.names import hint_at
from marginflow.cli.list import PACKAGE, first_lines, print_names
from marginflow.cli.output import say
from marginflow.cli.typed import names_in

_LISTS = ("columns", "drop", "context")  # options that name columns
DataName = Annotated[str, typer.Argument(help="A data set, see data list.")]


def list_() -> None:
    """The data sets, and where they are."""
    from marginflow.data import SOURCES, data_root

    about = first_lines(PACKAGE / "data" / "load.py", "DATA_SETS")
    for name, source in SOURCES.items():
        about[name] += " [not here: fetch it]" if source.missing() else ""
    print_names("data sets, for [data] name = ...", about)
    say(f"files are looked for below {data_root()} (MARGINFLOW_DATA)")


def describe(
    file: Annotated[Path, typer.Argument(help="A table: .csv, .tsv, .parquet, .feather, .npy, ...")],
    overrides: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="schema.COLUMN.OPTION=VALUE, such as schema.age.kind=integer; or data.decimal=,."),
    ] = None,
    drop: Annotated[Optional[str], typer.Option(help="Columns to leave out: a,b.")] = None,
    columns: Annotated[Optional[str], typer.Option(help="Columns to use: a,b; all by default.")] = None,
    context: Annotated[Optional[str], typer.Option(help="Columns given which the others are modelled: a,b.")] = None,
    weights: Annotated[Optional[str], typer.Option(help="A column of weights, by which rows count.")] = None,
    delimiter: Annotated[Optional[str], typer.Option(help="Between values of a .csv; told by the file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the schema as JSON.")] = False,
) -> None:
    """Print what each column of a table is, and what a density will make of it."""
    from rich.console import Console

    from marginflow.data.tables.describe import described
    from marginflow.report.schema_table import how_to_take_back, schema_table

    lists = {"columns": columns, "drop": drop, "context": context}
    typed: dict[str, Any] = {name: names_in(text) for name, text in lists.items() if text is not None}
    typed |= {name: text for name, text in {"weights": weights, "delimiter": delimiter}.items() if text is not None}
    schema, found = described(file, **_as_set(overrides or [], typed))
    if json:
        say(schema.to_json())
    else:
        Console().print(schema_table(schema, found))
        how = how_to_take_back(schema)
        if how is not None:
            say(how)


def fetch(name: DataName) -> None:
    """Download what is missing of a data set, check it, and say where it is."""
    from marginflow.data import source

    say(source(name).fetch())


def path(name: DataName) -> None:
    """Where the files of a data set are."""
    from marginflow.data import source

    say(source(name).path())


def _as_set(overrides: list[str], more: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `described` that --set and other options give."""
    from marginflow.data.column_options import options_in
    from marginflow.data.tables.dialect import Asked
    from marginflow.runs.read_toml import overridden

    table = overridden({}, overrides)
    others = [name for name in table if name not in ("schema", "data")]
    if others:
        raise ValueError(f"--set takes schema.COLUMN.OPTION=VALUE or data.OPTION=VALUE here; got {others[0]!r}")
    of_data = {**table.get("data", {}), **more}
    known = [each.name for each in fields(Asked)]
    every = [*_LISTS, "weights", *known]
    wrong = [name for name in of_data if name not in every]
    if wrong:
        raise ValueError(f"unknown key data.{wrong[0]}; {hint_at(wrong[0], every)}")
    lists = {
        name: names_in(each) if isinstance(each, str) else each for name, each in of_data.items() if name in _LISTS
    }
    return {
        "options": options_in(table.get("schema", {})),
        "columns": lists.get("columns"),
        "drop": lists.get("drop", []),
        "given": lists.get("context", []),
        "weights": of_data.get("weights"),
        "asked": Asked(**{name: of_data[name] for name in known if name in of_data}),
    }
