"""The same seed, machine and threads give the same bits, each time in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TABLE = "[data]\nname = 'digits'\n[preprocess]\nlogit = 0.05\n[model]\nname = 'maf'\nhidden = [32]\nblocks = 2\n"
REST = "batch_norm = true\ndropout = 0.1\n[noise]\nfeatures = 2\n[train]\nepochs = 2\nema = 0.9\n"


ALL = """
import sys
from typer.testing import CliRunner
from marginflow.cli import app

for command in (
    "train digits.toml --run-dir RUN --deterministic",
    "evaluate RUN -K 5 -o RUN.npy --deterministic --no-figures",
    "sample RUN -n 1200 -o RUN.parquet --deterministic",
    "sample RUN -n 1200 -o RUN.1.parquet --deterministic --seed 1",
):
    result = CliRunner().invoke(app, command.replace("RUN", sys.argv[1]).split())
    assert result.exit_code == 0, result.output
"""


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "digits.toml").write_text(TABLE + REST)
    for run in ("one", "two"):
        command = [sys.executable, "-c", ALL, run]  # a process for each
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=200)
    for name in ("{}/model.safetensors", "{}.npy", "{}.parquet", "{}.1.parquet"):
        one, two = ((tmp_path / name.format(run)).read_bytes() for run in ("one", "two"))
        assert one == two, name
    one, two = (json.loads((tmp_path / run / "evaluation.json").read_text()) for run in ("one", "two"))
    for record in (one, two):
        del record["evaluate_seconds"], record["train_seconds"]
    assert one == two
    assert (tmp_path / "one.1.parquet").read_bytes() != (tmp_path / "one.parquet").read_bytes()
