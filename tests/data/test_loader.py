"""Batches: an order for each epoch from the seed, a share for each rank, and resuming within one."""

from __future__ import annotations

import pytest
import torch

from marginflow.data import Split
from marginflow.data.loader import Loader

ROWS = Split(torch.arange(103.0)[:, None], torch.arange(103.0)[:, None] * 2)


def loader(**options: int) -> Loader:
    return Loader(ROWS, 10, **{"seed": 3, **options})


def rows_of(batches: object) -> list[list[float]]:
    return [batch.x[:, 0].tolist() for batch in batches]


def test_an_epoch_has_each_row_once_but_for_those_of_an_incomplete_batch() -> None:
    batches = list(loader().epoch(1))
    assert [len(batch.x) for batch in batches] == [10] * 10
    assert all(torch.equal(batch.context, 2 * batch.x) for batch in batches)
    seen = torch.cat([batch.x for batch in batches])[:, 0]
    assert len(seen.unique()) == 100


def test_the_order_is_that_of_the_seed_and_the_epoch_whatever_else_is_drawn() -> None:
    first = rows_of(loader().epoch(2))
    torch.rand(7)
    after = loader()
    list(after.epoch(1))
    assert rows_of(after.epoch(2)) == first
    assert rows_of(loader().epoch(3)) != first
    assert rows_of(loader(seed=4).epoch(2)) != first
    assert rows_of(loader(seed=2).epoch(3)) != first  # it is no sum


def test_orders_are_uniform() -> None:
    """Where row 0 stands, over many epochs: mean and spread of the uniform distribution."""
    small = Loader(Split(torch.zeros(20, 1)), 1, seed=0)
    places = torch.tensor([float((small.order(number) == 0).nonzero()) for number in range(4000)])
    assert float(places.mean()) == pytest.approx(9.5, abs=5 * 5.77 / 4000**0.5)
    assert float(places.std()) == pytest.approx(5.77, rel=0.05)


@pytest.mark.parametrize("world_size", [2, 3, 10])
def test_the_shares_of_the_ranks_are_the_batch_in_its_order(world_size: int) -> None:
    whole = rows_of(loader().epoch(1))
    shares = [rows_of(loader(rank=rank, world_size=world_size).epoch(1)) for rank in range(world_size)]
    assert [[row for part in parts for row in part] for parts in zip(*shares, strict=True)] == whole
    sizes = {len(batch) for share in shares for batch in share}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("taken", [0, 4, 10])
def test_it_resumes_where_it_stood(taken: int) -> None:
    whole, first, second = rows_of(loader().epoch(2)), loader(), loader()
    batches = first.epoch(2)
    seen = rows_of(next(batches) for _ in range(taken))
    second.load_state_dict(first.state_dict())
    assert seen + rows_of(second.epoch(2 if taken else second.number + 1)) == whole
    assert rows_of(second.epoch(3)) == rows_of(loader().epoch(3))


def test_an_order_that_was_drawn_is_finished_and_then_those_of_the_seed_follow() -> None:
    order = torch.randperm(103)
    resumed = loader()
    resumed.load_state_dict({"epoch": 2, "step": 7, "order": order})
    assert rows_of(resumed.epoch(2)) == [order[70 + 10 * i : 80 + 10 * i].tolist() for i in range(3)]
    assert rows_of(resumed.epoch(3)) == rows_of(loader().epoch(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 104}, "batch_size 104 is larger than the training set of 103 rows: set it to 103 or less"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2 gets no rows of a batch of 10"),
        ({"rank": -1, "world_size": 2}, "rank -1 of 2 gets no rows"),
        ({"rank": 0, "world_size": 11}, "rank 0 of 11 gets no rows of a batch of 10"),
    ],
)
def test_batches_without_rows_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(ROWS, **{"batch_size": 10, "seed": 0, **options})
