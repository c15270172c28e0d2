"""marginflow data: what data sets there are, where they lie, downloads."""

from __future__ import annotations

from typing import Annotated

import typer

DataName = Annotated[str, typer.Argument(help="A data set, see data list.")]


def list_() -> None:
    """The data sets, and where they are."""
    from marginflow.data import DATA_SETS, SOURCES, data_root
    from marginflow.report.tables import listing
    from marginflow.runs.schema import about as about_function

    def about(name: str) -> str:
        source = SOURCES.get(name)
        missing = source is not None and source.missing()
        return f"{about_function(DATA_SETS[name])}{' [not here: fetch it]' if missing else ''}"

    listing("data sets, for [data] name = ...", {name: about(name) for name in DATA_SETS})
    typer.echo(f"files are looked for below {data_root()} (MARGINFLOW_DATA)")


def fetch(name: DataName) -> None:
    """Download what is missing of a data set, check it, and say where it is."""
    from marginflow.data import source

    typer.echo(source(name).fetch())


def path(name: DataName) -> None:
    """Where the files of a data set are."""
    from marginflow.data import source

    typer.echo(source(name).path())
