"""The made-up orders: what they look like, and that their log p is that of the law that draws them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from marginflow.data.example_orders import CATEGORIES, CHANNELS, FIRST_DAY, example_orders, log_prob_of_orders

N = 100_000


def of_proposal(n: int) -> tuple[pa.Table, np.ndarray]:
    """Orders of another law, which is simple and wide, and their log p by it."""
    rng = np.random.default_rng(5)
    day, channel, category = rng.integers(366, size=n), rng.integers(3, size=n), rng.integers(4, size=n)
    pieces, days, stars = rng.geometric(0.4, n), rng.geometric(0.2, n), rng.integers(6, size=n)  # 0 stars: blank
    sold, amount = rng.random(n) < 0.3, np.exp(3.5 + 0.8 * rng.standard_t(3, n))
    table = pa.table({
        "date": pa.array(FIRST_DAY + day).cast(pa.date32()),
        "channel": np.array(CHANNELS)[channel],
        "category": np.array(CATEGORIES)[category],
        "pieces": pieces,
        "amount": amount,
        "days": pa.array(days, mask=sold),
        "stars": pa.array(stars, mask=stars == 0),
    })  # fmt: skip
    log_p = (
        -np.log(366 * 3 * 4 * 6)
        + stats.geom.logpmf(pieces, 0.4)
        + np.where(sold, np.log(0.3), np.log(0.7) + stats.geom.logpmf(days, 0.2))
        + stats.t.logpdf(np.log(amount), 3, 3.5, 0.8) - np.log(amount)
    )  # fmt: skip
    return table, log_p


def test_their_density_adds_up_to_one() -> None:
    table, log_q = of_proposal(N)
    with np.errstate(over="ignore"):
        ratio = np.exp(log_prob_of_orders(table) - log_q)
    assert ratio.mean() == pytest.approx(1, abs=5 * ratio.std() / np.sqrt(N))
    assert ratio.std() / np.sqrt(N) < 0.05


def test_each_column_is_drawn_as_the_density_says() -> None:
    """Shares and means under the drawn orders against those under the density, by importance weights."""
    table, log_q = of_proposal(N)
    weight = np.exp(log_prob_of_orders(table) - log_q)
    drawn = example_orders(N, seed=3)
    for name, statistic in {
        "date": lambda x: (x.to_numpy() >= np.datetime64("2024-11-01")) & (x.to_numpy().astype(int) % 7 != 0),
        "channel": lambda x: x.to_numpy(zero_copy_only=False) == "web",
        "category": lambda x: x.to_numpy(zero_copy_only=False) == "garden",
        "pieces": lambda x: np.log(x.to_numpy()),
        "amount": lambda x: np.log(x.to_numpy()),
        "days": lambda x: np.nan_to_num(x.to_numpy().astype(float), nan=-3.0),
        "stars": lambda x: np.nan_to_num(x.to_numpy().astype(float), nan=-3.0),
    }.items():
        expected, found = statistic(table[name]).astype(float), statistic(drawn[name]).astype(float)
        mean = (weight * expected).sum() / weight.sum()
        error = np.hypot((weight * (expected - mean)).std() / weight.mean(), found.std()) / np.sqrt(N)
        assert found.mean() == pytest.approx(mean, abs=4.5 * error), name


def test_they_look_like_orders() -> None:
    orders = example_orders(2000)
    assert orders.equals(example_orders(2000))
    assert not orders.equals(example_orders(2000, seed=1))
    assert len(set(orders["order"].to_pylist())) == 2000
    sold = np.array(orders["channel"].to_pylist()) == "shop"
    assert (np.array(orders["days"].is_null()) == sold).all()
    assert 0.4 < orders["stars"].null_count / 2000 < 0.7
    amounts = orders["amount"].to_numpy()
    np.testing.assert_allclose(100 * amounts, np.rint(100 * amounts), atol=1e-9)
    assert amounts.min() > 0
    single = [
        each for each in example_orders(20_000).to_pylist() if each["pieces"] == 1 and each["category"] == "books"
    ]
    assert stats.kurtosis(np.log([each["amount"] for each in single])) > 1  # a heavier tail than a log-normal law has


def test_what_cannot_be_has_no_probability() -> None:
    orders = example_orders(50).to_pylist()
    in_shop = next(each for each in orders if each["channel"] == "shop")
    sent = next(each for each in orders if each["channel"] == "web")
    wrong = [{**in_shop, "days": 4}, {**sent, "days": None}, {**sent, "amount": -1.0}, {**sent, "pieces": 0}]
    assert np.isneginf(log_prob_of_orders(pa.Table.from_pylist(wrong, schema=example_orders(1).schema))).all()
    with pytest.raises(ValueError, match="num_rows"):
        example_orders(0)
