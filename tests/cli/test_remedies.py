"""What a command says of a table that does not suit, and that what it says can be typed as it stands."""

from __future__ import annotations

import shlex
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import Call, fails, succeeds

from marginflow.base.data_warning import DataWarning

pytestmark = pytest.mark.usefixtures("single")
QUICK = ("--model", "mixture", "--set", "model.components=2", "--set", "train.epochs=2")
RNG = np.random.default_rng(0)
DAYS = [date(2023, 1, 1) + timedelta(int(each)) for each in RNG.integers(0, 700, 300)]


def write_days(name: str, form: str) -> None:
    table = pd.DataFrame({"day": [day.strftime(form) for day in DAYS], "v": RNG.normal(size=300).round(3)})
    table.to_csv(name, index=False)


def test_dates_in_the_other_order_are_told_of_the_whole_column_and_mended_as_it_says(call: Call) -> None:
    write_days("ours.csv", "%d/%m/%Y")
    write_days("theirs.csv", "%m/%d/%Y")
    succeeds(call("train", "ours.csv", *QUICK))
    only, both = sum(day.day > 12 for day in DAYS), sum(day.day <= 12 for day in DAYS)
    result = call("score", "runs/ours", "theirs.csv", "-o", "scored.csv")
    succeeds(result)
    (line,) = [line for line in result.stderr.splitlines() if "seems to hold" in line]
    assert "theirs.csv: column 'day' seems to hold dates as %m/%d/%Y, where the model has %d/%m/%Y" in line
    assert f"{only} cells, such as" in line
    assert f"day and month are exchanged in {both} cells that can be either" in line
    result = call("evaluate", "runs/ours", "--data", "theirs.csv")
    assert "seems to hold dates as %m/%d/%Y" in result.stderr
    table = pd.read_csv("theirs.csv")
    exec(line.split("in pandas ")[1], {"table": table, "pd": pd})
    assert [each.date() for each in table["day"]] == DAYS
    table.to_csv("mended.csv", index=False)
    result = call("score", "runs/ours", "mended.csv", "-o", "scored.csv")
    succeeds(result)
    assert "seems to hold" not in result.stderr
    assert "rows have density 0" not in result.stderr


def test_a_date_that_cannot_be_read_is_told_with_one_that_can(call: Call) -> None:
    write_days("ours.csv", "%d/%m/%Y")
    succeeds(call("train", "ours.csv", *QUICK))
    Path("mixed.csv").write_text("day,v\n24.04.2024,1.5\n2024-04-25,2\n26.04.2024,1\n")
    wanted = r"holds '24\.04\.2024' in row 0 .*, no date as 24/04/2024 or, in all cells, 2024-04-24; 3 such cells"
    fails(call("evaluate", "runs/ours", "--data", "mixed.csv"), wanted)


@pytest.mark.parametrize(
    ("form", "value"),
    [("{:.2f} €", 1234.25), ("${:,.2f}", 1234.5), ("{:.1f} kg", 1234.5), ("EUR {:,.0f}", 1234.0)],
)
def test_numbers_with_units_have_their_own_line_that_makes_them_numbers(call: Call, form: str, value: float) -> None:
    amounts = [value + 7 * i for i in range(300)]
    table = pd.DataFrame({"price": [form.format(each) for each in amounts], "v": RNG.normal(size=300)})
    table.assign(key=[f"k{i}x" for i in range(300)]).to_csv("shop.csv", index=False)
    result = call("train", "shop.csv", *QUICK, "-q")
    succeeds(result)
    (line,) = [line for line in result.stderr.splitlines() if "left out" in line]
    assert "around them in 300 of 300 cells" in line
    assert "key" not in line
    exec(line.split("in pandas ")[1], {"table": table, "pd": pd})
    assert table["price"].tolist() == amounts


def test_decimal_commas_are_made_points() -> None:
    from marginflow.data.tables.units import unit_in
    from marginflow.data.tables.values import of_arrow

    table = pd.DataFrame({"price": ["1.277,00 €", "-3,50 €", "12,25 €"]})
    unit = unit_in(of_arrow(table["price"].to_numpy().astype(object).astype(str)))
    assert unit is not None
    exec(unit.stripped_in_pandas("price"), {"table": table, "pd": pd})
    assert table["price"].tolist() == [1277.0, -3.5, 12.25]
    for none in (["k1", "k2", "k3"], ["00012 kg", "00013 kg"], ["3 kg", "4 m", "5 s"], ["a", "b"]):
        assert unit_in(of_arrow(np.array(none))) is None


def test_what_is_left_out_is_said_once_and_quiet_says_none_of_it(call: Call) -> None:
    table = pd.DataFrame({"key": [f"k{i}x" for i in range(300)], "v": RNG.normal(size=300)})
    table.to_csv("keys.csv", index=False)
    result = call("train", "keys.csv", *QUICK)
    assert succeeds(result).count("left out") == 1
    assert "schema.key" not in result.stderr  # a level a row teaches nothing
    assert "left out" not in succeeds(call("train", "keys.csv", *QUICK, "-q", "--overwrite"))


def test_a_column_without_a_density_is_dropped_as_it_is_typed(call: Call) -> None:
    columns = {"items": RNG.integers(1, 6, 300), "a": RNG.normal(size=300), "b": RNG.normal(size=300), "name": "x"}
    pd.DataFrame(columns).to_csv("t.csv", index=False)
    flow = ("--model", "maf", "--set", "model.hidden=8,8", "--set", "model.blocks=1", "--set", "train.epochs=1")
    result = call("train", "t.csv", *flow, "--drop", "name")
    succeeds(result)
    (line,) = [line for line in result.stderr.splitlines() if "without a density" in line]
    typed = line.split("or leave it out: ")[1].split(";")[0]
    assert typed == "--drop name,items"
    assert "without a density" not in succeeds(call("train", "t.csv", *flow, *shlex.split(typed), "--overwrite"))


def test_missing_columns_are_told_with_the_training_that_needs_none(call: Call) -> None:
    pd.DataFrame({"a": RNG.normal(size=300), "weight kg": RNG.normal(size=300)}).to_csv("t.csv", index=False)
    succeeds(call("train", "t.csv", *QUICK))
    pd.DataFrame({"a": RNG.normal(size=30)}).to_csv("less.csv", index=False)
    for command in (("score", "runs/t", "less.csv"), ("evaluate", "runs/t", "--data", "less.csv")):
        wanted = r"add it to the table, or train a model without it: marginflow train \.\.\. --drop 'weight kg'"
        fails(call(*command), wanted)


def test_pooled_levels_are_not_told_to_be_pooled(call: Call) -> None:
    table = pd.DataFrame({"size": RNG.choice(["S", "M"], 300), "v": RNG.normal(size=300)})
    table.to_csv("t.csv", index=False)
    succeeds(call("train", "t.csv", *QUICK))
    table.assign(size=["L", "S"] * 150).to_csv("new.csv", index=False)
    result = call("evaluate", "runs/t", "--data", "new.csv")
    pool = shlex.split(result.stderr.split("train with ")[1])
    assert "pool rare levels" not in succeeds(call("train", "t.csv", *QUICK, *pool, "--overwrite"))


def test_how_a_text_is_written_is_told_with_options_that_the_command_has(call: Call) -> None:
    lines = [f"{a:.3f};{b:.3f}".replace(".", ",") for a, b in RNG.normal(size=(300, 2))]
    Path("t.csv").write_text("\n".join(["a;b", *lines]) + "\n")
    result = call("train", "t.csv", *QUICK)
    succeeds(result)
    assert """such as by: --delimiter , --set 'data.decimal="."'""" in result.stderr
    for command in (("score", "runs/t", "t.csv", "-o", "s.csv"), ("evaluate", "runs/t", "--data", "t.csv")):
        result = call(*command)
        succeeds(result)
        assert "if that is wrong, write it as the training's file was" in result.stderr
        assert "--" not in result.stderr.split("if that is wrong")[1].splitlines()[0]


@pytest.mark.parametrize(("count", "enough"), [(3, 15), (14, 15)])
def test_too_few_rows_are_told_how_many_are_enough(call: Call, count: int, enough: int) -> None:
    for name, rows in (("few.csv", count), ("more.csv", enough)):
        pd.DataFrame(RNG.normal(size=(rows, 2)), columns=["a", "b"]).to_csv(name, index=False)
    fails(call("train", "few.csv", *QUICK), f"give {enough} rows or more")
    succeeds(call("train", "more.csv", *QUICK))


def test_an_ending_that_cannot_be_written_is_told_with_one_that_can(call: Call) -> None:
    pd.DataFrame(RNG.normal(size=(300, 2)), columns=["a", "b"]).to_csv("t.csv", index=False)
    succeeds(call("train", "t.csv", *QUICK))
    fails(call("sample", "runs/t", "-o", "x.xlsx"), r"got '\.xlsx': give one such as x\.csv")


def test_an_estimator_that_is_given_a_file_says_how_to_read_it() -> None:
    from marginflow.estimators import FlowDensity

    for name, call_of in (("orders.csv", "pd.read_csv"), ("a.parquet", "pd.read_parquet")):
        with pytest.raises(ValueError, match=rf"takes rows, not the name of a file: give {call_of}\('{name}'\)"):
            FlowDensity().fit(name)


def test_truth_values_against_yes_and_no_are_not_told_to_be_pooled() -> None:
    from marginflow.estimators import FlowDensity

    table = pd.DataFrame({"paid": RNG.choice(["yes", "no"], 200), "v": RNG.normal(size=200)})
    found = FlowDensity("mixture", options={"model": {"components": 2}, "train": {"epochs": 1}}).fit(table)
    for paid in (table["paid"] == "yes", (table["paid"] == "yes").astype(str)):
        with pytest.warns(DataWarning, match="none of its levels, no and yes") as told:
            found.score_samples(table.assign(paid=paid))
        assert "pool" not in str(told[0].message)
