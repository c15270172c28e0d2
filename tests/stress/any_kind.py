"""Every table of a folder through describe, train, evaluate and sample: what is drawn has the file's arrow types.

`python -m stress.any_kind FOLDER` in tests/; a line a table, exit status 1 where one fails. Without a folder: nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet
from typer.testing import CliRunner

from marginflow.cli.app import app
from marginflow.data.tables.formats import TEXT
from marginflow.runs.run import Run

BLANKS = ["", "?", "NA", "null"]
QUICK = ("--set", "model.name=mixed", "--set", "model.hidden=[32, 32]", "--set", "train.epochs=2")


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, f"{arguments[0]}: {result.output.strip().splitlines()[-1:]}"
    return result.output


def types_of(path: Path, names: list[str] | None = None) -> dict[str, pa.DataType]:
    """The arrow type of each column; names: of a text without a header."""
    if path.suffix == ".parquet":
        return {field.name: field.type for field in parquet.read_schema(path)}
    convert = csv.ConvertOptions(null_values=BLANKS, strings_can_be_null=True)
    found = csv.read_csv(path, csv.ReadOptions(column_names=names), convert_options=convert)
    return {field.name: field.type for field in found.schema}


def passed(path: Path, folder: Path) -> str:
    """Take a table all the way; what is to be said of it."""
    call("data", "describe", path)
    call("train", path, *QUICK, "--run-dir", folder / "run")
    call("evaluate", folder / "run", "-o", folder / "scores.csv")
    drawn = {ending: folder / f"drawn{ending}" for ending in (".csv", ".parquet")}
    for each in drawn.values():
        call("sample", folder / "run", "-n", 3000, "-o", each)
    schema = Run.open(folder / "run").spec.schema
    assert schema is not None
    names = [column.name for column in schema.columns]
    headless = names if names[0] == "x0" else None
    same = drawn[".parquet" if path.suffix == ".parquet" else ".csv"]
    expected = types_of(path, headless)
    for name, kind in types_of(same).items():
        assert kind == expected[name], f"column {name!r} is {kind}, not {expected[name]}"
    assert list(types_of(drawn[".parquet"])) == schema.names
    return f"{len(schema.names)} of {len(names)} columns, {'no header' if headless else 'as named'}"


def main(folder: Path) -> int:
    failed = 0
    for path in sorted(each for each in folder.iterdir() if each.suffix in (".parquet", ".gz", *TEXT)):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            try:
                said = passed(path, Path(place))
            except AssertionError as error:
                failed, said = failed + 1, f"FAILED {error}"
        print(f"{path.name}: {said}, {time.perf_counter() - started:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))) if len(sys.argv) > 1 else 0)
