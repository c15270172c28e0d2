"""The command line on tables of the users' own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import MOONS, Call, fails, succeeds
from pyarrow import csv, feather, parquet

pytestmark = pytest.mark.usefixtures("single")


def table_of(path: str, n: int = 200, **columns: object) -> None:
    rng = np.random.default_rng(0)
    every = {"height": rng.standard_normal(n), "weight": 3 * rng.standard_normal(n) + 1, **columns}
    csv.write_csv(pa.table(every), path)


@pytest.mark.slow
def test_a_table_is_trained_on_as_it_is(call: Call) -> None:
    table_of("people.csv")
    output = succeeds(call("train", "people.csv", "--model", "maf", "--set", "train.epochs=2"))
    assert "next, marginflow evaluate runs/people" in output
    table = succeeds(call("evaluate", "runs/people", "-o", "scores.parquet"))
    assert "log p is that of a density" in table
    assert "NLL" not in table
    figures = {path.name for path in Path("runs/people/figures").iterdir()}
    assert {"training.png", "training.svg", "marginals.png", "density.svg", "latents.png", "epochs.png"} <= figures
    scores = parquet.read_table("scores.parquet")["log_prob"].to_numpy()
    record = json.loads(Path("runs/people/evaluation.json").read_text())
    assert -scores.mean() == pytest.approx(record["test"]["raw_nll"], rel=1e-6)
    for name in ("a.parquet", "a.feather", "a.csv"):
        succeeds(call("sample", "runs/people", "-n", 20, "-o", name))
    drawn = parquet.read_table("a.parquet")
    assert drawn.column_names == ["height", "weight"]
    assert drawn.equals(feather.read_table("a.feather"))
    assert Path("a.csv").read_text().startswith("height,weight\n")
    succeeds(call("sample", "runs/people", "-n", 20, "--temperature", 0.1, "-o", "b.parquet"))
    assert parquet.read_table("b.parquet")["height"].to_numpy().std() < drawn["height"].to_numpy().std() / 2
    fails(call("sample", "runs/people", "--temperature", 0), "temperature must be a positive number; got 0")
    fails(call("sample", "runs/people", "--label", "a"), "trained without labels")


def test_another_table_is_evaluated_by_its_columns(call: Call) -> None:
    table_of("people.csv")
    succeeds(call("train", "people.csv", "--model", "maf", "--set", "train.epochs=1"))
    before = succeeds(call("evaluate", "runs/people", "--no-figures"))
    table_of("other.csv", 50)
    assert "mean over 50 rows" in succeeds(call("evaluate", "runs/people", "--data", "other.csv"))
    assert Path("runs/people/evaluation.json").exists()
    assert "mean over 20 rows" in before
    table_of("wide.csv", 50, age=np.arange(50.0))
    result = call("evaluate", "runs/people", "--data", "wide.csv")
    assert "warning: wide.csv: 'age' left out" in result.stderr
    csv.write_csv(pa.table({"height": np.arange(50.0), "age": np.arange(50.0)}), "narrow.csv")
    fails(call("evaluate", "runs/people", "--data", "narrow.csv"), "lacks 'weight', and has 'age' instead")
    original = Path("people.csv").read_bytes()
    csv.write_csv(pa.table({"height": np.arange(50.0), "age": np.arange(50.0)}), "people.csv")
    fails(call("evaluate", "runs/people"), "people.csv has no column 'weight'; it has 'height', 'age'")
    table_of("people.csv", 201)
    kept = Path("runs/people/evaluation.json").read_bytes()
    changed = "the data have changed since runs/people was trained: split anew, rows .* would be held out: .* --data"
    fails(call("evaluate", "runs/people"), changed)
    fails(call("train", "people.csv", "--model", "maf", "--resume", "--set", "train.epochs=3"), changed)
    assert Path("runs/people/evaluation.json").read_bytes() == kept
    Path("people.csv").write_bytes(original)
    assert "mean over 20 rows" in succeeds(call("evaluate", "runs/people", "--no-figures"))
    turned = csv.read_csv("people.csv").select(["weight", "height"])
    csv.write_csv(turned, "people.csv")
    assert "mean over 20 rows" in succeeds(call("evaluate", "runs/people", "--no-figures"))


def test_another_table_comes_with_its_delimiter_and_labels(call: Call) -> None:
    text = "a;kind\n" + "".join(f"{i % 17};{'uv'[i % 2]}\n" for i in range(100))
    Path("semi.csv").write_text(text)
    options = ("--set", "data.delimiter=;", "--set", "data.labels=kind", "--set", "train.batch_size=20")
    succeeds(call("train", "semi.csv", "--set", "train.epochs=1", *options))
    result = call("evaluate", "runs/semi", "--data", "semi.csv")
    assert "mean over 100 rows" in succeeds(result)
    assert "log p given the label" in result.output
    assert "warning" not in result.stderr
    Path("semi.csv").write_text(text.replace("v", "w"))
    fails(
        call("evaluate", "runs/semi", "--data", "semi.csv"), "has the label 'w', which the model does not know; .*'v'"
    )


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"city": ["Paris"] * 200}, [], "column 'city' holds text, 'Paris' in row 0"),
        ({}, ["--set", "data.labels=city"], "no column 'city'; it has 'height', 'weight'"),
        ({}, ["--set", "data.drop=['age']"], "no column 'age'"),
        ({}, ["--set", "data.validation=2.0"], "test must be positive, validation 0 or more"),
    ],
)
def test_mistakes_in_tables_are_one_line(
    call: Call, columns: dict[str, object], arguments: list[str], message: str
) -> None:
    table_of("people.csv", **columns)
    fails(call("train", "people.csv", "--model", "maf", *arguments), message)
    assert not Path("runs").exists()


def test_a_constant_column_is_a_warning(call: Call) -> None:
    table_of("people.csv", one=np.ones(200))
    result = call("train", "people.csv", "--model", "maf", "--set", "train.epochs=1")
    assert result.exit_code == 0
    assert "marginflow: warning: column without a density: 'one' is constant (1)" in result.stderr


def test_shares_are_brought_to_the_line_by_a_logit(call: Call) -> None:
    rng = np.random.default_rng(0)
    shares = pa.table({"a": rng.beta(0.5, 0.5, 300), "b": rng.beta(2, 1, 300)})
    csv.write_csv(shares, "shares.csv")
    logit = ("--set", "train.epochs=1", "--set", "model.hidden=[8]", "--set", "preprocess.logit=0.01")
    succeeds(call("train", "shares.csv", *logit))
    succeeds(call("sample", "runs/shares", "-n", 500, "-o", "drawn.parquet"))
    for column in parquet.read_table("drawn.parquet").columns:
        assert column.to_numpy().min() > -0.0103
        assert column.to_numpy().max() < 1.0103
    csv.write_csv(shares.set_column(0, "a", pa.array(3 * rng.normal(size=300))), "wide.csv")
    fails(call("train", "wide.csv", *logit), "log p is -inf at .* training rows: .*outside the support of the model")


@pytest.mark.slow
def test_a_plain_table_and_default_widths_work(call: Call) -> None:
    """Settings that are lists in the file that a run keeps and tuples in the code."""
    table_of("people.csv")
    Path("maf.toml").write_text(MOONS.replace("planar", "maf").replace("blocks = 2", "blocks = 1"))
    for name, run in (("people.csv", "people"), ("maf.toml", "maf")):
        succeeds(call("train", name, "--set", "model.name=maf", "--set", "train.epochs=1"))
        again = ("--set", "model.name=maf", "--set", "train.epochs=2", "--resume")
        assert "epoch 2/2" in succeeds(call("train", name, *again))
        assert len(Path(f"runs/{run}/metrics.jsonl").read_text().splitlines()) == 2


def test_runs_on_a_table_are_compared_with_labels_and_without(call: Call) -> None:
    table_of("people.csv", kind=["a", "b"] * 100)
    options = ("--model", "maf", "--set", "train.epochs=1")
    succeeds(call("train", "people.csv", *options, "--set", "data.labels=kind", "--run-dir", "labelled"))
    succeeds(call("train", "people.csv", *options, "--set", "data.drop=kind", "--run-dir", "plain"))
    assert "same 20 test rows" in succeeds(call("compare", "labelled", "plain"))
    table_of("people.csv", 201, kind=["a"] * 201)
    succeeds(call("train", "people.csv", *options, "--set", "data.drop=kind", "--run-dir", "later"))
    fails(call("compare", "later", "plain"), "the table's hash is .* in the other, so their test rows differ")
