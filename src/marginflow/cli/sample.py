"""marginflow sample: rows or images from a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from marginflow.cli.options import Deterministic, Device, Run
from marginflow.cli.output import say
from marginflow.runs.is_run import require_run

if TYPE_CHECKING:
    from marginflow.data import DataSpec
    from marginflow.evaluation.sample import RawSamples


def sample(
    run: Run,
    num_samples: Annotated[
        Optional[int], typer.Option("--num-samples", "-n", help="How many; 64, or one for each context.")
    ] = None,
    to: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="A .png, .csv, .parquet, .feather or .npy file."),
    ] = None,
    label: Annotated[Optional[str], typer.Option(help="Only of this class, for a run with labels.")] = None,
    context_from: Annotated[
        Optional[Path], typer.Option("--context-from", help="A table of contexts, which samples get in turn.")
    ] = None,
    given: Annotated[
        Optional[list[str]],
        typer.Option(
            help="A column's value, price=50, as often as there are; or a file of rows, which samples get in turn."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="For which draws are weighed, where --given is not exact.")] = 60.0,
    temperature: Annotated[float, typer.Option(help="Scale of the base; below 1 nearer the modes.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """Draw samples from a run: a grid of images or a scatter plot (.png), or rows (.csv, .parquet, .feather, .npy).

    With --given the other columns are drawn: exactly where the given ones come first in the order of the model, of
    mixtures always; otherwise by weighted draws, and how many rows are distinct is said. An empty value is a blank.
    """
    require_run(run)
    if not 0 < seconds < math.inf:
        raise ValueError(f"--seconds must be above 0, such as 60; got {seconds:g}")
    if given and (label is not None or temperature != 1):
        raise ValueError("--given draws from the model as it is: leave --label and --temperature out")

    from rich.console import Console

    from marginflow.base import seeds
    from marginflow.base.devices import device_on
    from marginflow.cli.sample_given import rows_given, sample_given, the_context
    from marginflow.data.schema import CONTINUOUS
    from marginflow.data.tables.write import FORMATS, require_output
    from marginflow.evaluation.sample import RawSamples
    from marginflow.report.plots import require_picture
    from marginflow.runs.evaluate import contexts_of
    from marginflow.runs.run import Run

    if to is not None:
        require_output(to, (".png", *FORMATS))
    opened = Run.open(run, device_on(device))
    spec = opened.spec
    has_points = not given and (
        spec.schema is None or all(column.kind in CONTINUOUS for column in spec.schema.modelled)
    )
    to = to or Path("samples.png" if has_points else "samples.csv")
    as_picture = to.suffix.lower() == ".png"
    if as_picture and not has_points:
        raise ValueError(f"{to} shows images or points, no rows with columns of other kinds: write .csv or .parquet")
    context = None if context_from is None else contexts_of(opened, context_from)
    if given:
        rows = rows_given(opened, given)
        if rows.names:
            with Console(stderr=True).status("drawing rows with given columns"), seeds.deterministic(deterministic):
                sample_given(opened, rows, num_samples, to, context, seed, seconds)
            return
        context = the_context(rows, context)  # nothing else is given
    one = context is None or (given is not None and len(context) == 1)
    number = num_samples if num_samples is not None else 64 if one or context is None else len(context)
    if as_picture:
        require_picture(number, spec.features)
    draws = RawSamples(opened.model, spec, number, seed, label=label, temperature=temperature, context=context)
    with Console(stderr=True).status(f"drawing {number:,} samples"), seeds.deterministic(deterministic):
        _write(draws, spec, to)
    if draws.redrawn:
        say(f"marginflow: {draws}", err=True)
    say(f"wrote {to}")


def _write(draws: RawSamples, spec: DataSpec, to: Path) -> None:
    """Samples as a picture, or as rows, with their contexts where a schema has such."""
    from dataclasses import replace

    import torch

    from marginflow.data.tables.contexts import whole
    from marginflow.data.tables.write import write
    from marginflow.evaluation.sample import with_contexts
    from marginflow.report.plots import write_picture

    if to.suffix.lower() == ".png":
        write_picture(torch.cat(list(draws)), spec, to)
    elif draws.context is not None and spec.schema is not None and spec.schema.given:
        write(with_contexts(draws, spec.schema), replace(spec, schema=whole(spec.schema)), to)
    else:
        write(draws, spec, to)
