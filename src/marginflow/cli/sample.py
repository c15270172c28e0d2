"""marginflow sample: rows or images from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from marginflow.cli.options import Deterministic, Device, Run
from marginflow.cli.output import say
from marginflow.runs.is_run import require_run


def sample(
    run: Run,
    num_samples: Annotated[int, typer.Option("--num-samples", "-n", help="How many.")] = 64,
    to: Annotated[Path, typer.Option("--output", "-o", help="A .png, .csv, .parquet, .feather or .npy file.")] = Path(
        "samples.png"
    ),
    label: Annotated[Optional[str], typer.Option(help="Only of this class, for a run with labels.")] = None,
    temperature: Annotated[float, typer.Option(help="Scale of the base; below 1 nearer the modes.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """Draw samples from a run: a grid of images or a scatter plot (.png), or rows (.csv, .parquet, .feather, .npy)."""
    require_run(run)

    import torch
    from rich.console import Console

    from marginflow.base import seeds
    from marginflow.base.devices import device_on
    from marginflow.data.tables.write import FORMATS, require_output, write
    from marginflow.evaluation.sample import RawSamples
    from marginflow.report.plots import require_picture, write_picture
    from marginflow.runs.run import Run

    require_output(to, (".png", *FORMATS))
    opened = Run.open(run, device_on(device))
    spec = opened.spec
    as_picture = to.suffix.lower() == ".png"
    if as_picture:
        require_picture(num_samples, spec.features)
    draws = RawSamples(opened.model, spec, num_samples, seed, label=label, temperature=temperature)
    with Console(stderr=True).status(f"drawing {num_samples:,} samples"), seeds.deterministic(deterministic):
        if as_picture:
            write_picture(torch.cat(list(draws)), spec, to)
        else:
            write(draws, spec, to)
    if draws.redrawn:
        say(f"marginflow: {draws}", err=True)
    say(f"wrote {to}")
