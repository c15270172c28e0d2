"""marginflow reproduce: a figure or table of the thesis from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from marginflow.base.names import hint_at
from marginflow.cli.options import Device
from marginflow.cli.output import say


def reproduce(
    item: Annotated[str, typer.Argument(help="fig1 ... fig8, table1, one of the others, or all.")],
    epochs: Annotated[Optional[int], typer.Option(help="Instead of those of the experiments.", min=1)] = None,
    run_dir: Annotated[Path, typer.Option(help="The folder of the runs.")] = Path("runs/thesis"),
    results: Annotated[Path, typer.Option(help="Where ITEM.json goes.")] = Path("experiments/results"),
    with_report: Annotated[bool, typer.Option("--report", help="Write the report of it as well.")] = False,
    device: Device = "auto",
) -> None:
    """A figure or table of the thesis: train, or resume, evaluate, draw. It may be interrupted and called again."""
    from marginflow.runs.items import items

    known = items()
    if item != "all" and item not in known:
        raise ValueError(f"there is no item {item!r}: {hint_at(item, ['all', *known])}")

    from marginflow.cli.reproduce_item import in_turn
    from marginflow.report.page import read_item, write_page

    found, stopped = [], []
    for name, path in in_turn(known if item == "all" else {item: known[item]}, run_dir, results, epochs, device):
        if isinstance(path, Path):
            found.append(path)
            say(f"wrote {path}")
        elif item == "all":
            stopped.append(name)
            say(f"marginflow: {name}: {' '.join(str(path).split())}", err=True)
        else:
            raise path
    if with_report and found:
        say(f"wrote {write_page({path: read_item(path) for path in found}, results / f'{item}.html')}")
    if stopped:
        raise ValueError(f"{', '.join(stopped)} did not come to an end, for the reasons above")
