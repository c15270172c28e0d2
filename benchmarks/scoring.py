"""How many rows a second `marginflow score` gives their log p, from file to file: `python -m benchmarks.scoring`.

Each model is trained for an epoch, as its speed does not depend on how well it fits, and scores two files, one of which
has more rows; what the further rows take is their rate, without the start of the process. The calls of all models take
turns; medians are reported.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv, parquet

OUTPUT = Path("benchmarks/results/scoring.json")
ADULT = Path(__file__).parents[2] / "shared/data/tables/adult-train.csv.gz"
FEW, MANY, TRAINED_ON = 100_000, 600_000, 20_000
REPEATS = 5
REALS = {
    "maf": ["--model", "maf", "--set", "model.blocks=3", "--set", "model.hidden=[128,128]"],
    "maf_mog": ["--model", "maf_mog", "--set", "model.blocks=3", "--set", "model.hidden=[128,128]"],
}
MIXED = {"mixed": ["--model", "mixed"]}
ASKED = {"maf": 100_000, "maf_mog": 40_000, "mixed": 40_000}  # rows a second


def ten_reals(num_rows: int) -> pa.Table:
    """Ten columns of real numbers that depend on each other."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((num_rows, 10)) @ rng.standard_normal((10, 10))
    return pa.table({f"c{i}": x[:, i] for i in range(10)})


def fifteen_columns(num_rows: int) -> pa.Table:
    """The rows of the census table again and again, whose fifteen columns are of all kinds."""
    table = csv.read_csv(ADULT, csv.ReadOptions(autogenerate_column_names=True))
    return table.take(np.arange(num_rows) % table.num_rows)


def marginflow(*given: object) -> float:
    """Run the command; its seconds."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "marginflow", *map(str, given)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"marginflow {' '.join(map(str, given))}:\n{done.stderr}")
    return time.perf_counter() - started


def prepared(folder: Path, names: dict[str, list[str]], tables: dict[str, pa.Table]) -> None:
    """Write the tables, and train each model of these names on the smallest."""
    folder.mkdir()
    for name, table in tables.items():
        parquet.write_table(table, folder / f"{name}.parquet")
    for name, options in names.items():
        given = ["train", folder / "train.parquet", *options, "--set", "train.epochs=1", "--run-dir", folder / name]
        marginflow(*given)


def main(repeats: int = REPEATS, output: Path | None = OUTPUT) -> None:
    """Train, time, print, write."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        kinds = {"reals": (REALS, ten_reals)}
        if ADULT.is_file():
            kinds["mixed"] = (MIXED, fifteen_columns)
        else:
            print(f"mixed: skipped, there is no {ADULT}")
        for kind, (models, table) in kinds.items():
            rows = {"train": table(TRAINED_ON), "few": table(FEW), "many": table(MANY)}
            prepared(root / kind, models, rows)
        seconds: dict[str, dict[str, list[float]]] = {}
        for _ in range(repeats):
            for kind, (models, _) in kinds.items():
                for model in models:
                    for size in ("few", "many"):
                        given = ["score", root / kind / model, root / kind / f"{size}.parquet", "--keep", ""]
                        took = marginflow(*given, "-o", root / "scores.parquet")
                        seconds.setdefault(model, {}).setdefault(size, []).append(took)
    found: dict[str, Any] = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "models": {}}
    for model, each in seconds.items():
        more = [many - few for few, many in zip(each["few"], each["many"], strict=True)]
        rate = (MANY - FEW) / statistics.median(more)
        found["models"][model] = {
            "rows_a_second": rate, "asked": ASKED[model], "seconds_few": each["few"], "seconds_many": each["many"],
        }  # fmt: skip
        whole = statistics.median(each["many"])
        print(f"{model}: {rate:,.0f} rows a second (asked: {ASKED[model]:,}); {MANY:,} rows in {whole:.1f} s")
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=REPEATS)
    main(options.parse_args().repeats)
