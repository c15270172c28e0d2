"""marginflow demo: half moons, without and with noise dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the runs and figures go.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(help="Epochs for each of the two flows.")] = 100,
) -> None:
    """Half moons through planar flows, without and with noise dimensions: accounting, figures, samples."""
    from marginflow.cli.run_demo import run_demo

    run_demo(output, epochs)
