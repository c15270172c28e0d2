"""Splits that do not leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import DataWarning
from marginflow.data.dataset import Split
from marginflow.data.tables.split import by_different_rows, by_groups, by_rows, by_time, split

FILE = Path("a.csv")


def require_parts(parts: list[torch.Tensor], num_rows: int) -> None:
    assert sorted(torch.cat(parts).tolist()) == list(range(num_rows))


def test_a_split_by_rows_is_what_it_was() -> None:
    parts = by_rows(10, 0.2, 0.2, 0, FILE)
    order = np.random.default_rng(0).permutation(10)
    assert [part.tolist() for part in parts] == [order[4:].tolist(), order[2:4].tolist(), order[:2].tolist()]
    x = torch.arange(10.0)[:, None]
    for own, rows in zip(split(Split(x), 0.2, 0.2, 0, FILE), parts, strict=True):
        assert torch.equal(own.x[:], x[rows])


def test_copies_stand_in_one_part_and_other_tables_are_split_as_before() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 3))
    twice = np.concatenate([x, x[:300], x[:100]])
    parts = by_different_rows(twice, 0.1, 0.1, 0, FILE)
    require_parts(parts, 1400)
    assert [len(part) for part in parts] == [1120, 140, 140]
    rows = [{tuple(row) for row in twice[part].tolist()} for part in parts]
    assert len(set.union(*rows)) == sum(map(len, rows))
    cells = rng.integers(3, size=(300, 3)).astype(float)
    for own, plain in zip(by_different_rows(cells, 0.1, 0.1, 3, FILE), by_rows(300, 0.1, 0.1, 3, FILE), strict=True):
        assert torch.equal(own, plain)


@given(st.lists(st.integers(1, 40), min_size=12, max_size=60), st.integers(0, 1000), st.sampled_from([0.1, 0.2, 0.3]))
@settings(max_examples=60, deadline=None)
def test_groups_stay_whole_and_shares_are_near(sizes: list[int], seed: int, share: float) -> None:
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if round(len(groups) * share) < 2:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marginflow.data.tables.split.FAR", 1.0)
        parts = by_groups(groups, share, share, seed, FILE)
    require_parts(parts, len(groups))
    held = [set(groups[part].tolist()) for part in parts]
    assert sum(map(len, held)) == len(sizes)
    for part in parts[1:]:
        assert abs(len(part) - share * len(groups)) <= max(sizes) / 2 + 1


def test_the_seed_draws_groups() -> None:
    groups = np.repeat(np.arange(100), 7)
    first, again, other = (by_groups(groups, 0.1, 0.1, seed, FILE)[2] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_many_small_groups_beside_a_large_one_are_quick_and_exact() -> None:
    groups = np.concatenate([np.zeros(100_000), 1 + np.arange(100_000) // 2])
    parts = by_groups(groups, 0.1, 0.1, 0, FILE)
    assert [len(part) for part in parts] == [160_000, 20_000, 20_000]


def test_large_groups_are_told() -> None:
    with pytest.warns(DataWarning, match=r"rows are 33%, 33%, 33% of the table.* whole values of 'customer' let them"):
        parts = by_groups(np.repeat([4, 5, 6], 30), 0.1, 0.1, 0, FILE, "values of 'customer'")
    assert [len(part) for part in parts] == [30, 30, 30]


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"a\.csv: 2 different values of 'customer' are too few to split"):
        by_groups(np.repeat([4, 5], 30), 0.1, 0.1, 0, FILE, "values of 'customer'")
    with pytest.raises(ValueError, match="at least two of each"):
        by_groups(np.arange(3).repeat([1, 1, 18]), 0.1, 0.1, 0, FILE)


@given(st.lists(st.integers(0, 30), min_size=40, max_size=200), st.sampled_from([0.1, 0.2, 0.3]))
@settings(max_examples=60, deadline=None)
def test_time_goes_on_from_training_to_test(times: list[int], share: float) -> None:
    found = np.array(times, dtype=np.float64)
    if len(set(times)) < 12:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marginflow.data.tables.split.FAR", 1.0)
        try:
            train, validation, test = by_time(found, share, share, FILE, "day")
        except ValueError as error:
            assert "at least two of each" in str(error)  # noqa: PT017  # a last day of one row
            return
    require_parts([train, validation, test], len(times))
    assert found[train].max() < found[validation].min()
    assert found[validation].max() < found[test].min()
    most = np.unique(found, return_counts=True)[1].max()
    assert abs(len(test) - share * len(times)) <= most / 2 + 1


def test_times_that_cannot_split_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'day'.* has missing values, 1 in 30 rows, the first in row 2 "):
        by_time(np.where(np.arange(30) == 2, np.nan, np.arange(30)), 0.1, 0.1, FILE, "day")
    with pytest.raises(DataError, match="column 'day' has 2 different times, too few"):
        by_time(np.repeat([1.0, 2.0], 20), 0.1, 0.1, FILE, "day")
