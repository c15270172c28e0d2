"""Other rows beside the columns of their file, and cells for which a model has no place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import visits
from pyarrow import csv, feather, parquet

from marginflow.base.data_error import DataError
from marginflow.data import DataSpec
from marginflow.data.tables import stream
from marginflow.data.tables.other_rows import Beside, OtherRows
from marginflow.data.tables.table import table

REALS = DataSpec((2,), columns=("a", "b"))


def written(folder: Path, rows: list[dict[str, object]], name: str) -> str:
    path = str(folder / name)
    content = pa.Table.from_pylist(rows)
    if name.endswith(".csv"):
        csv.write_csv(content, path)
    else:
        (parquet.write_table if name.endswith(".parquet") else feather.write_feather)(content, path)
    return path


def of_visits(folder: Path, change: dict[int, dict[str, object]], name: str = "visits.parquet") -> OtherRows:
    """Visits some of whose cells were changed, for a model of visits as they are."""
    rows: list[dict[str, object]] = visits().drop_columns(["id"]).to_pylist()
    for row in rows:
        row["city"] = str(row["city"])
    spec = table(written(folder, rows, f"train-{name}"), schema={"member": {"kind": "boolean", "blank": False}}).spec
    for i, cells in change.items():
        rows[i] = rows[i] | cells
    return OtherRows(spec, written(folder, rows, name))


def with_gaps(chunks: list[Beside]) -> dict[int, str]:
    """The rows that have no place, and why."""
    found = {}
    for each in chunks:
        if each.gaps.rows is not None:
            for row in each.gaps.rows.nonzero().flatten().tolist():
                found[each.first + row] = each.gaps.reason(row)
    return found


CHANGES: dict[int, dict[str, object]] = {
    3: {"city": "Pars"},
    70: {"paid": 1.25},
    71: {"member": None},
    200: {"member": None, "city": "Rome"},
}


@pytest.mark.parametrize("name", ["visits.csv", "visits.parquet", "visits.feather"])
def test_cells_without_a_place_are_told_and_other_rows_are_as_they_are(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ROWS", 64)
    other = of_visits(tmp_path, CHANGES, name)
    chunks = list(other.beside(["city"]))
    assert with_gaps(chunks) == {
        3: "column 'city' holds 'Pars', none of its levels; did you mean Paris?",
        70: "column 'paid' holds 1.25, between the steps of its grid, 0.5 apart",
        71: "column 'member' has no value, where the schema has none missing",
        200: "column 'city' holds 'Rome', none of its levels; "
        "column 'member' has no value, where the schema has none missing",
    }
    x = torch.cat([torch.as_tensor(each.rows.x[:]) for each in chunks])
    plain = torch.cat(
        [torch.as_tensor(each.x[:]) for each in OtherRows(other.spec, str(tmp_path / f"train-{name}")).splits()]
    )
    same = [i for i in range(300) if i not in CHANGES]
    assert torch.equal(x[same].nan_to_num(-9), plain[same].nan_to_num(-9))
    cells = [each for chunk in chunks if chunk.kept is not None for each in chunk.kept["city"].to_pylist()]
    assert [cells[i] for i in (3, 200)] == ["Pars", "Rome"]
    wrong = next(
        each.gaps.among(other.spec.column_names) for each in chunks if each.first <= 200 < each.first + len(each.rows.x)
    )
    assert wrong is not None
    assert [other.spec.column_names[i] for i in wrong.any(0).nonzero().flatten()] == ["city", "member"]
    with pytest.raises(DataError, match="column 'city' holds 'Pars' in row 3"):
        list(other.splits())


@pytest.mark.parametrize("name", ["visits.csv", "visits.parquet", "visits.feather"])
def test_the_first_rows_with_their_gaps_are_those_of_all(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ROWS", 64)
    other = of_visits(tmp_path, CHANGES, name)
    every = list(other.with_gaps())
    told = with_gaps(every)
    assert list(told) == [3, 70, 71, 200]
    x = torch.cat([torch.as_tensor(each.rows.x[:]) for each in every])
    for rows in (2, 64, 71, 128, 1000):
        found = list(other.with_gaps(rows))
        some = torch.cat([torch.as_tensor(each.rows.x[:]) for each in found])
        assert torch.equal(some.nan_to_num(-9), x[:rows].nan_to_num(-9))
        assert with_gaps(found) == {row: why for row, why in told.items() if row < rows}
    strict = torch.cat([torch.as_tensor(each.x[:]) for each in other.splits(3)])  # before the first of them
    assert torch.equal(strict.nan_to_num(-9), x[:3].nan_to_num(-9))


def test_text_among_numbers_and_dates_is_a_gap_in_a_text_table(tmp_path: Path) -> None:
    lines = ["n,when,x", *(f"{i % 9},2024-01-{1 + i % 28:02d},{i / 7:.3f}" for i in range(80))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    spec = table(str(tmp_path / "a.csv"), schema={}).spec
    lines[5], lines[7], lines[9] = "many,2024-01-05,0.5", "3,soon,0.5", "3,2024-01-05,1e200"
    (tmp_path / "b.csv").write_text("\n".join(lines) + "\n")
    assert with_gaps(list(OtherRows(spec, str(tmp_path / "b.csv")).beside([]))) == {
        4: "column 'n' holds 'many', no number",
        6: "column 'when' holds 'soon', no date as 2024-04-24",
        8: "column 'x' holds 1e+200, too large a number",
    }


@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_real_numbers_that_are_missing_or_huge_are_gaps(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, object]] = [{"a": i / 3, "b": -float(i), "who": f"n{i}"} for i in range(10)]
    rows[2]["a"], rows[5]["b"], rows[6]["b"] = None, float("inf"), 1e200
    (found,) = OtherRows(REALS, written(tmp_path, rows, name)).beside(["who", "a"])
    assert with_gaps([found]) == {
        2: "column 'a' has no value",
        5: "column 'b' holds inf, no number",
        6: "column 'b' holds 1e+200, too large a number",
    }
    x = torch.as_tensor(found.rows.x[:])
    assert x.isfinite().all()
    assert x[[0, 1, 3], 0].tolist() == [0, 1 / 3, 1]
    assert found.kept is not None
    assert found.kept.column_names == ["who", "a"]


def test_columns_none_of_whose_cells_can_be_read_are_refused_together(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"a": "x", "b": "y"} for _ in range(5)]
    with pytest.raises(DataError, match=r"(?s)2 of 2 columns cannot be used.*'a' holds text, 'x'.*'b' holds text, 'y'"):
        list(OtherRows(REALS, written(tmp_path, rows, "r.csv")).beside([]))
    other = of_visits(tmp_path, {i: {"age": "old", "height": "tall"} for i in range(300)}, "visits.csv")
    with pytest.raises(DataError, match=r"(?s)2 columns do not fit.*'age' holds 'old'.*'height' holds 'tall'"):
        list(other.beside([]))
    with pytest.raises(DataError, match=r"has no column 'hight'; it has .*did you mean height\?"):
        list(other.beside(["hight"]))
    rows = [{"a": 1.0}]
    with pytest.raises(ValueError, match="lacks 'b'"):
        list(OtherRows(REALS, written(tmp_path, rows, "r.csv")).beside([]))


def test_columns_are_kept_as_they_stand_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,who,b\n1.50,"x, y",007\n 2,,1e0\n')
    (found,) = OtherRows(REALS, str(tmp_path / "t.csv")).beside(["who", "a", "b"])
    assert found.kept is not None
    assert found.kept.to_pydict() == {"who": ["x, y", ""], "a": ["1.50", " 2"], "b": ["007", "1e0"]}
    np.save(tmp_path / "t.npy", np.array([[1.0, 2.0]], np.float32))
    (found,) = OtherRows(DataSpec((2,)), str(tmp_path / "t.npy")).beside(["x1"])
    assert found.kept is not None
    assert found.kept.to_pydict() == {"x1": [2.0]}
