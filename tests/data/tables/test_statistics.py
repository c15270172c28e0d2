"""Statistics of columns, on tables that are made so that they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from marginflow.base.data_error import DataError
from marginflow.data.grid import Grid
from marginflow.data.schema import NUM_QUANTILES, Column, Schema
from marginflow.data.tables.statistics import fitted
from marginflow.data.warp import Warp

RNG = np.random.default_rng


def known(values: np.ndarray, kind: str = "integer", weights: np.ndarray | None = None, **about: object) -> Column:
    """A column of values, with its statistics."""
    grid = Grid() if kind not in ("real", "positive") else None
    schema = Schema((Column("a", kind, **{"grid": grid, **about}),))  # pyright: ignore[reportArgumentType]
    rows = torch.from_numpy(np.asarray(values, dtype=np.float64))[:, None]
    return fitted(schema, rows, weights=None if weights is None else torch.from_numpy(weights))["a"]


def finite_on_edges(column: Column, values: np.ndarray) -> bool:
    assert column.warp is not None
    v = torch.from_numpy(values)
    return all(column.warp.forward(v + side)[0].isfinite().all() for side in (-0.5, 0.0, 0.5))


def test_levels_have_their_shares_and_blanks_theirs() -> None:
    column = known(np.array([0, 2, 2, np.nan, 2.0]), "category", levels=("a", "b", "c"), blank=True, grid=None)
    assert column.blank_share == pytest.approx(0.2)
    np.testing.assert_allclose(column.shares, [0.2, 0.0, 0.6])


def test_shares_are_of_weights() -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    column = known(np.array([0, 1, np.nan, 0.0]), "boolean", weights, levels=("false", "true"), blank=True, grid=None)
    assert (column.blank_share, *column.shares) == pytest.approx((0.3, 0.5, 0.2))
    spike = np.concatenate([np.zeros(300), 1 + np.arange(700.0)])
    column = known(spike, weights=np.where(spike == 0, 7.0, 3.0))
    assert column.atoms == (0.0,)
    assert column.shares == pytest.approx((0.5,))


def test_zeros_and_a_cap_are_atoms_and_bounds() -> None:
    amounts = np.minimum(np.floor(np.exp(RNG(0).normal(8, 1, 9000))), 9000)
    amounts[:2000] = 0
    column = known(amounts)
    assert column.atoms == (0.0, 9000.0)
    assert (column.lower, column.upper) == (0.0, 9000.0)
    assert column.shares == pytest.approx((2000 / 9000, (amounts == 9000).mean()))
    rest = amounts[(amounts > 0) & (amounts < 9000)]
    np.testing.assert_allclose(column.quantiles, np.quantile(rest, np.linspace(0, 1, NUM_QUANTILES)), rtol=0.01)
    assert finite_on_edges(column, np.unique(amounts))


@pytest.mark.parametrize("scale", [3000, 300, 100])
def test_a_smooth_column_has_no_atoms(scale: int) -> None:
    counts = np.floor(RNG(1).gamma(2.0, scale / 2, 20_000))
    column = known(counts)
    assert column.atoms == ()
    assert (column.lower, column.upper) == (0.0, None)
    assert known(np.rint(RNG(2).laplace(0, scale, 20_000))).atoms == ()


def test_round_numbers_among_smooth_ones_are_atoms() -> None:
    salaries = np.floor(np.exp(RNG(3).normal(10, 0.5, 20_000)))
    heaped = np.where(RNG(4).random(20_000) < 0.3, np.rint(salaries / 10_000) * 10_000, salaries)
    column = known(heaped)
    assert set(column.atoms) >= {10_000.0, 20_000.0, 30_000.0, 40_000.0}
    assert all(atom % 10_000 == 0 for atom in column.atoms)


def test_atoms_are_at_most_150_the_strongest() -> None:
    values = np.concatenate([np.repeat(1000.0 * np.arange(300), 20 + np.arange(300)), np.arange(300_000.0)[::5]])
    column = known(values)
    assert len(column.atoms) == 150
    assert column.atoms[0] >= 1000 * 100


def test_a_column_of_few_values_with_many_rows_is_all_atoms() -> None:
    codes = RNG(5).choice(np.array([3.0, 17.0, 400.0, 8000.0]), 500)
    column = known(codes)
    assert column.atoms == (3.0, 17.0, 400.0, 8000.0)
    assert sum(column.shares) == pytest.approx(1)
    assert len(column.quantiles) == NUM_QUANTILES
    assert finite_on_edges(column, codes)
    tail = np.concatenate([np.zeros(100_000), np.repeat(1 + np.arange(200.0), 3)])  # one large value alone is no scale
    assert known(tail).atoms == (0.0,)


def test_real_repeats_beyond_chance_are_atoms_and_the_rest_is_theirs_no_more() -> None:
    values = RNG(6).normal(0, 1, 5000)
    values[:500], values[500:530] = -4.0, 0.25
    column = known(values, "real")
    assert column.atoms == (-4.0, 0.25)
    assert column.lower == -4.0
    assert column.upper is None
    assert column.quantiles[0] == np.unique(values)[1]
    rounded = np.round(RNG(7).normal(0, 1, 5000), 4)  # some repeat by chance
    assert known(rounded, "real").atoms == ()


def test_a_closed_bound_of_real_numbers_is_an_atom_of_its_own() -> None:
    column = known(RNG(8).uniform(0.1, 1, 100), "real", lower=0.0, upper=1.5)
    assert column.atoms == (0.0, 1.5)
    assert column.shares == (0.0, 0.0)
    assert column.warp is not None
    z, _ = column.warp.forward(torch.tensor([1e-9, 1.5 - 1e-9], dtype=torch.float64))
    assert z.isfinite().all()
    started = known(np.concatenate([[0.0], RNG(8).exponential(1, 99)]), "real")
    assert (started.lower, started.atoms) == (0.0, (0.0,))


@pytest.mark.parametrize("beyond", [-1.0, 8.0])
def test_an_end_that_a_row_beside_the_training_rows_crosses_is_no_bound(beyond: float) -> None:
    x = torch.from_numpy(RNG(6).integers(0, 8, (400, 1)).astype(np.float64))
    schema = Schema((Column("a", "integer", grid=Grid()),))
    inside, other = (fitted(schema, x, all_rows=torch.cat([x, x.new_tensor([[each]])]))["a"] for each in (3.0, beyond))
    assert (inside.lower, inside.upper) == (0.0, 7.0)
    assert (other.lower, other.upper) == ((None, 7.0) if beyond < 0 else (0.0, None))


@pytest.mark.parametrize(
    ("kind", "grid", "bounds"),
    [("time32[s]", Grid(60, 3600), (-60.0, 1379.0)), ("time64[us]", Grid(900_000_000, 1_000_000), (0.0, 95.0))],
)
def test_times_end_with_their_day(kind: str, grid: Grid, bounds: tuple[float, float]) -> None:
    column = known(RNG(5).integers(0, 90, 300), "time", type=kind, grid=grid)
    assert (column.lower, column.upper) == bounds
    free = known(np.arange(9.0), "time", type=kind, grid=grid, settled=("lower", "upper"))
    assert (free.lower, free.upper) == (None, None)


def test_positive_numbers_are_mapped_from_all_above_zero() -> None:
    column = known(np.exp(RNG(9).normal(0, 2, 2000)), "positive")
    assert (column.lower, column.upper, column.atoms) == (None, None, ())
    assert column.warp is not None
    assert column.warp.shape == "log"
    assert column.warp.inverse(torch.linspace(-30, 30, 50, dtype=torch.float64)).min() > 0


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        (np.tile(np.arange(1.0, 13), 100), (1.0, 12.0)),  # months
        (np.rint(RNG(0).normal(500, 40, 5000)), (None, None)),  # tails that end by chance
        (np.minimum(np.rint(RNG(0).normal(40, 12, 5000)), 52), (None, 52.0)),
        (RNG(0).poisson(0.02, 5000), (0.0, None)),
        (RNG(0).poisson(3.0, 5000), (0.0, None)),
        (
            RNG(0).poisson(9.0, 5000),
            (0.0, None),
        ),  # a count that starts at 0 or 1 has none below, however rare those are
        (RNG(0).poisson(30.0, 5000), (None, None)),
        (np.append(np.rint(RNG(0).normal(500, 40, 5000)), 1.0), (0.0, None)),
        (3 + np.floor(RNG(0).exponential(900, 5000)), (0.0, None)),  # amounts
        (np.rint(RNG(0).normal(0, 2, 300)), (None, None)),
        (np.repeat(np.arange(0.0, 9), 7), (0.0, None)),  # seven rows at the end: enough at 0 or 1
        (np.repeat(np.arange(1.0, 9), 7), (1.0, None)),
        (np.repeat(np.arange(2.0, 9), 7), (None, None)),
    ],
)
def test_bounds_are_where_more_would_have_been_seen(values: np.ndarray, bounds: tuple) -> None:
    column = known(values)
    assert (column.lower, column.upper) == bounds
    assert finite_on_edges(column, np.asarray(values, dtype=np.float64))


def test_dates_go_on() -> None:
    days = np.tile(np.arange(0.0, 365), 30)
    column = known(days, "date", grid=Grid(origin=15_000))
    assert (column.lower, column.upper) == (None, None)


def test_a_bound_that_a_row_of_the_table_crosses_is_none() -> None:
    schema = Schema((Column("a", "integer", grid=Grid()),))
    rows = torch.tensor([1.0, 2.0, 3.0] * 50, dtype=torch.float64)[:, None]
    assert fitted(schema, rows)["a"].upper == 3.0
    more = torch.cat([rows, torch.tensor([[4.0], [torch.nan]], dtype=torch.float64)])
    found = fitted(schema, rows, all_rows=more)["a"]
    assert (found.lower, found.upper) == (1.0, None)


def test_what_the_schema_says_stays() -> None:
    column = known(np.tile(np.arange(0.0, 40), 50), lower=-3.0, upper=50.0, atoms=(7.0,), warp=Warp("asinh"))
    assert (column.lower, column.upper, column.atoms) == (-3.0, 50.0, (7.0,))
    assert column.shares == pytest.approx((1 / 40,))
    assert column.warp is not None
    assert column.warp.shape == "asinh"


def test_all_columns_that_cannot_be_are_named_at_once() -> None:
    schema = Schema(
        (Column("a", "real", blank=True), Column("b", "integer", grid=Grid(), upper=2.0), Column("c", "real"))
    )
    rows = torch.tensor([[torch.nan, 1.0, 0.5], [torch.nan, 5.0, 0.7]], dtype=torch.float64)
    with pytest.raises(DataError) as found:
        fitted(schema, rows)
    message = str(found.value)
    assert "2 columns cannot be used" in message
    assert "'a' has no value in the 2 training rows" in message
    assert "give more rows, or leave it out: drop=['a']" in message
    assert "'b' has values outside of its bounds, lower = 0.0 and upper = 2.0, in 1 training rows, such as 5" in message


def test_a_transform_that_does_not_fit_the_bounds_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"'a' cannot be: the transform 'log' does not fit the bounds None and None: it may"
    ):
        known(RNG(0).normal(size=100), "real", warp=Warp("log"))


def test_atoms_outside_of_the_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'a': atom 9 is outside of the bounds 0.0 and 5.0"):
        Column("a", "real", lower=0.0, upper=5.0, atoms=(1.0, 9.0))


def test_given_columns_are_known_from_the_context() -> None:
    schema = Schema((Column("a", "real"), Column("g", "category", given=True, levels=("x", "y"))))
    rows, context = torch.randn(10, 1).double(), torch.tensor([[0.0], [1.0]] * 5, dtype=torch.float64)
    assert fitted(schema, rows, context)["g"].shares == (0.5, 0.5)
    assert fitted(schema, rows)["g"].shares == ()


@pytest.mark.parametrize("values", [[5.0], [5.0, np.nan], [0.0, 0.0], [0.0, 1.0], [2.0, 1e9], [-1e12, 1e12]])
@pytest.mark.parametrize("kind", ["integer", "real", "positive"])
def test_few_values_have_statistics(values: list[float], kind: str) -> None:
    if kind == "positive" and min(values) <= 0:
        values = [abs(value) + 1 for value in values]
    column = known(np.array(values), kind, blank=True)
    assert len(column.quantiles) == NUM_QUANTILES
    assert np.isfinite(column.quantiles).all()
    assert column.warp is not None
    assert np.isfinite(column.warp.numbers).all()
    assert Schema.from_json(Schema((column,)).to_json())["a"] == column


def test_large_numbers_keep_their_grid() -> None:
    ids = 9e15 - np.arange(0.0, 3000)
    column = known(ids)
    assert column.atoms == ()
    assert column.quantiles[0] == ids.min()
    assert finite_on_edges(column, ids)


def test_the_rest_of_a_column_does_not_depend_on_the_order_of_rows() -> None:
    values = RNG(10).gamma(2.0, 50, 500)
    assert known(values, "real") == known(np.sort(values), "real")


def test_quantiles_rise_where_values_are_tied() -> None:
    assert (np.diff(known(RNG(11).poisson(2.0, 300)).quantiles) > 0).all()


def test_what_values_would_tell_is_not_told_where_a_user_says_none() -> None:
    torch.manual_seed(0)
    piled = torch.rand(2000, 2).double().mul(3).floor()
    piled[:, 1] = torch.where(torch.rand(2000) < 0.3, 0.0, torch.rand(2000).double())
    columns = Column("nights", "integer", grid=Grid()), Column("paid", "real")
    told = fitted(Schema(columns), piled)
    assert (told["nights"].lower, told["nights"].upper, told["nights"].atoms) == (0, 2, (0, 1, 2))
    assert (told["paid"].lower, told["paid"].atoms) == (0, (0,))
    said = fitted(Schema(tuple(replace(each, settled=("lower", "upper", "atoms")) for each in columns)), piled)
    for column in said.columns:
        assert (column.lower, column.upper, column.atoms, column.shares) == (None, None, (), ())
    some = fitted(Schema(tuple(replace(each, settled=("lower",)) for each in columns)), piled)
    assert (some["nights"].lower, some["nights"].upper, some["nights"].atoms) == (None, 2, (0, 1, 2))
    assert (some["paid"].lower, some["paid"].atoms) == (None, (0,))
    no_spike = fitted(Schema(tuple(replace(each, settled=("atoms",)) for each in columns)), piled)
    assert (no_spike["nights"].lower, no_spike["nights"].atoms) == (0, ())
    assert (no_spike["paid"].lower, no_spike["paid"].atoms) == (None, ())  # a closed bound of real numbers is a spike
    assert Schema.from_json(said.to_json()) == said


def test_round_values_that_hold_the_rows_of_those_about_them_are_compared_with_each_other() -> None:
    """Months of loans are multiples of six: fewer of 60 than of 48 make 72 likely; many at an end are a cap."""
    months = np.repeat([6.0, 12, 18, 24, 30, 36, 42, 48, 54, 60], [75, 180, 113, 184, 40, 83, 11, 48, 2, 13])
    column = known(months)
    assert (column.lower, column.upper) == (6.0, None)  # a tail falls off: 13 * 13 / 47 rows beyond
    assert (known(-months).lower, known(-months).upper) == (None, -6.0)
    capped = known(np.concatenate([months, np.full(150, 60.0)]))
    assert capped.upper == 60.0
