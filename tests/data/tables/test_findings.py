"""What is found suspicious in tables that are made so, and in none that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from marginflow.data.grid import Grid
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.dependence import Function, functions
from marginflow.data.tables.findings import findings
from marginflow.data.tables.linear import linear
from marginflow.data.tables.statistics import fitted

RNG = np.random.default_rng


def levels(name: str, num_levels: int) -> Column:
    return Column(name, "category", levels=tuple(f"level {i}" for i in range(num_levels)))


def integer(name: str) -> Column:
    return Column(name, "integer", grid=Grid())


def told(columns: list[Column], *values: np.ndarray, context: np.ndarray | None = None) -> list[str]:
    rows = torch.from_numpy(np.stack(values, 1).astype(np.float64))
    given = None if context is None else torch.from_numpy(context.astype(np.float64))[:, None]
    return findings(Schema(tuple(columns)), rows, given)


def test_a_table_as_it_should_be_gives_none() -> None:
    rng = RNG(0)
    latent = rng.normal(size=3000)
    columns = [Column("a", "real"), Column("b", "real"), integer("c"), levels("d", 4), integer("e")]
    noise = latent + 0.1 * rng.normal(size=3000)
    counts, codes = np.floor(np.exp(latent + 3)), rng.integers(4, size=3000)
    assert told(columns, latent, noise, counts, codes, rng.poisson(2, 3000)) == []


def test_copies_of_rows_are_told() -> None:
    x = RNG(0).normal(size=(2, 500))
    (line,) = told([Column("a", "real"), Column("b", "real")], *np.concatenate([x, x[:, :123]], 1))
    assert line.startswith("123 of 623 rows are the same as an earlier one, where chance makes about 0: ")


def test_codes_and_functions_are_told_and_harmless_on_a_grid() -> None:
    hour, minute = RNG(0).integers(24, size=3000), RNG(1).integers(60, size=3000)
    schedule = 100 * hour + minute
    columns = [levels("hour", 24), integer("minute"), integer("time"), levels("same", 24)]
    (line,) = told(columns, hour, minute, schedule, (hour * 5) % 24)
    assert line == (
        "3 columns are functions of others, 'hour' of 'time'; 'minute' of 'time'; 'same' of 'hour': their probability "
        "comes near 1, which does no harm"
    )


@pytest.mark.parametrize("of", [lambda a: 2 * a + 1, lambda a: -a, np.exp, lambda a: np.where(a > 0, a, a / 3)])
def test_a_real_column_that_follows_another_has_no_bound(of: Callable) -> None:
    a = RNG(0).normal(size=500)
    (line,) = told([Column("a", "real"), Column("b", "real")], a, of(a))
    assert line.startswith("column 'b' says the same as 'a': drop it, as its density given that has no bound")


def test_a_real_sum_has_no_bound() -> None:
    a, b, c = RNG(0).normal(size=(3, 500)) * np.array([[1], [1e3], [3]])
    columns = [Column(name, "real") for name in "abcs"]
    (line,) = told(columns, a, b, c, a + b - 7)
    assert line.startswith("column 's' is a function of 'a', 'b': drop it")


def test_a_real_function_of_a_code_has_no_bound_unless_all_its_values_are_atoms() -> None:
    code = RNG(0).integers(5, size=800)
    values = np.array([0.123, 7.7, -1.23456789, 3.3, 0.5])[code]
    schema = Schema((levels("code", 5), Column("b", "real")))
    x = torch.from_numpy(np.stack([code, values], 1))
    assert "no bound" in findings(schema, x)[0]
    (line,) = findings(fitted(schema, x), x)
    assert "1 column is a function of others, 'b' of 'code'" in line


def test_context_settles_columns_and_is_no_target() -> None:
    a = RNG(0).integers(6, size=400)
    columns = [Column("g", "category", given=True, levels=tuple("abcdef")), levels("a", 3), Column("r", "real")]
    (line,) = told(columns, a // 2, RNG(1).normal(size=400), context=a)
    assert "'a' of 'g'" in line


def test_nearly_constant_columns_are_told_with_their_value() -> None:
    flag, count = np.zeros(1000), np.full(1000, 30.0)
    flag[:3], count[5] = 1, 80
    columns = [levels("flag", 2), Column("count", "decimal", grid=Grid(5, digits=1)), integer("rest")]
    (line,) = told(columns, flag, count, RNG(0).integers(9, size=1000))
    assert line == (
        "2 columns are nearly constant in 1,000 rows: 'flag' is 'level 0' in all but 3; 'count' is 15 in all but 1"
    )


def test_levels_without_training_rows_are_told() -> None:
    codes = RNG(0).integers(3, size=100)
    schema = Schema((levels("a", 4), levels("b", 3)))
    x = torch.from_numpy(np.stack([codes, RNG(1).integers(3, size=100)], 1).astype(np.float64))
    assert findings(schema, x) == []  # not known before it is fitted
    (line,) = findings(fitted(schema, x), x)
    assert line == (
        "levels that no training row has, 'level 3' in column 'a': their probability is a guess; to pool rare levels "
        "give --set schema.a.pool=20"
    )


def test_the_level_of_all_others_needs_no_training_row() -> None:
    codes = RNG(0).integers(3, size=100)
    x = torch.from_numpy(np.stack([codes, RNG(1).integers(3, size=100)], 1).astype(np.float64))
    pooled = Schema((replace(levels("a", 4), pooled=True), levels("b", 3)))
    assert findings(fitted(pooled, x), x) == []
    more = Schema((replace(levels("a", 5), pooled=True), levels("b", 3)))
    (line,) = findings(fitted(more, x), x)
    assert line == "levels that no training row has, 'level 3' in column 'a': their probability is a guess"


def test_two_truths_are_not_pooled() -> None:
    x = torch.from_numpy(np.stack([np.zeros(100), RNG(1).integers(3, size=100)], 1).astype(np.float64))
    schema = Schema((replace(levels("a", 2), kind="boolean"), levels("b", 3)))
    assert all("pool" not in line for line in findings(fitted(schema, x), x))
    assert any("'level 1' in column 'a'" in line for line in findings(fitted(schema, x), x))


def test_one_column_and_few_rows_give_no_nonsense() -> None:
    assert told([levels("a", 2)], RNG(0).integers(2, size=50)) == []
    assert told([levels("a", 2), levels("b", 2)], np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0])) == []
    columns = [levels(f"c{i}", 2) for i in range(30)]
    assert told(columns, *RNG(0).integers(2, size=(30, 40))) == []


def test_functions_by_chance_are_none() -> None:
    rng = RNG(2)
    rare = (rng.random((20, 2000)) < 0.002).astype(float)
    fine = rng.integers(1500, size=(3, 2000))  # few rows agree in these
    assert functions(np.concatenate([rare, fine]).T) == []


def test_a_function_but_for_one_row_of_many_is_none() -> None:
    a = RNG(0).integers(50, size=60_000).astype(float)
    b = a % 7
    assert functions(np.stack([a, b], 1)) == [Function(1, (0,), both_ways=False)]
    for row in (5, 59_999):
        nearly = b.copy()
        nearly[row] += 1
        assert functions(np.stack([a, nearly], 1)) == []


def test_pairs_settle_what_neither_does() -> None:
    a, b = RNG(0).integers(9, size=(2, 2000)).astype(float)
    table = RNG(1).integers(30, size=(9, 9)).astype(float)
    x = np.stack([a, table[a.astype(int), b.astype(int)], b], 1)
    assert functions(x) == [Function(1, (0, 2), both_ways=False)]
    assert functions(x, targets=[0, 2]) == []


def test_blanks_agree_with_blanks() -> None:
    a = RNG(0).integers(5, size=500).astype(float)
    a[a == 4] = np.nan
    assert functions(np.stack([a, np.where(a == 2, np.nan, a)], 1))[0] == Function(1, (0,), both_ways=False)


def test_sums_are_found_whatever_their_scale_and_noise_is_none() -> None:
    x = RNG(0).normal(size=(1000, 4)) * np.array([1e-6, 1, 1e5, 1]) + np.array([0, 1e4, 0, 3])
    both = np.column_stack([x, x[:, 0] * 1e6 + x[:, 2] * 1e-5])
    assert linear(both, [4]) == {4: (0, 2)}
    assert linear(both, [0]) == {0: (2, 4)}
    noisy = both + np.array([0, 0, 0, 0, 1e-3]) * RNG(1).normal(size=both.shape)
    assert linear(noisy, range(5)) == {}
    assert linear(both[:10], [4]) == {}
