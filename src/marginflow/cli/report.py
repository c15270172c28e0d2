"""marginflow report: one page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginflow.cli.output import say
from marginflow.runs.is_run import require_run


def report(
    sources: Annotated[
        list[Path], typer.Argument(help="Run directories, or JSON files of reproduce.", metavar="RUN...")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
) -> None:
    """One page about runs, that needs no network: accounting, curves, figures, settings."""
    for source in sources:
        if not source.is_file():
            require_run(source)

    from marginflow.report.page import read_item, require_page_path, write_page
    from marginflow.runs.run import Run

    require_page_path(output)
    if len({source.resolve() for source in sources}) < len(sources):
        raise ValueError("a source is named twice: give each once")
    items = {source: read_item(source) if source.is_file() else Run.open(source).as_item() for source in sources}
    say(f"wrote {write_page(items, output)}")
