"""The command line on tables of any kind: described, trained on, evaluated, drawn from, and back as a table."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import MOONS, Call, fails, succeeds, visits
from pyarrow import csv, feather, parquet

from marginflow.runs.run import Run

pytestmark = pytest.mark.usefixtures("single")
QUICK = ("--set", "model.name=mixed", "--set", "model.hidden=16,16", "--set", "train.epochs=1")


@pytest.fixture
def trained(call: Call) -> Call:
    """A run on visits.parquet in runs/visits."""
    parquet.write_table(visits(), "visits.parquet")
    succeeds(call("train", "visits.parquet", *QUICK, "--set", "schema.age.upper=99"))
    return call


def test_a_table_comes_back_as_it_was(trained: Call) -> None:
    content = visits().drop_columns(["id"])
    shown = succeeds(trained("evaluate", "runs/visits", "-o", "scores.csv"))
    assert "log probability of what is discrete" in shown
    assert "log density of what is real" in shown
    scores = csv.read_csv("scores.csv")
    assert scores.column_names == ["log_prob", "log_prob_discrete", "log_prob_real"]
    total, discrete, real = (column.to_numpy() for column in scores.columns)
    assert abs(total - discrete - real).max() < 1e-4
    record = json.loads(Path("runs/visits/evaluation.json").read_text())["test"]
    assert -total.mean() == pytest.approx(record["raw_nll"], rel=1e-5)
    assert -discrete.mean() == pytest.approx(record["discrete"]["value"], rel=1e-5)
    assert Path("runs/visits/figures/marginals.png").exists()
    for name in ("a.parquet", "a.feather", "a.csv"):
        succeeds(trained("sample", "runs/visits", "-n", 300, "-o", name))
    drawn = parquet.read_table("a.parquet")
    assert drawn.schema.equals(content.schema)
    assert drawn.equals(feather.read_table("a.feather"))
    assert csv.read_csv("a.csv")["city"].to_pylist() == drawn["city"].to_pylist()
    assert 5 < drawn["age"].null_count < 80
    assert set(drawn["city"].to_pylist()) <= set(content["city"].to_pylist())
    paid = drawn["paid"].to_numpy()
    assert paid.min() >= 0
    assert set(paid * 2) <= {float(i) for i in range(1000)}
    succeeds(trained("evaluate", "runs/visits", "--data", "a.csv", "--no-figures"))
    assert succeeds(trained("sample", "runs/visits", "-n", 3)) == "wrote samples.csv\n"
    fails(trained("sample", "runs/visits", "-o", "a.png"), "a.png shows images or points, .*: write .csv or .parquet")


def test_rows_that_have_no_probability_are_named(trained: Call) -> None:
    rows = visits().slice(0, 40).to_pylist()
    rows[7]["paid"], rows[9]["age"] = -3.0, 300
    schema = visits().schema.set(1, pa.field("city", pa.string()))
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), "other.parquet")
    shown = succeeds(trained("evaluate", "runs/visits", "--data", "other.parquet"))
    assert "2 of 40 rows have density 0" in shown
    assert "row 7: column 'paid' holds -3.0, below 0.0" in shown
    assert "row 9: column 'age' holds 300, above 99" in shown
    rows[7]["city"] = "Pars"
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), "other.parquet")
    shown = succeeds(trained("evaluate", "runs/visits", "--data", "other.parquet", "-o", "scores.parquet"))
    both = "row 7: column 'city' holds 'Pars', none of its levels; did you mean Paris?; column 'paid' holds -3.0, below"
    assert both in " ".join(shown.split())
    scores = parquet.read_table("scores.parquet")
    assert scores["log_prob_real"].is_null().to_pylist() == [i in (7, 9) for i in range(40)]
    assert (scores["log_prob"].to_numpy() == -np.inf).nonzero()[0].tolist() == [7, 9]


def test_a_context_is_given_by_name_and_comes_with_rows(call: Call) -> None:
    content = visits()
    parquet.write_table(content, "visits.parquet")
    shown = succeeds(call("data", "describe", "visits.parquet", "--context", "city,age"))
    assert shown.count("given: a") == 2
    succeeds(call("train", "visits.parquet", "--context", "city,age", *QUICK))
    assert "of 4 columns" in succeeds(call("evaluate", "runs/visits", "--no-figures"))
    assert "mean over 300 rows" in succeeds(call("evaluate", "runs/visits", "--data", "visits.parquet"))
    needs = "this model needs 'city', 'age' as a context for each sample: give rows that hold it, --context-from FILE"
    fails(call("sample", "runs/visits"), needs)
    succeeds(call("sample", "runs/visits", "--context-from", "visits.parquet", "-o", "all.parquet"))
    drawn = parquet.read_table("all.parquet")
    assert drawn.schema.equals(content.drop_columns(["id"]).schema)
    for name in ("city", "age"):
        assert drawn[name].to_pylist() == content[name].to_pylist()
    alone = content.select(["age", "city"]).slice(5, 2)
    csv.write_csv(alone, "two.csv")
    succeeds(call("sample", "runs/visits", "--context-from", "two.csv", "-n", 5, "-o", "five.csv"))
    found = csv.read_csv("five.csv")
    ages = alone["age"].to_pylist()
    assert found["age"].to_pylist() == [*ages, *ages, ages[0]]
    fails(call("evaluate", "runs/visits", "--data", "two.csv"), "lacks 'paid', 'height', 'member', 'day'")
    csv.write_csv(alone.drop_columns(["age"]), "one.csv")
    fails(call("sample", "runs/visits", "--context-from", "one.csv"), "one.csv .*lacks 'age'")


def test_a_context_that_nothing_uses_is_refused(trained: Call) -> None:
    fails(trained("sample", "runs/visits", "--context-from", "visits.parquet"), "trained without a context: leave")
    fails(trained("sample", "runs/visits", "--label", "Paris"), "trained without labels")


def test_columns_are_told_by_options_and_kept_in_the_run(call: Call) -> None:
    csv.write_csv(visits(), "visits.csv")
    options = ("--set", "schema.age.kind=real", "--set", "schema.paid.upper=2000", "--drop", "day")
    succeeds(call("train", "visits.csv", *QUICK, *options))
    manifest = json.loads(Path("runs/visits/manifest.json").read_text())
    columns = {each["name"]: each for each in manifest["data"]["schema"]["columns"]}
    assert columns["age"]["kind"] == "real"
    assert columns["day"]["reason"] == "left out on request"
    assert '[schema.age]\nkind = "real"' in Path("runs/visits/config.toml").read_text()
    succeeds(call("evaluate", "runs/visits", "--no-figures"))
    again = ("train", "visits.csv", *QUICK, "--resume", "--drop", "day", "--set", "train.epochs=2")
    changed = (
        "was started with schema.age.kind = 'real'; it cannot be resumed with None: use the former value "
        r"\(--set schema.age.kind=real\)"
    )
    result = call(*again)
    assert result.exit_code == 1
    assert re.search(changed, result.stderr)
    succeeds(call(*again, *options[:4]))
    records = Path("runs/visits/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == [1, 2]
    changed_rows = visits().set_column(3, "paid", pa.array([0.0, 1.0, 2.0] * 100))
    csv.write_csv(changed_rows, "visits.csv")
    fails(call("evaluate", "runs/visits"), "the data have changed since runs/visits was trained|does not fit|holds")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "schema.agee.kind=real"], r"has no column 'agee'.*did you mean age\?"),
        (["--set", "schema.age.kind=rael"], r"schema\.age\.kind = 'rael': did you mean real\?"),
        (["--set", "schema.age=3"], r"schema\.age = 3: it is a table of options, such as --set schema\.age"),
        (["--set", "schema.city.kind=real"], "column 'city' cannot be of kind 'real': it holds .*--drop city"),
        (["--set", "data.labels=city"], "labels are for tables of real numbers: give in their place: --context city"),
        (["--set", "preprocess.standardise=true"], r"prepares rows and contexts itself: leave out \[preprocess\]"),
        (
            ["--set", "noise.features=2", "--set", "noise.after_blocks=1"],
            r"after_blocks is for models of several blocks",
        ),
        (["--set", "context.features=2"], r"leave out \[context\]"),
        (["--context", "cty"], r"no column 'cty'.*did you mean city\?"),
        (["--set", "model.name=maf"], "'city' holds text(.|\n)*or model columns of any kind: --model mixed"),
        (
            ["--set", "model.name=maf", "--set", "schema.age.kind=real"],
            r"got 'maf': give --model mixed, or leave",
        ),
        (["--set", "data.group=day", "--set", "data.split=time"], "split by group or in time"),
    ],
)
def test_mistakes_are_a_line(call: Call, options: list[str], message: str) -> None:
    parquet.write_table(visits(), "visits.parquet")
    result = call("train", "visits.parquet", *QUICK[:2], *options)
    assert result.exit_code == 1
    told = [line for line in result.stderr.splitlines() if "warning" not in line]
    assert len(told) == 1 or "cannot be used" in told[0]
    assert re.search(message, result.stderr), result.stderr


def test_a_data_set_that_is_no_table_has_no_schema(call: Call) -> None:
    Path("moons.toml").write_text(MOONS.replace('"planar"\nblocks = 2', '"mixed"'))
    fails(call("train", "moons.toml"), "is for tables; got data.name = 'half_moons'")


def test_a_small_table_needs_no_word_on_batches(call: Call) -> None:
    parquet.write_table(visits(60), "visits.parquet")
    succeeds(call("train", "visits.parquet", *QUICK))
    assert "batch_size = 16" in Path("runs/visits/config.toml").read_text()
    result = call("train", "visits.parquet", *QUICK, "--overwrite", "--set", "train.batch_size=200")
    assert "batch_size 200 is larger than the training set of 48 rows" in result.stderr


def test_runs_of_other_measures_are_not_compared(trained: Call) -> None:
    succeeds(trained("train", "visits.parquet", *QUICK, "--set", "train.seed=1", "--run-dir", "runs/b"))
    assert "behind the best" in succeeds(trained("compare", "runs/visits", "runs/b"))
    succeeds(trained("train", "visits.parquet", *QUICK, "--set", "schema.age.kind=real", "--run-dir", "runs/c"))
    fails(trained("compare", "runs/visits", "runs/c"), "column 'age' has probabilities .integer. in one")


def test_the_time_decides_which_rows_are_held_out(call: Call) -> None:
    parquet.write_table(visits(), "visits.parquet")
    options = ("--set", "data.split=time", "--drop", "member")
    succeeds(call("train", "visits.parquet", *QUICK, *options))
    run = Run.open(Path("runs/visits"))
    day = run.spec.column_names.index("day")
    train, test = (each.take().x[:, day] for each in (run.data.train, run.data.test))
    assert float(test[~test.isnan()].min()) >= float(train[~train.isnan()].max())  # the latest are held out
    succeeds(call("evaluate", "runs/visits", "--no-figures"))
    succeeds(call("train", "visits.parquet", *QUICK, "--set", "data.group=city", "--run-dir", "runs/groups"))
    succeeds(call("evaluate", "runs/groups", "--no-figures"))


@pytest.mark.parametrize("model", ["mixed", "maf"])
def test_rows_of_a_file_count_by_the_weights_of_the_run(call: Call, model: str) -> None:
    shop = visits().select(["height", "paid"]).drop_null()
    weighted = shop.append_column("w", pa.array([float(i % 4) for i in range(len(shop))]))
    csv.write_csv(weighted, "shop.csv")
    short = ("--set", f"model.name={model}", "--set", "model.hidden=8,8", "--set", "train.epochs=1")
    succeeds(call("train", "shop.csv", "--weights", "w", *short))
    by_hand = {}
    for name, table in {"all": weighted, "some": weighted.slice(0, 50), "zeros": weighted.slice(0, 1)}.items():
        csv.write_csv(table, f"{name}.csv")
    for name in ("all", "some"):
        shown = succeeds(call("evaluate", "runs/shop", "--data", f"{name}.csv", "-o", "scores.csv"))
        scores, w = csv.read_csv("scores.csv")["log_prob"].to_numpy(), csv.read_csv(f"{name}.csv")["w"].to_numpy()
        assert len(scores) == len(w)
        by_hand[name] = -(w * scores).sum() / w.sum()
        assert any(
            abs(float(each)) == pytest.approx(abs(by_hand[name]), abs=1e-3) for each in re.findall(r"-?\d+\.\d+", shown)
        )
        assert "weighted mean" in shown
    fails(call("evaluate", "runs/shop", "--data", "zeros.csv"), "all weights are 0: give some row a positive weight")
    csv.write_csv(shop, "bare.csv")
    result = call("evaluate", "runs/shop", "--data", "bare.csv", "-o", "scores.csv")
    assert "bare.csv lacks 'w', the weights of the model's training rows: all rows" in result.stderr
    assert "weighted" not in result.stdout
    scores = csv.read_csv("scores.csv")["log_prob"].to_numpy()
    shown = re.findall(r"-?\d+\.\d+", result.stdout)
    assert any(abs(float(each)) == pytest.approx(abs(scores.mean()), abs=1e-3) for each in shown)
    negative = weighted.set_column(2, "w", pa.array([-1.0 if i == 7 else 1.0 for i in range(len(shop))]))
    csv.write_csv(negative, "negative.csv")
    fails(call("evaluate", "runs/shop", "--data", "negative.csv"), "column 'w' holds -1 in row 7 .*no weight of a row")


def test_weights_are_typed_in_either_way(call: Call) -> None:
    table = visits().select(["city", "paid"]).append_column("a w", pa.array([1.0 + i % 2 for i in range(300)]))
    csv.write_csv(table, "shop.csv")
    shown = succeeds(call("data", "describe", "shop.csv", "--weights", "a w"))
    assert "the weight" in shown
    configs = []
    for typed in (("--weights", "a w"), ("--set", "data.weights=a w")):
        succeeds(call("train", "shop.csv", *QUICK, *typed, "--overwrite"))
        configs.append(Path("runs/shop/config.toml").read_text())
    assert configs[0] == configs[1]
    fails(call("train", "shop.csv", *QUICK, "--weights", "aw", "--overwrite"), r"no column 'aw'; .*did you mean a w\?")


def test_values_that_the_training_had_not_are_named_and_mended_by_what_is_said(call: Call) -> None:
    table = visits().select(["city", "paid", "height"]).drop_null()
    csv.write_csv(table, "shop.csv")
    succeeds(call("train", "shop.csv", *QUICK))
    rows = table.slice(0, 20).to_pylist()
    rows[3]["city"], rows[5]["height"], rows[7]["paid"] = "Ulan Bator", None, 0.3
    csv.write_csv(pa.Table.from_pylist(rows), "new.csv")
    result = call("evaluate", "runs/shop", "--data", "new.csv", "-o", "scores.csv")
    shown = " ".join(succeeds(result).split())
    assert "3 of 20 rows have density 0, or one too small for a number (rows 3, 5, 7, counted from 0)" in shown
    assert "row 3: column 'city' holds 'Ulan Bator', none of its levels row 5" in shown
    assert "row 5: column 'height' has no value, where the schema has none missing row 7" in shown
    assert "row 7: column 'paid' holds 0.3, between the steps of its grid, 0.5 apart" in shown
    scores = csv.read_csv("scores.csv")["log_prob"].to_numpy()
    assert np.isneginf(scores).nonzero()[0].tolist() == [3, 5, 7]
    # the others are scored, and their means taken, as if these were not there
    csv.write_csv(pa.Table.from_pylist([row for i, row in enumerate(rows) if i not in (3, 5, 7)]), "rest.csv")
    rest = succeeds(call("evaluate", "runs/shop", "--data", "rest.csv", "-o", "rest_scores.csv"))
    table_of = lambda text: [line for line in text.splitlines() if "│" in line or "mean over" in line]  # noqa: E731
    assert table_of(result.stdout) == table_of(rest)
    alone = csv.read_csv("rest_scores.csv")["log_prob"].to_numpy()
    assert np.delete(scores, [3, 5, 7]) == pytest.approx(alone, abs=1e-4)
    assert f"log p │ {alone.mean():.3f}"[:-1] in shown.replace("┃", "│")
    _, _, remedy = result.stderr.partition("to give such values a probability train with ")
    options = shlex.split(remedy.splitlines()[0])
    assert options[1::2] == ["schema.city.pool=20", "schema.height.blank=true"]
    succeeds(call("train", "shop.csv", *QUICK, *options, "--overwrite"))
    again = " ".join(succeeds(call("evaluate", "runs/shop", "--data", "new.csv")).split())
    assert "1 of 20 rows have density 0, or one too small for a number (rows 7, counted from 0)" in again


def test_a_column_that_cannot_be_read_at_all_is_refused(call: Call) -> None:
    table = visits().select(["city", "paid", "height"]).drop_null()
    csv.write_csv(table, "shop.csv")
    succeeds(call("train", "shop.csv", *QUICK))
    texts = table.slice(0, 20).set_column(2, "height", pa.array(["tall"] * 20))
    csv.write_csv(texts, "texts.csv")
    fails(call("evaluate", "runs/shop", "--data", "texts.csv"), "column 'height' holds 'tall' in row 0 .*no number")
    new = table.slice(0, 20).set_column(0, "city", pa.array(["Ulan Bator"] * 20))
    csv.write_csv(new, "new.csv")
    result = call("evaluate", "runs/shop", "--data", "new.csv")
    assert result.exit_code == 1
    assert "log p is -inf at all 20 rows, the first: column 'city' holds 'Ulan Bator'" in result.stderr
