"""marginflow data: what data sets there are, where they lie, downloads."""

from __future__ import annotations

from typing import Annotated

import typer

from marginflow.cli.list import PACKAGE, first_lines, print_names
from marginflow.cli.output import say

DataName = Annotated[str, typer.Argument(help="A data set, see data list.")]


def list_() -> None:
    """The data sets, and where they are."""
    from marginflow.data import SOURCES, data_root

    about = first_lines(PACKAGE / "data" / "load.py", "DATA_SETS")
    for name, source in SOURCES.items():
        about[name] += " [not here: fetch it]" if source.missing() else ""
    print_names("data sets, for [data] name = ...", about)
    say(f"files are looked for below {data_root()} (MARGINFLOW_DATA)")


def fetch(name: DataName) -> None:
    """Download what is missing of a data set, check it, and say where it is."""
    from marginflow.data import source

    say(source(name).fetch())


def path(name: DataName) -> None:
    """Where the files of a data set are."""
    from marginflow.data import source

    say(source(name).path())
