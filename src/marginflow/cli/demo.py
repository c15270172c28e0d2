"""marginflow demo: the main job twice, half moons and a table of orders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the runs and figures go.")] = Path("runs/demo"),
    epochs: Annotated[Optional[int], typer.Option(min=1, help="At most so many epochs for each training.")] = None,
) -> None:
    """Half moons, without and with noise dimensions, and a table of orders: trained, scored, sampled, in figures."""
    from marginflow.cli.demos.run import run_demo

    run_demo(output, epochs)
