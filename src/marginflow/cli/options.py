"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

Run = Annotated[Path, typer.Argument(help="A run directory, made by train.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
NumSamples = Annotated[Optional[int], typer.Option("--num-samples", "-K", help="Importance samples a row.")]
Rows = Annotated[Optional[int], typer.Option(help="Only the first ROWS test rows.")]
Seed = Annotated[Optional[int], typer.Option(help="Seed of all noise.")]
Table = Annotated[Path, typer.Argument(help="The rows: .csv, .tsv, .parquet, .feather, .npy, ...; - reads stdin.")]
TableOutput = Annotated[
    Path, typer.Option("--output", "-o", help="A .csv, .tsv, .parquet, .feather or .npy file; - is stdout, as csv.")
]
StdinFormat = Annotated[
    Optional[str],
    typer.Option("--format", help="Of stdin, if its first bytes do not tell: csv, tsv, parquet, feather."),
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Refuse operations that the order of threads changes.")
]
