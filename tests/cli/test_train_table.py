"""marginflow train on tables as people have them: several files, the standard input, what is told before and after."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import Call, fails, succeeds, visits
from pyarrow import csv, feather, parquet
from typer.testing import CliRunner, Result

from marginflow.cli.app import app
from marginflow.evaluation.evaluate import evaluate_rows
from marginflow.runs.run import Run

pytestmark = pytest.mark.usefixtures("single")
QUICK = ("--set", "model.hidden=[16]", "--set", "model.blocks=1", "--set", "train.epochs=2")


def people(num_rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    height = 170 + 10 * rng.standard_normal(num_rows)
    return pa.table({"height": height, "weight": 0.9 * height - 80 + 8 * rng.standard_normal(num_rows)})


def piped(content: bytes, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], input=content)


def as_csv(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return sink.getvalue().to_pybytes()


def path_in(run: str) -> Any:
    return tomllib.loads(Path(run, "config.toml").read_text())["data"]["path"]


def test_what_is_understood_and_what_came_of_it(call: Call) -> None:
    csv.write_csv(people(1000), "people.csv")
    said = succeeds(call("train", "people.csv", *QUICK)).splitlines()
    assert said[:3] == [
        "reading people.csv",
        "people.csv: 1,000 rows, 2 columns of real numbers",
        "split: 800 rows to train, 100 to validate, 100 held out",
    ]
    run = Run.open("runs/people")
    parameters = sum(each.numel() for each in run.model.parameters())
    assert said[3] == f"model: maf, {parameters:,} parameters; batches of 64 rows, at most 2 epochs"
    (pace,) = [line for line in said if line.startswith("about")]
    assert re.fullmatch(r"about [\d.]+ s an epoch: at most [\d.]+ s, less where 10 epochs bring nothing better", pace)
    (held_out,) = [line for line in said if line.startswith("held out")]
    log_prob = evaluate_rows(run.model, run.data.test).log_prob.double()
    error = float(log_prob.std() / 100**0.5)
    assert held_out == (
        f"held out: log p = {float(log_prob.mean()):.3f} ± {error:.3f} nats a row, over 100 rows (higher is better)"
    )
    floors = said[said.index(held_out) + 1 :][:2]
    assert [line.split(":")[0].strip() for line in floors] == ["independent columns", "a mixture of 6"]
    assert said[-3:] == [
        "wrote runs/people: next, marginflow evaluate runs/people",
        "  log p of other rows: marginflow score runs/people new.csv -o scored.csv",
        "  new rows: marginflow sample runs/people -n 1000 -o new.csv",
    ]
    assert any(line.startswith("ended after all 2 epochs; best at epoch") for line in said)
    again = succeeds(call("train", "people.csv", *QUICK, "--resume")).splitlines()
    assert held_out in again
    assert "runs/people is finished, there is nothing to resume: next, marginflow evaluate runs/people" in again


def test_a_model_that_beats_no_floor_says_so(call: Call) -> None:
    """At a rate of nearly nothing a planar flow stays N(0, 1) of each column, which the mixture of 6 beats here."""
    csv.write_csv(people(1000), "people.csv")
    stays = ("--model", "planar", "--set", "train.epochs=1", "--set", "train.lr=1e-9")
    said = succeeds(call("train", "people.csv", *stays))
    assert "a mixture of 6" in re.search(r"the model is worse than (.*)", said)[1]  # pyright: ignore
    assert "train it longer, or on more rows, or try another, as with --model mixture" in said


@pytest.mark.slow
def test_a_model_with_noise_is_said_to_be_estimated(call: Call) -> None:
    csv.write_csv(people(400), "people.csv")
    noise = ("--set", "noise.features=1", "--set", "evaluate.num_samples=7")
    said = succeeds(call("train", "people.csv", *QUICK, *noise))
    assert "  an estimate from 7 draws a row, on average a little too low" in said


@pytest.mark.slow
def test_columns_of_any_kind_are_counted_and_what_is_left_out_is_named(call: Call) -> None:
    parquet.write_table(visits(600), "visits.parquet")
    options = ("--model", "mixture", "--set", "model.components=4", "--set", "train.epochs=3", "--context", "city")
    result = call("train", "visits.parquet", *options)
    said = succeeds(result)
    (columns,) = [line for line in said.splitlines() if line.startswith("visits.parquet: 600 rows")]
    counts, given = columns.split("; ")
    assert counts.startswith("visits.parquet: 600 rows, 5 columns: ")
    assert set(counts.split(": ")[2].split(", ")) == {"1 integer", "1 decimal", "1 real", "1 boolean", "1 date"}
    assert given == "given: city"
    assert "left out 'id' (identifier: whole numbers, each once)" in result.stderr
    assert said.count("left out") == 1
    assert "model: mixture, " in said
    assert "all rows at once, at most 3 epochs" in said
    assert re.search("  a mixture of 6: .*, (ahead|behind) by", said)


def test_quiet_leaves_all_of_that_out_and_experiments_say_none_of_it(call: Call) -> None:
    csv.write_csv(people(300), "people.csv")
    for said in (succeeds(call("train", "people.csv", *QUICK, "-q")), succeeds(call("train", "moons.toml"))):
        assert not re.search("reading|held out|split:|an epoch:|score", said)
        assert "epoch 2/2" in said
        assert "next, marginflow evaluate runs/" in said


@pytest.mark.slow
def test_several_files_train_one_run_which_reads_them_again(call: Call) -> None:
    csv.write_csv(people(120, 0), "year-2019.csv")
    parquet.write_table(people(80, 1).select(["weight", "height"]), "year-2020.parquet")
    said = succeeds(call("train", "year-2019.csv", "year-2020.parquet", *QUICK))
    assert "year-2019.csv, year-2020.parquet: 200 rows" in said
    expected = [str(Path("year-2019.csv").absolute()), str(Path("year-2020.parquet").absolute())]
    assert path_in("runs/year") == expected
    assert "mean over 20 rows" in succeeds(call("evaluate", "runs/year", "--no-figures"))
    succeeds(call("train", "year-*", *QUICK, "--run-dir", "same"))
    assert path_in("same") == expected
    succeeds(call("compare", "runs/year", "same"))
    csv.write_csv(people(60, 2), "year-2021.csv")  # which the pattern would fit now
    assert "mean over 20 rows" in succeeds(call("evaluate", "same", "--no-figures"))
    Path("both.toml").write_text("[data]\nname = 'table'\npath = ['year-2019.csv', 'year-2020.parquet']\n"
                                 "[model]\nname = 'planar'\n[train]\nepochs = 1\n")  # fmt: skip
    succeeds(call("train", "both.toml"))
    assert torch.equal(Run.open("runs/both").data.test.x, Run.open("runs/year").data.test.x)  # pyright: ignore


def test_all_problems_of_several_files_come_at_once_and_leave_nothing(call: Call) -> None:
    csv.write_csv(people(100), "a.csv")
    Path("b.csv").write_text("height,weight,city\n" + "1.5,2,Rome\n" * 20)
    Path("c.csv").write_text("height\n" + "1.5\n" * 20)
    result = call("train", "a.csv", "b.csv", "c.csv", *QUICK)
    assert result.exit_code == 1
    told = result.stderr.replace(f"{Path.cwd()}/", "").splitlines()
    assert told[0] == "marginflow: 2 of 3 files lack columns that others have:"
    assert told[1:3] == ["  a.csv lacks 'city', which b.csv has", "  c.csv lacks 'weight', 'city', which a.csv has"]
    remedy = told[3].split(": ", 1)[1]
    assert remedy == "--drop weight,city"
    assert not Path("runs").exists()
    succeeds(call("train", "a.csv", "b.csv", "c.csv", *QUICK, *shlex.split(remedy)))
    Path("b.csv").write_text("height,weight\n" + "1.5,2\n" * 6 + "Rome,2\n" + "3,\n")
    result = call("train", "a.csv", "b.csv", *QUICK, "--run-dir", "other")
    told = result.stderr.replace(f"{Path.cwd()}/", "")
    assert "'height' holds text, 'Rome' in row 6 of b.csv" in told
    assert "'weight' has no value in row 7 of b.csv" in told
    fails(call("train", "a-*.csv"), r"a-\*.csv fits no file: this folder holds 'a.csv', 'b.csv', 'c.csv'")
    fails(call("train", "?.cvs"), r"'c.csv'; did you mean '\?.csv'\?")
    Path("of day").mkdir()
    Path("a.csv").rename("of day/a_1.csv")
    misspelt = call("train", "of day/a_*.cvs")
    fails(misspelt, r"of day holds 'a_1.csv'; did you mean 'of day/a_\*.csv'\?")
    (meant,) = shlex.split(misspelt.stderr[misspelt.stderr.index("mean '") + 5 :].strip().removesuffix("?"))
    succeeds(call("train", meant, *QUICK, "--run-dir", "of_day"))
    Path("of day/a_1.csv").rename("a.csv")
    fails(call("train", "a.csv", "moons.toml"), r"moons.toml must be a table: .csv")
    fails(call("train", "a.csv", "./a.csv"), "path names 'a.csv' twice")


def test_a_model_is_named_by_an_option(call: Call) -> None:
    csv.write_csv(people(300), "people.csv")
    said = succeeds(call("train", "people.csv", "--model", "planar", "--set", "train.epochs=1"))
    assert "model: planar, " in said
    assert Run.open("runs/people").experiment.model.name == "planar"
    fails(call("train", "people.csv", "--model", "mixd"), r"unknown model 'mixd'; did you mean mixed\?")
    two = call("train", "people.csv", "--model", "planar", "--set", "model.name=maf")
    fails(two, r"--model planar and --set model\.name=maf name two models: leave one of them out.*--model maf stands")
    same = ("--model", "planar", "--set", 'model.name="planar"', "--set", "train.epochs=1")
    succeeds(call("train", "people.csv", *same, "--overwrite"))
    succeeds(call("train", "moons.toml", "--model", "radial", "--set", "train.epochs=1"))
    assert Run.open("runs/moons").experiment.model.name == "radial"


def test_a_folder_is_no_table_and_of_a_run_it_is_said_what_to_type(call: Call) -> None:
    csv.write_csv(people(300), "people.csv")
    succeeds(call("train", "people.csv", *QUICK, "--run-dir", "runs/my people"))
    told = call("train", "runs/my people")
    fails(told, "runs/my people is a run directory: .* to resume its training, the command that began it and --resume")
    _, *typed = shlex.split(told.stderr[told.stderr.index("marginflow score") : told.stderr.index(";")])
    csv.write_csv(people(20), "new.csv")
    succeeds(call(*typed, "-o", "scored.csv"))
    fails(call("train", "runs"), r"runs is a folder: give .* all files 'runs/\*.csv'")
    fails(call("train", "people.csv", "runs"), "runs is a folder")


def test_the_name_of_an_experiment_is_one_also_where_its_run_is_called_so(call: Call) -> None:
    few = ("--set", "data.num_train=300", "--set", "data.num_validation=50", "--set", "data.num_test=50")
    command = ("train", "half_moons_planar", *few, "--run-dir", "half_moons_planar", "--set", "train.epochs=1")
    succeeds(call(*command))
    said = succeeds(call(*command[:-1], "train.epochs=2", "--resume"))
    assert "epoch 2/2" in said
    fails(call("train", Path("half_moons_planar").resolve()), "is a run directory")


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "npy"])
def test_the_standard_input_is_kept_beside_the_run(call: Call, ending: str) -> None:
    table, file = people(200), Path(f"people.{ending}")
    if ending == "npy":
        np.save(file, np.stack([each.to_numpy() for each in table.columns], 1))
    else:
        {"csv": csv.write_csv, "parquet": parquet.write_table, "feather": feather.write_feather}[ending](table, file)
    content = file.read_bytes()
    said = succeeds(piped(content, "train", "-", *QUICK))
    assert said.startswith("reading the standard input\n")
    assert f"kept the standard input, {len(content):,} bytes, in runs/stdin.{ending}" in said
    assert Path(f"runs/stdin.{ending}").read_bytes() == content
    assert path_in("runs/stdin") == str(Path(f"runs/stdin.{ending}").absolute())
    file.unlink()
    assert "mean over 20 rows" in succeeds(call("evaluate", "runs/stdin", "--no-figures"))


@pytest.mark.slow
def test_what_was_kept_is_used_again_and_never_written_over(call: Call) -> None:
    one, other = as_csv(people(200)), as_csv(people(200, 1))
    succeeds(piped(one, "train", "-", *QUICK, "--run-dir", "mine/first"))
    assert Path("mine/first.csv").read_bytes() == one
    longer = (*QUICK[:-1], "train.epochs=3", "--run-dir", "mine/first")
    said = succeeds(piped(one, "train", "-", *longer, "--resume"))
    assert "epoch 3/3" in said
    assert "kept the standard input" not in said
    result = piped(other, "train", "-", *QUICK, "--run-dir", "mine/first", "--overwrite")
    fails(result, "mine/first.csv holds other rows than the standard input: move it away, or give another --run-dir")
    assert Path("mine/first.csv").read_bytes() == one
    assert len(Path("mine/first/metrics.jsonl").read_text().splitlines()) == 3
    fails(piped(one, "train", "-", *QUICK, "--run-dir", "mine/first"), "mine/first exists: give another --run-dir")
    assert Path("mine/first.csv").exists()


def test_a_standard_input_that_cannot_be_used_leaves_nothing(call: Call) -> None:
    csv.write_csv(people(100), "people.csv")
    fails(piped(b"", "train", "-"), "standard input is empty, and a table is needed: marginflow train - < people.csv")
    few = b"a,b\n1.5,2\n0.25,3\n"
    result = piped(few, "train", "-")
    assert result.exit_code == 1
    assert "stdin.csv: 2 rows are too few to split" in result.stderr
    fails(piped(b"PK\x03\x04 and more", "train", "-"), "a zip archive or an Excel workbook: unpack it")
    fails(piped(as_csv(people(100)), "train", "-", "people.csv"), "- is the standard input, .*: give it alone")
    fails(piped(as_csv(people(100)), "train", "-", "--model", "mafff"), "unknown model 'mafff'; did you mean maf")
    assert not Path("runs").exists()
    Path("runs").mkdir()
    Path("runs/other.txt").write_text("mine")
    assert piped(few, "train", "-").exit_code == 1
    assert [path.name for path in Path("runs").iterdir()] == ["other.txt"]


def test_an_interrupt_keeps_the_rows_of_a_run_that_can_be_resumed(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from marginflow.training.pace import Pace

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    content = as_csv(people(200))
    with monkeypatch.context() as patched:
        patched.setattr(Pace, "on_epoch", interrupted)
        assert piped(content, "train", "-", *QUICK).exit_code == 130
    assert Path("runs/stdin.csv").read_bytes() == content
    assert "epoch 2/2" in succeeds(piped(content, "train", "-", *QUICK, "--resume"))
    with monkeypatch.context() as patched:  # before the first step
        patched.setattr("marginflow.cli.train_table.Telling.before", interrupted)
        assert piped(content, "train", "-", *QUICK, "--run-dir", "early/run").exit_code == 130
    assert not Path("early").exists()


def test_a_result_stands_beside_the_accounting_of_evaluate(call: Call) -> None:
    csv.write_csv(people(600), "people.csv")
    said = succeeds(call("train", "people.csv", *QUICK))
    succeeds(call("evaluate", "runs/people", "--no-figures"))
    record = json.loads(Path("runs/people/evaluation.json").read_text())["test"]
    found = re.search(r"held out: log p = (-?[\d.]+) ± ([\d.]+) nats a row, over 60 rows", said)
    assert found is not None
    assert -float(found[1]) == pytest.approx(record["raw_nll"], abs=1e-3)
    assert float(found[2]) == pytest.approx(record["bound"]["standard_error"], abs=1e-3)
