"""Labels in any form: whatever a column of classes looks like, and however a label is written later."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from marginflow.base.labels import place_of, require_place
from marginflow.data.tables.other_rows import chunks_for
from marginflow.data.tables.table import table

N = 60
A = np.random.default_rng(0).normal(size=N)
KIND = np.arange(N) % 2
COLUMNS: dict[str, tuple[Any, tuple[str, str]]] = {
    "whole": (KIND + 1, ("1", "2")),
    "numbers": (KIND + 1.0, ("1.0", "2.0")),
    "halves": (KIND + 0.5, ("0.5", "1.5")),
    "truth": (KIND == 1, ("False", "True")),
    "text": ([("in two words", "\u00e9t\u00e9")[k] for k in KIND], ("in two words", "\u00e9t\u00e9")),
    "digits": ([str(k) for k in KIND], ("0", "1")),
    "small": (pa.array(KIND, pa.int8()), ("0", "1")),
    "cents": (pa.array([decimal.Decimal(int(k)) for k in KIND], pa.decimal128(5, 1)), ("0.0", "1.0")),
    "days": (pa.array([datetime.date(2020, 1, 1 + int(k)) for k in KIND]), ("2020-01-01", "2020-01-02")),
    "bytes": ([(b"u", b"v")[k] for k in KIND], ("u", "v")),
    "classes": (pa.array([("u", "v")[k] for k in KIND]).dictionary_encode(), ("u", "v")),
    "classes of numbers": (pa.array((KIND + 3).tolist()).dictionary_encode(), ("3", "4")),
}


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_any_kind_names_classes(tmp_path: Path, ending: str, kind: str) -> None:
    column, names = COLUMNS[kind]
    path = tmp_path / f"t{ending}"
    write = parquet.write_table if ending == ".parquet" else feather.write_feather
    write(pa.table({"a": A, "kind": column}), str(path))
    loaded = table(str(path), labels="kind")
    assert loaded.labels == names
    by_value = dict(zip(A.tolist(), KIND.tolist(), strict=True))
    for part in (loaded.train, loaded.validation, loaded.test):
        assert part.context is not None
        assert part.context.argmax(1).tolist() == [by_value[float(row[0])] for row in part.x[:]]
    (found,) = chunks_for(loaded.spec, str(path), labels="kind")
    assert found.context is not None
    assert found.context.argmax(1).tolist() == KIND.tolist()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("1", "2"), ("1.0", "2.0")),
        (("1.0", "2.5"), ("1", "2.50")),
        (("0", "1"), ("False", "True")),
        (("True", "False"), ("1", "0")),
        (("TRUE", "FALSE"), ("true", "false")),
        (("01", "02"), ("1", "2")),
        (("u", "v"), (" u ", '" v"')),
    ],
)
def test_labels_of_another_table_may_be_written_otherwise(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n" + "".join(f"{a},{first[k]}\n" for a, k in zip(A, KIND, strict=True)))
    loaded = table(str(path), labels="kind")
    path.write_text("a,kind\n" + "".join(f"{a},{second[k]}\n" for a, k in zip(A, KIND, strict=True)))
    (found,) = chunks_for(loaded.spec, str(path), labels="kind")
    assert found.context is not None
    places = found.context.argmax(1)
    expected = [
        loaded.labels.index(name) for name in (loaded.labels if first[0].lower() != "true" else ("True", "False"))
    ]
    assert [int(place) for place in places] == [expected[k] for k in KIND]


@pytest.mark.parametrize(
    ("value", "labels", "place"),
    [
        ("1", ("0", "1"), 1),
        (1, ("0", "1"), 1),
        (1.0, ("0", "1"), 1),
        ("1e0", ("0.0", "1.0"), 1),
        (np.int64(1), ("0", "1"), 1),
        (True, ("False", "True"), 1),
        ("true", ("False", "True"), 1),
        ("1", ("1", "1.0"), 0),
        ("1.00", ("1", "1.0"), None),
        (" b ", ("a", "b"), 1),
        ("B", ("a", "b"), None),
        ("nan", ("0", "1"), None),
        ("", ("0", "1"), None),
    ],
)
def test_a_label_in_any_form_is_found(value: object, labels: tuple[str, ...], place: int | None) -> None:
    assert place_of(value, labels) == place


def test_labels_that_are_not_known_or_missing_are_told_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"label 'Pari', which the model does not know; did you mean Paris[?]"):
        require_place("Pari", ("Paris", "London"), "label ")
    path = tmp_path / "t.parquet"
    some = [None if i % 20 == 7 else "uv"[i % 2] for i in range(N)]
    parquet.write_table(pa.table({"a": A, "kind": some}), path)
    missing = r"column 'kind' of labels has missing values, 3 in 60 rows, the first in row 7 \(counted from 0\)"
    with pytest.raises(ValueError, match=missing):
        table(str(path), labels="kind")
    parquet.write_table(pa.table({"a": A, "kind": [[1]] * N}), path)
    with pytest.raises(ValueError, match="'kind' of labels holds list"):
        table(str(path), labels="kind")
