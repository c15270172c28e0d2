"""log p of a row told apart by columns, against sums over all cells of a small table."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from schemas import levels, reals, steps, strengthened
from torch import Tensor

from marginflow.data import Schema
from marginflow.distributions import Mixed

DISCRETE = Schema((
    levels("a", "category", 3, blank=True), steps("b", "integer", 4, atoms=[1]), levels("c", "boolean", 2),
))  # fmt: skip
ORDER = [2, 0, 1]


def cells() -> Tensor:
    """All rows that there are."""
    return torch.tensor(list(itertools.product([math.nan, 0, 1, 2], range(4), range(2))), dtype=torch.float64)


def of_prefix(log_p: Tensor, rows: Tensor, columns: list[int]) -> Tensor:
    """log of the probability that some columns are as in each row: the sum over all rows alike in them."""
    seen = rows.nan_to_num(-1)[:, columns]
    alike = (seen[:, None] == seen[None]).all(2)
    return torch.where(alike, log_p[None], -torch.inf).logsumexp(1)


def conditionals(model: Mixed, order: list[int]) -> Tensor:
    """log p of each column given those before it, from the probabilities of whole rows alone."""
    rows = cells()
    log_p = model.log_prob(rows)
    prefixes = [of_prefix(log_p, rows, order[:k]) for k in range(len(order) + 1)]
    found = torch.stack([after - before for before, after in itertools.pairwise(prefixes)], 1)
    return found[:, torch.tensor(order).argsort()]


@torch.no_grad()
def test_each_column_has_its_conditional_probability() -> None:
    model = strengthened(Mixed(DISCRETE, hidden=[16], components=2, order=ORDER))
    torch.testing.assert_close(model.log_prob_columns(cells()), conditionals(model, ORDER))


@torch.no_grad()
def test_of_several_orders_it_is_the_mean() -> None:
    model = strengthened(Mixed(DISCRETE, hidden=[16], components=2, order=ORDER, orders=2, seed=3))
    found = model.log_prob_columns(cells())
    of_each = []
    for member in model.members:
        alone = Mixed(DISCRETE, hidden=[16], components=2, order=member.order).eval()
        alone.members[0] = member
        of_each.append(conditionals(alone, member.order))
    assert model.members[0].order != model.members[1].order
    torch.testing.assert_close(found, (of_each[0] + of_each[1]) / 2)
    assert (found.sum(1) <= model.log_prob(cells()) + 1e-12).all()


@torch.no_grad()
@pytest.mark.parametrize("orders", [1, 2])
def test_parts_and_columns_are_those_of_log_prob(orders: int) -> None:
    schema = Schema((*DISCRETE.columns, reals("x", "log", [1.25], blank=True), reals("y", "standardise")))
    model = strengthened(Mixed(schema, hidden=[16], components=2, order="random", orders=orders, seed=1))
    rows = model.sample(5000)
    found = model.log_prob_in_columns(rows)
    for mine, theirs in zip(found, model.log_prob_parts(rows), strict=False):
        torch.testing.assert_close(mine, theirs)
    if orders == 1:
        torch.testing.assert_close(found.columns.sum(1), model.log_prob(rows))


@torch.no_grad()
def test_what_is_no_value_of_a_column_is_told_of_that_column_alone() -> None:
    model = strengthened(Mixed(DISCRETE, hidden=[16], components=2))
    rows = torch.tensor([[0.0, 9.0, 1.0], [7.0, 1.0, math.nan]])
    found = model.log_prob_columns(rows)
    assert found.isneginf().tolist() == [[False, True, False], [True, False, False]]
    assert found.isnan().tolist() == [[False] * 3, [False, False, True]]
