"""marginflow score on real files: every column beside its scores, whatever the format, and what is wrong, at once."""

from __future__ import annotations

import io
import json
import math
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import Call, fails, succeeds, visits
from pyarrow import csv, feather, parquet
from typer.testing import CliRunner, Result

from marginflow.cli.app import app
from marginflow.runs.held_out import HeldOut
from marginflow.runs.run import Run
from marginflow.runs.score import Scorer, rows_of

pytestmark = pytest.mark.usefixtures("single")
QUICK = ("--set", "model.name=mixed", "--set", "model.hidden=16,16", "--set", "train.epochs=1")
SCORES = ["log_prob", "log_prob_discrete", "log_prob_real", "percentile", "outlier", "unusual_column"]


@pytest.fixture
def mixed(call: Call) -> Call:
    """A run on visits.parquet in runs/visits; others.parquet holds more visits, two of them odd."""
    parquet.write_table(visits(), "visits.parquet")
    succeeds(call("train", "visits.parquet", *QUICK, "--set", "schema.age.upper=99"))
    rows = visits(80).to_pylist()
    rows[7]["paid"], rows[9]["city"] = -3.0, "Pars"
    parquet.write_table(pa.Table.from_pylist(rows, schema=visits().schema), "others.parquet")
    return call


@pytest.fixture
def reals(call: Call) -> Call:
    """A run on reals.csv in runs/reals, of two columns; others.csv has a third one."""
    rng = np.random.default_rng(0)
    lines = [f"{a:.3f},{a + b:.3f}" for a, b in rng.normal(size=(600, 2))]
    Path("reals.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    model = ("--set", "model.name=maf", "--set", "model.hidden=8,8", "--set", "model.blocks=1")
    succeeds(call("train", "reals.csv", *model, "--set", "train.epochs=2"))
    others = [f'"x ""{i}"", y",{line},' for i, line in enumerate(lines[:50])]
    Path("others.csv").write_text("\n".join(["who,a,b,note", *others]) + "\n")
    return call


def from_stdin(content: bytes, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), input=content)


def test_a_mixed_table_has_its_scores_behind_its_columns(mixed: Call) -> None:
    shown = mixed("score", "runs/visits", "others.parquet", "-o", "scored.parquet", "--contamination", "0.05")
    assert succeeds(shown).count("wrote scored.parquet: id, city, age, paid") == 1
    others, scored = parquet.read_table("others.parquet"), parquet.read_table("scored.parquet")
    assert scored.column_names == [*others.column_names, *SCORES]
    assert scored.select(others.column_names).equals(others)
    assert "2 of 80 rows have density 0 (rows are counted from 0):" in shown.stderr
    assert "row 7: column 'paid' holds -3.0, below 0.0\n" in shown.stderr
    assert "row 9: column 'city' holds 'Pars', none of its levels; did you mean Paris?\n" in shown.stderr
    odd = scored.take([7, 9]).select(SCORES).to_pylist()
    for row, column in zip(odd, ("paid", "city"), strict=True):
        assert (row["log_prob"], row["log_prob_discrete"], row["log_prob_real"]) == (-math.inf, -math.inf, None)
        assert (row["percentile"], row["outlier"], row["unusual_column"]) == (0, True, column)
    assert "to give such values a probability train with --set schema.city.pool=20\n" in shown.stderr
    run = Run.open("runs/visits")
    x = torch.as_tensor(visits_as_rows(run)[:])
    log_prob, discrete, real = (scored[name].to_numpy() for name in SCORES[:3])
    some = [i for i in range(80) if i not in (7, 9)]
    expected = run.model.log_prob(x[some]).detach().double().numpy()
    assert log_prob[some] == pytest.approx(expected, abs=1e-4)
    assert log_prob[some] == pytest.approx((discrete + real)[some], abs=1e-4)
    held = HeldOut.read(Path("runs/visits"))
    assert held is not None
    shares = [100 * float((held.log_prob <= each).double().mean()) for each in log_prob[some]]
    assert scored["percentile"].to_numpy()[some] == pytest.approx(shares, abs=1e-4)
    flags = scored["outlier"].to_numpy()
    assert flags[some].tolist() == (log_prob[some] <= held.threshold(0.05)).tolist()
    names = run.spec.column_names
    columns = run.model.density.log_prob_columns(x[some]).detach().double()
    far = (columns - torch.tensor(held.columns)) / torch.tensor(held.columns_deviation).clamp_min(0.1)
    assert [scored["unusual_column"].to_pylist()[i] for i in some] == [names[int(i)] for i in far.argmin(1)]


def visits_as_rows(run: Run) -> torch.Tensor:
    from marginflow.data.tables.other_rows import chunks_for

    parquet.write_table(visits(80), "plain.parquet")
    return torch.cat([torch.as_tensor(each.x[:]) for each in chunks_for(run.spec, "plain.parquet")])


def test_a_row_at_the_threshold_is_an_outlier(reals: Call) -> None:
    run = Run.open(Path("runs/reals"))
    (chunk,) = rows_of(run, "others.csv").beside(["a"])

    def scores(held_out: HeldOut) -> pa.Table:
        return Scorer(run, held_out, 0.1, 1, 0).scores(chunk)

    log_prob = torch.tensor(scores(HeldOut.of(torch.arange(50.0)))["log_prob"].to_pylist(), dtype=torch.float64)
    assert len(log_prob.unique()) == 50
    flagged = scores(HeldOut.of(log_prob))["outlier"].to_pylist()  # the rows are their own held-out ones
    assert sum(flagged) == 5  # of 50: the floor of 0.1 x 51, the fifth smallest itself among them
    assert set(np.flatnonzero(flagged)) == set(log_prob.argsort()[:5].tolist())


def test_a_row_without_a_density_has_no_log_density_in_any_format(mixed: Call) -> None:
    scored = lambda to: succeeds(mixed("score", "runs/visits", "others.parquet", "--keep", "", "-o", to))  # noqa: E731
    scored("o.csv")
    lines = [line.split(",") for line in Path("o.csv").read_text().splitlines()]
    assert [i - 1 for i, cells in enumerate(lines) if cells[:3] == ["-inf", "-inf", ""]] == [7, 9]
    scored("o.npy")
    assert np.argwhere(np.isnan(np.load("o.npy"))).tolist() == [[7, 2], [9, 2]]
    scored("o.feather")
    assert feather.read_table("o.feather")["log_prob_real"].is_null().to_pylist() == [i in (7, 9) for i in range(80)]


def test_text_stays_as_it_is_byte_for_byte(reals: Call) -> None:
    shown = reals("score", "runs/reals", "others.csv")
    lines = shown.stdout.splitlines()
    assert lines[0] == "who,a,b,note,log_prob,percentile,outlier"
    before = Path("others.csv").read_text().splitlines()
    assert all(after.startswith(f"{line},") for line, after in zip(before, lines, strict=True))
    assert succeeds(reals("score", "runs/reals", "others.csv", "-o", "out.csv")).count("wrote out.csv") == 1
    assert Path("out.csv").read_text() == shown.stdout
    log_prob = csv.read_csv("out.csv")["log_prob"].to_numpy()
    x = np.loadtxt("reals.csv", delimiter=",", skiprows=1, max_rows=50)
    expected = Run.open("runs/reals").model.log_prob(torch.from_numpy(x)).detach().numpy()
    assert log_prob == pytest.approx(expected, abs=1e-4)


def test_every_format_holds_the_same_scores(reals: Call) -> None:
    for name in ("o.csv", "o.tsv", "o.parquet", "o.feather", "o.csv.gz"):
        succeeds(reals("score", "runs/reals", "others.csv", "-o", name))
    expected = csv.read_csv("o.csv")
    typed = parquet.read_table("o.parquet")
    assert typed.schema.types[:4] == [pa.string(), pa.float64(), pa.float64(), pa.string()]
    for found in (
        typed,
        feather.read_table("o.feather"),
        csv.read_csv("o.csv.gz"),
        csv.read_csv("o.tsv", parse_options=csv.ParseOptions(delimiter="\t")),
    ):
        assert found.column_names == expected.column_names
        for name in ("who", "a", "b", "log_prob", "percentile", "outlier"):
            assert found[name].to_pylist() == expected[name].to_pylist()
    succeeds(reals("score", "runs/reals", "others.csv", "-o", "o.npy", "--keep", "b"))
    array = np.load("o.npy")
    same = [expected[name].to_numpy().astype(float) for name in ("b", "log_prob", "percentile", "outlier")]
    np.testing.assert_array_equal(array, np.stack(same, 1))


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather"])
def test_standard_input_and_output_are_streams(mixed: Call, ending: str) -> None:
    content = parquet.read_table("others.parquet")
    if ending == "csv":
        content = content.set_column(1, "city", content["city"].cast(pa.string()))
        csv.write_csv(content, "o.csv")
    elif ending == "feather":
        feather.write_feather(content, "o.feather")
    path = Path(f"o.{ending}" if ending != "parquet" else "others.parquet")
    succeeds(mixed("score", "runs/visits", path, "-o", "file.csv"))
    piped = from_stdin(path.read_bytes(), "score", "runs/visits", "-", "-o", "-")
    succeeds(piped)
    assert piped.stdout == Path("file.csv").read_text()
    assert "row 9: column 'city' holds 'Pars'" in piped.stderr


def test_columns_are_kept_by_name(mixed: Call) -> None:
    names = lambda *more: mixed("score", "runs/visits", "others.parquet", *more).stdout.splitlines()[0].split(",")  # noqa: E731
    assert names("--keep", "day,id") == ["day", "id", *SCORES]
    assert names("--keep", "") == SCORES
    fails(mixed("score", "runs/visits", "others.parquet", "--keep", "dag"), r"no column 'dag'; .*did you mean day\?")


def test_a_column_is_kept_once(mixed: Call) -> None:
    fails(
        mixed("score", "runs/visits", "others.parquet", "--keep", "city,city", "-o", "s.parquet"),
        "'city' is to be kept twice",
    )
    assert not Path("s.parquet").exists()


def test_names_that_are_taken_are_refused_with_those_that_may_stay(mixed: Call) -> None:
    content = parquet.read_table("others.parquet")
    twice = content.append_column("outlier", content["member"]).append_column("log_prob", content["paid"])
    parquet.write_table(twice, "twice.parquet")
    refused = mixed("score", "runs/visits", "twice.parquet", "-o", "out.csv")
    assert refused.exit_code == 1
    assert "the table has 'outlier', 'log_prob' already" in refused.stderr
    assert not Path("out.csv").exists()
    _, _, remedy = refused.stderr.strip().partition("--keep ")
    assert shlex.split(remedy) == ["id,city,age,paid,height,member,day"]
    succeeds(mixed("score", "runs/visits", "twice.parquet", "-o", "out.csv", "--keep", *shlex.split(remedy)))


def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(mixed: Call) -> None:
    content = parquet.read_table("others.parquet")
    nested = content.append_column("tags", pa.array([["a"]] * 80)).append_column("raw", pa.array([b"\xff"] * 80))
    parquet.write_table(nested, "nested.parquet")
    refused = mixed("score", "runs/visits", "nested.parquet")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "'tags' holds list" in refused.stderr
    assert "'raw' holds binary" in refused.stderr
    assert "--keep id,city,age,paid,height,member,day" in refused.stderr
    succeeds(mixed("score", "runs/visits", "nested.parquet", "-o", "nested_too.parquet"))
    refused = mixed("score", "runs/visits", "others.parquet", "-o", "o.npy", "--keep", "id,city,day")
    assert "'city' holds dictionary" in refused.stderr
    assert "'day' holds date32" in refused.stderr
    assert refused.stderr.strip().endswith("--keep id")
    succeeds(mixed("score", "runs/visits", "others.parquet", "-o", "o.npy"))
    assert np.load("o.npy").shape == (80, 5)  # but for the name of the unusual column


def test_bad_options_and_files_say_what_to_do(reals: Call) -> None:
    score = lambda *more: reals("score", "runs/reals", *more)  # noqa: E731
    fails(score("others.csv", "--contamination", "2"), "--contamination must lie between 0 and 1")
    fails(score("others.csv", "--format", "tsv"), "the ending of others.csv tells its own: leave it out")
    fails(score("-", "--format", "xls"), "--format must be one of csv, tsv, parquet, feather")
    fails(score("others.csv", "-K", "0"), "-K must be 1 or more")
    fails(score("others.csv", "-o", "others.csv"), "is the table itself")
    fails(score("others.csv", "-o", "none/x.csv"), "the folder none does not exist")
    fails(score("others.csv", "-o", "x.xlsx"), "must end in")
    fails(score("nothing.csv"), "nothing.csv does not exist")
    fails(from_stdin(b"", "score", "runs/reals", "-"), "standard input is empty")
    fails(from_stdin(b"a,c\n1,2\n", "score", "runs/reals", "-"), "standard input has other columns .* lacks 'b'")
    Path("text.csv").write_text("a,b\nlow,high\nlow,low\n")
    refused = score("text.csv", "-o", "out.csv")
    assert refused.exit_code == 1
    assert "'a' holds text, 'low'" in refused.stderr
    assert "'b' holds text, 'high'" in refused.stderr
    assert not Path("out.csv").exists()


def test_odd_cells_of_real_columns_leave_other_rows_as_they_are(reals: Call) -> None:
    Path("odd.csv").write_text("a,b\n0.1,0.2\n,0.3\n0.5,none of it\n1e300,0\n0.4,0.5\n")
    shown = reals("score", "runs/reals", "odd.csv")
    log_prob = csv.read_csv(io.BytesIO(shown.stdout.encode()))["log_prob"].to_numpy()
    assert np.isneginf(log_prob).tolist() == [False, True, True, True, False]
    x = torch.tensor([[0.1, 0.2], [0.4, 0.5]], dtype=torch.float64)
    assert log_prob[[0, 4]] == pytest.approx(Run.open("runs/reals").model.log_prob(x).detach().numpy(), abs=1e-5)
    for line in (
        "row 1: column 'a' has no value",
        "row 2: column 'b' holds 'none of it', no number",
        "row 3: column 'a' holds 1e300, too large",
    ):
        assert line in shown.stderr


def test_an_estimate_has_its_standard_error(call: Call) -> None:
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.normal(size=(400, 2)))
    settings = {
        "model.name": "planar",
        "model.blocks": 2,
        "noise.features": 1,
        "train.epochs": 1,
        "evaluate.num_samples": 20,
    }
    succeeds(call("train", "x.npy", *(word for name, each in settings.items() for word in ("--set", f"{name}={each}"))))
    rows = lambda *more: csv.read_csv(io.BytesIO(call("score", "runs/x", "x.npy", *more).stdout.encode()))  # noqa: E731
    few, many = rows(), rows("-K", "2000")
    assert few.column_names == ["x0", "x1", "log_prob", "percentile", "outlier", "standard_error"]
    error = few["standard_error"].to_numpy()
    assert (error > many["standard_error"].to_numpy()).mean() > 0.95
    off = (few["log_prob"].to_numpy() - many["log_prob"].to_numpy()) / error
    assert np.mean(np.abs(off) < 2) > 0.85
    assert few.equals(rows())
    assert not few.equals(rows("--seed", "1"))
    assert rows("-K", "1").column_names == ["x0", "x1", "log_prob", "percentile", "outlier"]


def test_a_context_comes_from_the_table(call: Call) -> None:
    parquet.write_table(visits(), "visits.parquet")
    succeeds(call("train", "visits.parquet", "--context", "city,age", *QUICK))
    rows = visits(20).to_pylist()
    rows[3]["city"] = "Rome"
    parquet.write_table(pa.Table.from_pylist(rows, schema=visits().schema), "few.parquet")
    shown = call("score", "runs/visits", "few.parquet", "-o", "out.parquet")
    assert "row 3: column 'city' holds 'Rome', none of its levels" in shown.stderr
    found = parquet.read_table("out.parquet")
    assert found["log_prob"].to_numpy()[3] == -math.inf
    assert found["unusual_column"].to_pylist()[3] is None
    succeeds(call("evaluate", "runs/visits", "--data", "visits.parquet", "-o", "e.csv"))
    expected = csv.read_csv("e.csv")["log_prob"].to_numpy()
    succeeds(call("score", "runs/visits", "visits.parquet", "-o", "all.parquet"))
    assert parquet.read_table("all.parquet")["log_prob"].to_numpy() == pytest.approx(expected, abs=1e-4)
    parquet.write_table(visits().drop_columns(["city"]), "less.parquet")
    fails(call("score", "runs/visits", "less.parquet"), "lacks 'city'")


def test_labels_need_not_be_there_and_weights_are_passed_over(call: Call) -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 300)
    lines = [
        f"{a + 3 * k:.3f},{b:.3f},{'uv'[k]},{1 + k}" for (a, b), k in zip(rng.normal(size=(300, 2)), kind, strict=True)
    ]
    Path("t.csv").write_text("\n".join(["a,b,kind,w", *lines]) + "\n")
    model = ("--set", "model.name=maf", "--set", "model.hidden=8,8", "--set", "train.epochs=1")
    succeeds(call("train", "t.csv", "--labels", "kind", "--weights", "w", *model))
    every = call("score", "runs/t", "t.csv").stdout.splitlines()
    assert every[0] == "a,b,kind,w,log_prob,percentile,outlier"
    Path("bare.csv").write_text("\n".join(["a,b", *(",".join(line.split(",")[:2]) for line in lines)]) + "\n")
    bare = call("score", "runs/t", "bare.csv")
    assert [line.split(",")[-3:] for line in bare.stdout.splitlines()] == [line.split(",")[-3:] for line in every]
    assert "weights" not in bare.stderr
    held = json.loads(Path("runs/t/held_out.json").read_text())
    assert set(held["weight"]) == {1.0, 2.0}


def test_many_chunks_are_scored_as_one(reals: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reals("score", "runs/reals", "reals.csv").stdout
    monkeypatch.setattr(sys.modules["marginflow.data.tables.stream"], "ROWS", 64)
    parts = reals("score", "runs/reals", "reals.csv").stdout
    one, other = (csv.read_csv(io.BytesIO(each.encode()))["log_prob"].to_numpy() for each in (whole, parts))
    assert one == pytest.approx(other, abs=1e-5)
