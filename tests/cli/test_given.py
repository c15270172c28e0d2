"""Columns given on the command line: sample --given, score --given and fill, on files; and what is wrong with them."""

from __future__ import annotations

import csv
import math
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import Call, fails, succeeds
from pyarrow import parquet

from marginflow.cli.sample_given import first_of

pytestmark = pytest.mark.usefixtures("single")
QUICK = ("--set", "model.hidden=16,16", "--set", "model.orders=1", "--set", "train.epochs=2", "--overwrite")
RUN = "runs/orders"
NAMES = ["id", "segment", "price", "paid", "age"]


def rows_of(number: int = 600, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    segment = rng.integers(0, 3, number)
    price = np.round(10 + 5 * segment + rng.gamma(2, 2, number), 1)
    paid, age = (rng.random(number) < 0.2 + 0.3 * segment).astype(int), rng.normal(40, 5, number).round()
    blank = rng.random(number) < 0.2
    return [
        [
            f"n{i:05d}",
            "abc"[segment[i]],
            f"{price[i]:.1f}",
            ["no", "yes"][int(paid[i])],
            "" if blank[i] else f"{age[i]:.0f}",
        ]
        for i in range(number)
    ]


def write(path: str, rows: list[list[str]], names: list[str] = NAMES) -> None:
    with Path(path).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def orders(call: Call) -> Call:
    """A run on orders.csv in runs/orders, of the model "mixed", in the order of the file; id is left out."""
    write("orders.csv", rows_of())
    options = ("--set", "schema.price.lower=0", "--set", "schema.price.upper=80")
    succeeds(call("train", "orders.csv", "--model", "mixed", *options, *QUICK))
    return call


def test_rows_are_drawn_with_the_given_values_and_how_good_they_are_is_said(orders: Call) -> None:
    said = succeeds(orders("sample", RUN, "--given", "segment=b", "-n", 30, "-o", "first.csv"))
    assert "wrote first.csv: 30 rows, independent draws given segment" in said
    assert {row["segment"] for row in read("first.csv")} == {"b"}
    said = succeeds(orders("sample", RUN, "--given", "paid=yes", "--given", "age=", "-n", 200, "-o", "later.csv"))
    assert "wrote later.csv: 200 rows from " in said
    assert "weighted draws given paid,age (effective sample size" in said
    assert {(row["paid"], row["age"]) for row in read("later.csv")} == {("yes", "")}
    assert len({row["price"] for row in read("later.csv")}) > 20
    again = succeeds(orders("sample", RUN, "--given", "paid=yes", "--given", "age=", "-n", 200, "-o", "again.csv"))
    assert "wrote again.csv" in again
    assert read("again.csv") == read("later.csv")
    succeeds(orders("sample", RUN, "--given", "paid=no", "-n", 5, "-o", "rows.npy"))
    assert np.load("rows.npy").shape == (5, 4)


def test_rows_of_a_file_come_in_turn(orders: Call) -> None:
    write("given.csv", [["a", "yes"], ["c", "no"]], ["segment", "paid"])
    succeeds(orders("sample", RUN, "--given", "given.csv", "-o", "two.csv"))
    assert [(row["segment"], row["paid"]) for row in read("two.csv")] == [("a", "yes"), ("c", "no")]
    succeeds(orders("sample", RUN, "--given", "given.csv", "-n", 5, "-o", "five.csv"))
    assert [row["segment"] for row in read("five.csv")] == list("acaca")
    assert len({row["price"] for row in read("five.csv")}) > 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["price=95"], r"--given: column 'price' holds 95, outside of its bounds: give 0.0 to 80.0"),
        (["price=12.345"], r"column 'price' holds 12.345, between the steps of its grid, 0.1 apart"),
        (["segment=d"], r"column 'segment' holds 'd', none of the levels a, b, c"),
        (["paid="], r"column 'paid' has no value, where the schema has none missing"),
        (["price=many"], r"column 'price' holds .*many"),
        (["id=n00001"], r"column 'id' is left out of the model"),
        (["pirce=10"], r"the model has no column 'pirce'; did you mean price\?"),
        (["price=10", "price=11"], r"--given says two values of 'price', '10' and '11': give one"),
        (["segment=a", "price=10", "paid=no", "age=40"], r"every column is given, and nothing is left to draw"),
        (["none.csv"], r"none.csv"),
        (["given.csv", "price=10"], r"give either columns, --given name=value, or one file"),
    ],
)
def test_what_cannot_be_given_is_told_in_words(orders: Call, given: list[str], message: str) -> None:
    write("given.csv", [["a"]], ["segment"])
    fails(orders("sample", RUN, *(part for each in given for part in ("--given", each))), message)
    assert not Path("samples.csv").exists()


def test_all_that_is_wrong_is_told_at_once(orders: Call) -> None:
    result = orders("sample", RUN, "--given", "price=95", "--given", "segment=d", "--given", "id=1")
    assert result.exit_code == 1
    assert all(each in result.output for each in ("'price' holds 95", "'segment' holds 'd'", "'id' is left out"))
    write("given.csv", [["a", "12.0"], ["b", "99.0"]], ["segment", "price"])
    fails(orders("sample", RUN, "--given", "given.csv"),
          r"given.csv: column 'price' holds 99.0 in row 1 \(counted from 0\), outside of its bounds")  # fmt: skip


def test_options_that_do_not_go_together_are_refused(orders: Call) -> None:
    fails(
        orders("sample", RUN, "--given", "paid=no", "--temperature", 0.5),
        "leave --label and --temperature out",
    )
    fails(orders("sample", RUN, "--given", "paid=no", "-o", "x.png"), "write .csv or .parquet")


def test_the_remedies_can_be_typed_as_they_stand(orders: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few draws: the options of a training that begins with the columns. A flow: mixed, or a context."""
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["marginflow.distributions.sample_given"], "FEWEST", 10**7)
        patched.setattr(sys.modules["marginflow.distributions.sample_given"], "NUMBERS", 5000)
        refused = orders("sample", RUN, "--given", "paid=yes", "--given", "price=20")
    fails(refused, r"draws as few as \d+ count for 64 rows.*--model mixed --set model.first=price,paid trains a model")
    said = refused.output.replace("\n", " ")
    options = shlex.split(said[said.index("--model mixed") : said.index(" trains a model")])
    succeeds(orders("train", "orders.csv", *options, *QUICK))
    said = succeeds(orders("sample", RUN, "--given", "paid=yes", "--given", "price=20", "-o", "x.csv"))
    assert "64 rows, independent draws given price,paid" in said
    refused = orders("train", "orders.csv", "--model", "mixed", "--set", "model.first=pirce", *QUICK)
    assert "first must name columns that are modelled; got 'pirce'; did you mean price?" in refused.output
    rng = np.random.default_rng(0)
    write("real.csv", [[f"{a:.9f}", f"{a + b:.9f}"] for a, b in rng.normal(size=(300, 2))], ["a", "b"])
    succeeds(orders("train", "real.csv", "--model", "maf", "--set", "train.epochs=1"))
    for command in (("sample", "runs/real", "--given", "a=1"), ("score", "runs/real", "real.csv", "--given", "a")):
        fails(orders(*command), r"no factor for each column.*train with --model mixed, or with --context a")
    fails(orders("fill", "runs/real", "real.csv"), r"no factor for each column.*train with --model mixed")


def test_odd_names_are_typed_as_a_list() -> None:
    assert first_of(["price", "paid"]) == "--model mixed --set model.first=price,paid"
    assert first_of(["price"]) == """--model mixed --set 'model.first=["price"]'"""
    assert first_of(["a, b", "c"]) == """--model mixed --set 'model.first=["a, b", "c"]'"""


def test_mixtures_and_contexts(orders: Call) -> None:
    succeeds(orders("train", "orders.csv", "--model", "mixture", "--set", "model.components=3", "--overwrite"))
    said = succeeds(orders("sample", RUN, "--given", "paid=yes", "--given", "age=40", "-o", "x.csv"))
    assert "64 rows, independent draws given paid,age" in said
    succeeds(orders("train", "orders.csv", "--model", "mixed", "--context", "paid", *QUICK))
    said = succeeds(orders("sample", RUN, "--given", "paid=yes", "--given", "segment=b", "-o", "x.csv"))
    assert "64 rows, independent draws given segment" in said
    assert {(row["paid"], row["segment"]) for row in read("x.csv")} == {("yes", "b")}
    fails(orders("sample", RUN, "--given", "segment=b"),
          "needs its context: give --given paid=VALUE too, or --context-from FILE")  # fmt: skip
    said = succeeds(orders("sample", RUN, "--given", "paid=yes", "-o", "x.csv"))  # the context alone
    assert {row["paid"] for row in read("x.csv")} == {"yes"}
    assert len({row["price"] for row in read("x.csv")}) > 20
    write("context.csv", [["yes"], ["no"]], ["paid"])
    succeeds(orders("sample", RUN, "--given", "segment=b", "--context-from", "context.csv", "-o", "y.csv", "-n", 4))
    assert [(row["paid"], row["segment"]) for row in read("y.csv")] == [("yes", "b"), ("no", "b")] * 2


def test_score_given_adds_up_to_log_p_of_the_row(orders: Call) -> None:
    """log p(row) = log p(segment, price) + log p(paid, age | segment, price), both exact in the order of the file."""
    write("few.csv", rows_of(20, 1))
    succeeds(orders("score", RUN, "few.csv", "-o", "whole.csv"))
    succeeds(orders("score", RUN, "few.csv", "--given", "segment,price", "-o", "rest.csv"))
    succeeds(orders("score", RUN, "few.csv", "--given", "segment", "--of", "price", "-o", "price.csv"))
    said = succeeds(orders("score", RUN, "few.csv", "--given", "age", "-o", "age.csv"))
    assert "high on average" in said
    whole, rest, price, age = (read(f"{name}.csv") for name in ("whole", "rest", "price", "age"))
    assert list(rest[0]) == [*NAMES, "log_prob_given", "standard_error"]
    assert {row["standard_error"] for row in rest} == {"0"}
    assert all(float(row["standard_error"]) > 0 for row in age)
    succeeds(orders("score", RUN, "few.csv", "--given", "price,paid,age", "--of", "segment", "-o", "a.csv", "-K", 4000))
    for i, row in enumerate(whole):
        segment = float(row["log_prob"]) - float(rest[i]["log_prob_given"]) - float(price[i]["log_prob_given"])
        assert -5 < segment < 0
    by_segment = {row["segment"]: round(float(row["log_prob"]) - float(rest[i]["log_prob_given"])
                  - float(price[i]["log_prob_given"]), 3) for i, row in enumerate(whole)}  # fmt: skip
    assert sum(map(math.exp, by_segment.values())) == pytest.approx(1, abs=1e-2)
    fails(
        orders("score", RUN, "few.csv", "--given", "pirce"),
        r"--given must name columns.*did you mean price\?",
    )
    fails(orders("score", RUN, "few.csv", "--of", "price"), "name these, --given a,b")


def test_fill_fills_the_blanks_and_nothing_else(orders: Call) -> None:
    rows = rows_of(40, 2)
    for i, row in enumerate(rows):
        row[1 + i % 4] = ""
    rows[5][1] = "d"  # which the model has no place for
    write("gaps.csv", rows)
    said = succeeds(orders("fill", RUN, "gaps.csv", "-o", "filled.csv"))
    assert "cells filled: " in said
    assert ", in 40 of the rows: segment 10, price 10, paid 10, age 1" in said
    assert "rows filled by weighted draws: " in said
    assert "which stay and count as unknown: 1" in said
    before, after = read("gaps.csv"), read("filled.csv")
    assert list(after[0]) == NAMES
    for one, other in zip(before, after, strict=True):
        assert all(other[name] == one[name] or not one[name] for name in NAMES)
        assert all(other[name] for name in NAMES)
        assert other["segment"] in "abcd"
        assert other["paid"] in ("yes", "no")
        assert 0 <= float(other["price"]) <= 80
        assert len(other["price"].split(".")[1]) == 1
    said = succeeds(orders("fill", RUN, "gaps.csv", "-o", "median.csv", "--by", "median", "--quantiles", "0.1,0.9"))
    rows_filled = read("median.csv")
    assert list(rows_filled[0]) == [*NAMES, "price_q10", "price_q90", "age_q10", "age_q90"]
    for one, other in zip(before, rows_filled, strict=True):
        assert bool(other["age_q10"]) == (not one["age"])
        if not one["age"]:
            assert float(other["age_q10"]) <= float(other["age"]) <= float(other["age_q90"])
    succeeds(orders("fill", RUN, "gaps.csv", "-o", "filled.parquet"))
    table = parquet.read_table("filled.parquet")
    assert table.column_names == NAMES
    assert table["price"].null_count == 0
    fails(orders("fill", RUN, "gaps.csv", "-o", "gaps.csv"), "is the table itself")
    fails(orders("fill", RUN, "gaps.csv", "--quantiles", "0.1,1"), "different numbers between 0 and 1")
    fails(orders("fill", RUN, "gaps.csv", "--by", "mean"), "--by must be one of draw, median")


def test_fill_of_real_numbers_without_a_schema(call: Call) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))
    write("real.csv", [[f"{a:.9f}", f"{2 * a + 0.1 * b:.9f}"] for a, b in z], ["a", "b"])
    succeeds(call("train", "real.csv", "--model", "gaussian_mixture", "--set", "model.components=1"))
    write("gaps.csv", [["1.5", ""], ["", "-2.0"]], ["a", "b"])
    succeeds(call("fill", "runs/real", "gaps.csv", "-o", "filled.csv", "--by", "median", "--quantiles", "0.025,0.975"))
    first, second = read("filled.csv")
    assert float(first["b"]) == pytest.approx(3, abs=0.1)
    assert float(second["a"]) == pytest.approx(-1, abs=0.1)
    assert float(first["b_q97.5"]) - float(first["b_q2.5"]) == pytest.approx(0.4, abs=0.1)
    assert first["a_q2.5"] == ""


def test_a_column_that_is_blank_throughout_is_filled_in_any_format(orders: Call) -> None:
    rows = rows_of(12, 3)
    for row in rows:
        row[2] = row[3] = ""
    write("gaps.csv", rows)
    table = pa.table({
        "id": [row[0] for row in rows], "segment": [row[1] for row in rows],
        "price": pa.nulls(12), "paid": pa.nulls(12),
        "age": pa.array([float(row[4]) if row[4] else None for row in rows]),
    })  # fmt: skip
    parquet.write_table(table, "gaps.parquet")
    for name in ("gaps.csv", "gaps.parquet"):
        succeeds(orders("fill", RUN, name, "-o", "filled.parquet"))
        filled = parquet.read_table("filled.parquet")
        assert filled["price"].null_count == filled["paid"].null_count == 0
        assert set(filled["paid"].to_pylist()) <= {"yes", "no"}
        succeeds(orders("fill", RUN, name, "-o", "filled.csv", "--by", "median", "--quantiles", "0.5"))
        assert all(row["price"] == row["price_q50"] for row in read("filled.csv"))


def test_whole_numbers_get_others_beside_them(call: Call) -> None:
    rng = np.random.default_rng(0)
    write("real.csv", [[f"{a:.9f}", f"{a + b:.9f}"] for a, b in rng.normal(size=(300, 2))], ["a", "b"])
    succeeds(call("train", "real.csv", "--model", "gaussian_mixture", "--set", "model.components=1"))
    parquet.write_table(pa.table({"a": pa.array([1, None, 3]), "b": pa.nulls(3)}), "gaps.parquet")
    succeeds(call("fill", "runs/real", "gaps.parquet", "-o", "filled.parquet"))
    filled = parquet.read_table("filled.parquet")
    assert filled["a"].to_pylist()[::2] == [1.0, 3.0]
    assert filled.schema.types == [pa.float64()] * 2
    assert filled["b"].null_count == 0


def test_fill_says_what_else_it_did(orders: Call) -> None:
    write("gaps.csv", [["n1", "", "", "yes", "41"], ["n2", "a", "11.0", "", ""]])
    result = orders("fill", RUN, "gaps.csv", "-o", "filled.npy")
    assert result.exit_code == 1
    assert "cannot be kept in an array of numbers" in result.output
    assert "give -o filled.csv" in result.output
    fails(orders("fill", RUN, "gaps.csv", "--quantiles", "0.3333333,0.33333331"), "different numbers between 0 and 1")
    options = ("--set", "schema.segment.pool=500", "--context", "paid")
    succeeds(orders("train", "orders.csv", "--model", "mixed", *options, *QUICK))
    write("context.csv", [["n1", "", "12.0", "maybe", "41"]])
    result = orders("fill", RUN, "context.csv")
    assert result.exit_code == 1
    assert "the context 'paid' must be known in every row; row 0" in result.output
    assert "id,segment" not in result.output  # nothing half-written
    write("pooled.csv", [["n1", "", "12.0", "yes", "41"]] * 30)
    said = succeeds(orders("fill", RUN, "pooled.csv", "-o", "filled.csv"))
    assert "cells filled with a level that stands for rare ones: " in said


def test_columns_that_are_neither_given_nor_asked_for_may_hold_anything(orders: Call) -> None:
    write(
        "rows.csv",
        [["n1", "a", "12.345", "yes", "41"], ["n2", "z", "12.0", "yes", "41"], ["n3", "a", "12.0", "maybe", "41"]],
    )
    said = succeeds(
        orders("score", RUN, "rows.csv", "--given", "segment", "--of", "paid", "-o", "scored.csv", "-K", 50)
    )
    found = [row["log_prob_given"] for row in read("scored.csv")]
    assert -20 < float(found[0]) < 0
    assert found[1:] == ["", "-inf"]
    assert "1 of 3 rows have given values that have no probability" in said


def test_seconds_are_a_time(orders: Call) -> None:
    for wrong in ("-5", "0", "nan", "inf"):
        fails(orders("sample", RUN, "--given", "paid=yes", "--seconds", wrong), "--seconds must be above 0")
