"""Real numbers of few decimals: rows that are drawn are written as the file writes its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from marginflow.data import Column, Schema
from marginflow.data.column_options import ColumnOptions
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.draft import drafted
from marginflow.data.tables.encode import encoded


def amounts(num_rows: int = 300) -> np.ndarray:
    """Cents, hardly any twice, so that they have a density."""
    return np.round(np.random.default_rng(0).lognormal(6, 2, num_rows), 2)


def written(column: Column, *values: float) -> list[float]:
    return decoded(np.array(values)[:, None], Schema((column,))).column(0).to_pylist()


def test_as_many_decimals_as_in_the_file() -> None:
    schema = drafted({"amount": amounts(), "length": np.random.default_rng(0).normal(size=300)})
    assert [(each.kind, each.digits) for each in schema.columns] == [("positive", 2), ("real", None)]
    assert written(schema["amount"], 123.456789, 2.0) == [123.46, 2.0]
    assert written(schema["length"], 0.123456789) == [0.123456789]


def test_what_a_user_calls_real_has_any_decimals() -> None:
    schema = drafted({"count": np.arange(300) % 7}, {"count": ColumnOptions(kind="real")})
    assert written(schema["count"], 2.25) == [2.25]


def test_the_rows_of_the_file_stay_as_they_are() -> None:
    columns = {"amount": amounts()}
    schema = drafted(columns)
    rows, _, _ = encoded(columns, schema)
    assert (decoded(rows, schema)["amount"].to_numpy() == columns["amount"]).all()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (Column("a", "positive", digits=2), 0.003, 0.01),  # at 0 there is no density
        (Column("a", "real", digits=1, lower=-1.0), -0.97, -0.9),
        (Column("a", "real", digits=1, upper=5.0), 4.96, 4.9),
        (Column("a", "real", digits=1, upper=5.0, atoms=(5.0,)), 4.96, 5.0),  # where there is a spike
        (Column("a", "real", digits=0), 1e300, 1e300),
        (Column("a", "real", digits=3), -0.0004, 0.0),
    ],
)
def test_what_is_drawn_stays_where_it_may_be(column: Column, value: float, expected: float) -> None:
    assert written(column, value) == [expected]


def test_a_schema_of_before_has_no_decimals() -> None:
    schema = drafted({"amount": amounts()})
    text = schema.to_json().replace(', "digits": 2', "")
    assert 'digits": 2' not in text
    assert Schema.from_json(text) == Schema((replace(schema["amount"], digits=None),))
