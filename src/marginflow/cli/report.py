"""marginflow report: one page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    sources: Annotated[
        list[Path], typer.Argument(help="Run directories, or JSON files of reproduce.", metavar="RUN...")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
) -> None:
    """One page about runs, that needs no network: accounting, curves, figures, settings."""
    from marginflow.report.page import read_item, write_page
    from marginflow.runs.run import as_item

    if len({source.resolve() for source in sources}) < len(sources):
        raise ValueError("a source is named twice: give each once")
    items = {source: read_item(source) if source.is_file() else as_item(source) for source in sources}
    typer.echo(f"wrote {write_page(items, output)}")
