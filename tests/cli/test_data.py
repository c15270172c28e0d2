"""marginflow data describe: what it prints of tables of all sorts, and how options and mistakes are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import Call, fails, succeeds
from pyarrow import parquet

from marginflow.data.grid import Grid
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.describe import described
from marginflow.data.warp import Warp
from marginflow.report.schema_table import what_is_done

RNG = np.random.default_rng(0)
N = 100


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of a shop, with a column of most kinds."""
    monkeypatch.setenv("COLUMNS", "200")
    lines = ["order,day,size,paid,items,Gewicht.kg,note"]
    sizes = ["S", "M", "?", "L"]
    for i in range(N):
        paid = f"{RNG.integers(100, 400) / 100:.2f}"
        kilos = f"{RNG.lognormal():.9f}"
        lines.append(
            f"{i + 1},{1 + i % 28}.{1 + i % 12}.2024,{sizes[i % 4]},{paid},{i % 5 % 3},{kilos},said {i} times so"
        )
    path = Path("shop.csv")
    path.write_text("\n".join(lines) + "\n")
    return path


def row_of(output: str, name: str) -> list[str]:
    """The cells of a column's line in a printed table."""
    line = next(line for line in output.splitlines() if re.match(rf"│ {re.escape(name)} ", line))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_each_column_is_described_in_a_line(call: Call, shop: Path) -> None:
    result = call("data", "describe", shop)
    output = succeeds(result)
    assert row_of(output, "size") == [
        "size",
        "category",
        "L, M, S",
        "25 %",
        "L (25 %)",
        "a probability for each of 3 levels, and for missing",
    ]
    assert row_of(output, "items")[:5] == ["items", "integer", "0 to 2", "-", "0 (40 %)"]
    assert row_of(output, "items")[5].startswith("a probability for each step of 1")
    assert row_of(output, "day")[1:3] == ["date", "1.1.2024 to 28.12.2024"]
    assert "each step of 1 day" in row_of(output, "day")[5]
    assert row_of(output, "paid")[1] == "decimal"
    assert row_of(output, "Gewicht.kg")[1] == "positive"
    assert row_of(output, "note") == [
        "note",
        "text",
        "-",
        "-",
        "-",
        "left out: free text, 100 different values in 100 rows",
    ]
    assert row_of(output, "order")[1] == "identifier"
    assert row_of(output, "order")[5] == "left out: whole numbers, each once"
    assert "'?' taken for missing values in 'size'" in result.stderr
    assert "(identifier: whole numbers, each once), 'note' (text: free text" in result.stderr


def test_a_narrow_terminal_shows_names_whole_and_later_what_is_done(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("number_of_items_in_cart", "discount_pct", "size")
    cells = [RNG.integers(0, 9, N), RNG.choice([0.0, 5.0, 10.5], N), RNG.choice(["S", "M", "L"], N)]
    parquet.write_table(pa.table(dict(zip(names, cells, strict=True))), "shop.parquet")
    output = succeeds(call("data", "describe", "shop.parquet"))
    found, done = output.split("┏")[1:]
    assert max(map(len, output[: output.index("to take back")].splitlines())) <= 80
    assert [row_of(found, name)[1] for name in names] == ["integer", "decimal", "category"]
    assert row_of(found, names[0])[2] == f"{min(cells[0])} to {max(cells[0])}"
    assert row_of(done, "size") == ["size", "a probability for each of 3 levels"]
    assert row_of(done, "discount_pct")[1].startswith("a probability for each step of")


def test_options_say_what_a_column_is(call: Call, shop: Path) -> None:
    options = ["--set", "schema.size.kind=ordered", "--set", 'schema.size.levels=["S","M","L"]', "--drop", "note,order"]
    options += ["--set", "schema.Gewicht.kg.kind=real", "--set", "schema.items.upper=9", "--set", "data.context=day"]
    output = succeeds(call("data", "describe", shop, *options))
    assert row_of(output, "size")[1:3] == ["ordered", "S, M, L"]
    assert row_of(output, "Gewicht.kg")[1] == "real"
    assert "up to 9" in row_of(output, "items")[5]
    assert row_of(output, "day")[5].startswith("given: ")
    assert row_of(output, "note")[5] == "left out: on request"
    only = succeeds(call("data", "describe", shop, "--columns", "size,items"))
    assert "paid" not in only


def test_json_is_the_schema(call: Call, shop: Path) -> None:
    result = call("data", "describe", shop, "--json", "--drop", "note")
    schema = Schema.from_json(result.stdout)
    assert schema["size"].levels == ("L", "M", "S")
    assert schema["day"].type == "text date32[day] %-d.%-m.%Y"
    assert json.loads(result.stdout)["columns"][3]["grid"] == {"step": 1, "origin": 0, "digits": 2}


def test_mistakes_are_told_with_what_can_be_typed(call: Call, shop: Path) -> None:
    describe = ("data", "describe", shop)
    fails(
        call(*describe, "--set", "schema.size.kind=integer"),
        "column 'size' cannot be of kind 'integer': it holds 'S' in row 0 .*: --drop size",
    )
    fails(call(*describe, "--set", "schema.size.kin=integer"), "unknown key schema.size.kin; did you mean kind")
    fails(call(*describe, "--set", "schema.sise.kind=text"), "shop.csv has no column 'sise'.*did you mean size")
    fails(call(*describe, "--set", "data.decimel=,"), "unknown key data.decimel; did you mean decimal")
    fails(
        call(*describe, "--set", "train.lr=1"),
        "--set takes schema.COLUMN.OPTION=VALUE or data.OPTION=VALUE here; got 'train'",
    )
    fails(call(*describe, "--columns", "sice"), "shop.csv has no column 'sice'.*did you mean size")
    fails(call("data", "describe", "none.csv"), "none.csv")
    result = call(*describe, "--set", "schema.items.upper=1", "--set", "schema.paid.step=0.5")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "marginflow: shop.csv: 2 problems with its columns:"
    assert lines[-1] == "correct that, or leave them out: --drop paid,items"


def test_tables_of_all_shapes_are_described(tmp_path: Path) -> None:
    shapes = {
        "one column": {"a": RNG.normal(size=N)},
        "categories": {f"c{i}": RNG.choice(["x", "y", "z"], N) for i in range(5)},
        "a thousand bits": {f"b{i}": RNG.integers(0, 2, N) for i in range(1000)},
        "all missing beside": {"a": RNG.normal(size=N), "b": np.full(N, np.nan)},
    }
    for name, columns in shapes.items():
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(pa.table(columns), path)
        if "missing" in name:
            with pytest.warns(UserWarning, match=r"left out 'b' \(constant: no values\)"):
                schema, found = described(path)
        else:
            schema, found = described(path)
        assert list(found) == schema.names
        assert len(schema.columns) == len(columns)
        assert all(each.num_rows == N and each.num_blank == 0 for each in found.values())


def test_what_is_done_is_said_in_words() -> None:
    cents = Column(
        "paid", "decimal", "text double %.2f", grid=Grid(1, 0, 2), lower=0.0, atoms=(0.0, 999.0), shares=(0.1, 0.3)
    )
    assert what_is_done(cents) == "a probability for each step of 0.01, from 0.00, spikes at 9.99, 0.00"
    real = Column("x", "real", blank=True, atoms=(0.5,), warp=Warp("log", knots=(0.0,), heights=(0.0,), slopes=(1.0,)))
    assert what_is_done(real) == "a density of its log and a spline, spike at 0.5, missing apart"
    assert what_is_done(Column("w", "weight")) == "the weight of each row"
    weeks = Column("w", "date", "date32[day]", grid=Grid(7, 19000), given=True)
    assert what_is_done(weeks) == "given: a probability for each step of 7 days"
