"""Lists and remedies as they are typed: what a message prints can be typed as it stands, whatever the names."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import Call, fails, succeeds
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from marginflow.cli.typed import as_list, in_shell, names_in
from marginflow.data import DataSet
from marginflow.runs.build import load_data
from marginflow.runs.schema import Experiment

pytestmark = pytest.mark.usefixtures("single")
NAMES = [
    "plain",
    "a, b",
    'the "b"',
    "it's",
    "two  blanks",
    " around ",
    "größe",
    "日本",
    "-x",
    "$HOME",
    "a=b",
    "line\nend",
    "",
]
REAL = ("--model", "maf")  # a flow of real numbers
QUICK = (
    "--set",
    "train.epochs=1",
    "--set",
    "model.hidden=8,8",
    "--set",
    "model.blocks=1",
    "--set",
    "train.batch_size=20",
)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_names_in_a_list_survive(names: list[str]) -> None:
    assert names_in(as_list(names)) == names
    typed = shlex.split(in_shell({"drop": names}))
    text = typed[1] if typed[0] == "--drop" else typed[0].removeprefix("--drop=")
    assert names_in(text) == names


def remedies(text: str) -> list[list[str]]:
    """The options that a message names, split as a shell does: of one problem behind it, else in lines of their own."""
    lines = text.split("\n") if "cannot be used" in text else text.split("; or ")
    return [shlex.split(line[line.index(": --") + 2 :]) for line in lines if ": --" in line]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[DataSet]:
    """The data that each call of train came to train on."""
    found: list[DataSet] = []

    def load(settings: Experiment, *_: object, **__: object) -> int:
        found.append(load_data(settings))
        return 1

    monkeypatch.setattr("marginflow.cli.train.train_run", load)
    return found


def test_remedies_can_be_typed_as_they_stand(call: Call, trained: list[DataSet]) -> None:
    rng = np.random.default_rng(0)
    names = [name for name in NAMES if name not in ("line\nend", "")]
    columns = {name: ["u", "v"] * 100 for name in names}
    parquet.write_table(pa.table({"x": rng.normal(size=200), **columns}), "odd.parquet")
    result = call("train", "odd.parquet", *REAL)
    assert result.exit_code == 1
    out, classes, any_kind = remedies(result.stderr)
    succeeds(call("train", "odd.parquet", *REAL, *out))
    succeeds(call("train", "odd.parquet", *REAL, *classes))
    succeeds(call("train", "odd.parquet", *REAL, *any_kind))
    assert [each.columns for each in trained] == [("x",), ("x",), ("x", *names)]
    assert [each.labels for each in trained] == [(), ("u", "v"), ()]


@pytest.mark.parametrize("name", NAMES)
def test_the_remedy_of_one_column_stands_behind_what_is_wrong(call: Call, trained: list[DataSet], name: str) -> None:
    parquet.write_table(pa.table({"x": np.arange(200) % 7 * 0.5, name: ["u"] * 200}), "odd.parquet")
    result = call("train", "odd.parquet", *REAL)
    assert result.exit_code == 1
    out, any_kind = remedies(result.stderr.strip())
    succeeds(call("train", "odd.parquet", *REAL, *out))
    succeeds(call("train", "odd.parquet", *REAL, *any_kind))
    assert [each.columns for each in trained] == [("x",), ("x",)]  # the other is constant


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (["--set", "data.drop=a,b"], ["c,d", "e"]),
        (["--set", 'data.drop=["a", "c,d"]'], ["b", "e"]),
        (["--set", "data.drop=['a', 'c,d']"], ["b", "e"]),
        (["--set", "data.drop=c,d"], ["a", "b", "e"]),
        (["--set", "data.drop=a, e"], ["b", "c,d"]),
        (["--set", "data.columns=b,a"], ["b", "a"]),
        (["--drop", "a,b"], ["c,d", "e"]),
        (["--drop", 'a,"c,d"'], ["b", "e"]),
        (["--columns", "e,b", "--drop", "b"], ["e"]),
        (["--drop", "a", "--set", "data.columns=['a', 'b']"], ["b"]),
    ],
)
def test_lists_in_options_and_in_set(
    call: Call, trained: list[DataSet], arguments: list[str], columns: list[str]
) -> None:
    rng = np.random.default_rng(0)
    parquet.write_table(pa.table({name: rng.normal(size=100) for name in ("a", "b", "c,d", "e")}), "t.parquet")
    succeeds(call("train", "t.parquet", *REAL, *arguments))
    assert list(trained[0].columns) == columns


def test_mistakes_in_lists_are_named(call: Call) -> None:
    rng = np.random.default_rng(0)
    parquet.write_table(pa.table({name: rng.normal(size=100) for name in ("a", "b")}), "t.parquet")
    fails(call("train", "t.parquet", *REAL, "--set", "model.hidden=8,x"), "model.hidden = '8,x'")
    fails(call("train", "t.parquet", *REAL, "--drop", "f"), "has no column 'f'; it has 'a', 'b'")
    fails(call("train", "t.parquet", *REAL, "--drop", "a,b"), "no column is left of 'a', 'b'")
    fails(call("train", "moons.toml", "--drop", "f"), r"unknown key data\.drop")


def test_text_tables_from_the_command_line(call: Call) -> None:
    rng = np.random.default_rng(0)
    text = ";a;b;kind\n" + "".join(
        f"{i};{x:.4f};{y:.4f};{'uv'[i % 2]}\n".replace(".", ",") for i, (x, y) in enumerate(rng.normal(size=(200, 2)))
    )
    Path("mine.csv").write_bytes(text.encode("utf-16"))
    result = call("train", "mine.csv", *QUICK, "--labels", "kind")
    succeeds(result)
    first, second = [line for line in result.stderr.splitlines() if "warning" in line]
    assert first.endswith(
        "mine.csv: read with ';' between values, ',' as decimal mark; if that is wrong, say how it is written, such as "
        """by: --delimiter , --set 'data.decimal="."'"""
    )
    assert "column 'Unnamed: 0' left out, row numbers or names: name it in columns to use it" in second
    succeeds(call("evaluate", "runs/mine", "--no-figures"))
    for ending in (".csv", ".tsv", ".csv.gz", ".txt"):
        succeeds(call("sample", "runs/mine", "-n", 30, "--label", "v", "-o", f"drawn{ending}"))
        assert "mean over 30 rows" in succeeds(call("evaluate", "runs/mine", "--data", f"drawn{ending}"))
    fails(
        call("sample", "runs/mine", "--label", "w", "-o", "x.csv"),
        "label 'w', which the model does not know; .*'u', 'v'",
    )
    succeeds(call("train", "drawn.csv.gz", *QUICK))
    assert Path("runs/drawn/config.toml").exists()


COLUMNS = [
    *NAMES, "shop name", "a.b", "a.b = c.d", "'quoted'", '"quoted"', "back\\slash", "tab\tin", "\u202eleft", "🙂", ".",
]  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_said_of_a_column_can_be_typed_whatever_its_name(call: Call, name: str) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "dates": pa.array([f"{1 + i % 9}/{1 + i % 7}/2020" for i in range(400)]),
        "left out": pa.array([f"word {i if i % 4 > 1 else i % 4} of many" for i in range(400)]),
        "piled": pa.array(np.where(rng.random(400) < 0.4, 0.0, rng.random(400))),
    }
    for what, values in columns.items():
        parquet.write_table(pa.table({"beside": rng.normal(size=400), name: values}), "odd.parquet")
        result = call("data", "describe", "odd.parquet")
        assert result.exit_code == 0
        said = result.stderr if what != "piled" else result.stdout[result.stdout.index("to take back") :]
        options = shlex.split(said[said.index("--set") :].replace(", the rows that a level needs", ""))
        given = [each.rstrip(",") for each in options[1 : (4 if what == "piled" else 2) : 2]]
        again = [part for each in given for part in ("--set", each)]
        result = call("data", "describe", "odd.parquet", "--json", *again)
        assert result.exit_code == 0, result.output
        found = {each["name"]: each for each in json.loads(result.stdout)["columns"]}[name]
        if what == "dates":
            assert (found["kind"], found["type"]) == ("date", "string date32[day] %-d/%-m/%Y")
        elif what == "left out":
            assert (found["kind"], found["pooled"]) == ("category", True)
        else:
            assert given[0].endswith("lower=none")
            assert given[1].endswith("atoms=[]")
            assert (found["lower"], found["atoms"]) == (None, [])


def test_what_is_wrong_with_a_column_is_mended_as_it_says(call: Call) -> None:
    levels = [f"level {i // 2}" for i in range(20_400)]
    beside = np.random.default_rng(0).normal(size=len(levels))
    parquet.write_table(pa.table({"beside": beside, "a.b = c": levels}), "odd.parquet")
    result = call("data", "describe", "odd.parquet", "--set", "schema.'a.b = c'.kind=category")
    assert result.exit_code == 1
    pooled, out = (shlex.split(each) for each in result.stderr.split("pool rare levels: ")[1].split("; correct", 1))
    succeeds(call("data", "describe", "odd.parquet", *pooled))
    succeeds(call("data", "describe", "odd.parquet", *out[out.index("--drop") :]))


def test_a_resumed_run_names_the_former_option_as_it_is_typed(call: Call) -> None:
    rng = np.random.default_rng(0)
    parquet.write_table(pa.table({"x": rng.normal(size=200), "a.b = c": rng.integers(0, 9, 200)}), "t.parquet")
    short = ("train", "t.parquet", *QUICK[:4], "--set", "model.name=mixed")
    succeeds(call(*short, "--set", 'schema."a.b = c".kind=category'))
    result = call(*short, "--resume")
    assert result.exit_code == 1
    said = result.stderr[result.stderr.index("(--set") + 1 :]
    option = shlex.split(said[: said.index("), or give")])
    succeeds(call(*short, "--resume", *option))
