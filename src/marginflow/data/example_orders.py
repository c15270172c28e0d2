"""Orders of a shop, made up: a table as people have them, whose true probability is known row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.base.arguments import as_whole
from marginflow.base.seeds import require_seed

FIRST_DAY = np.datetime64("2024-01-01")  # a Monday
DAYS = 366
CHANNELS = ("web", "shop", "phone")
CHANNEL = (0.60, 0.28, 0.12)
CATEGORIES = ("books", "garden", "kitchen", "toys")
CATEGORY = ((0.42, 0.10, 0.24, 0.24), (0.18, 0.40, 0.28, 0.14), (0.15, 0.25, 0.50, 0.10))  # given the channel
MORE = (0.45, 0.60, 0.25, 0.35)  # the chance of each further piece, by category
MOST = 30  # pieces
PRICE = (14.0, 22.0, 48.0, 19.0)  # of a piece, the median, by category
SPREAD = 0.25  # of log amount, whose deviations follow Student's t: a heavy tail
FREEDOM = 5  # its degrees of freedom
WAIT = (3.2, 0.0, 4.5)  # days until delivery beyond the first, the mean by channel; none in the shop
RATED = (0.55, 0.15, 0.30)  # the share of orders with a rating, by channel
LIKED = (0.02, 0.04, 0.10, 0.30, 0.54)  # 1 to 5 stars, of a quick delivery
DISLIKED = (0.22, 0.22, 0.24, 0.20, 0.12)  # of one that took longer
SLOW = 6  # days


def example_orders(num_rows: int = 2000, seed: int = 0) -> pa.Table:
    """Orders of a year: a row number, dates, two categories, a count, amounts with a heavy tail, and blanks.

    Each column is drawn given those before it, all but the date, whose chance depends on weekday and month:

    p(row) = p(date) p(channel) p(category | channel) p(pieces | category) p(amount | category, pieces)
             p(days | channel) p(stars | channel, days)

    `days`, until delivery, is blank for what was bought in the shop, `stars` where nobody rated.

    Args:
        num_rows: how many.
        seed: of the draws.

    Returns:
        A table with the columns order, date, channel, category, pieces, amount (to the cent), days, stars.

    Raises:
        ValueError: for fewer than 1 row, or a seed out of range.

    Examples:
        >>> orders = example_orders(3)
        >>> orders.num_rows, orders.column_names
        (3, ['order', 'date', 'channel', 'category', 'pieces', 'amount', 'days', 'stars'])
    """
    n, rng = as_whole(num_rows, "num_rows", least=1), np.random.default_rng(require_seed(seed))
    day = rng.choice(DAYS, n, p=_of_days())
    channel = rng.choice(len(CHANNELS), n, p=CHANNEL)
    category = _drawn(rng, np.array(CATEGORY)[channel])
    pieces = 1 + _drawn(rng, _of_pieces()[category])
    deviation = rng.standard_t(FREEDOM, n)
    cents = np.maximum(1, np.rint(100 * np.exp(_log_amount(category, pieces) + SPREAD * deviation)))
    days = 1 + rng.poisson(np.array(WAIT)[channel])
    stars = 1 + _drawn(rng, _of_stars(days, channel))
    rated = rng.random(n) < np.array(RATED)[channel]
    return pa.table({
        "order": np.arange(100_001, 100_001 + n),
        "date": pa.array(FIRST_DAY + day).cast(pa.date32()),
        "channel": pa.array(np.array(CHANNELS)[channel]),
        "category": pa.array(np.array(CATEGORIES)[category]),
        "pieces": pieces,
        "amount": cents / 100,
        "days": pa.array(days, mask=channel == CHANNELS.index("shop")),
        "stars": pa.array(stars, mask=~rated),
    })  # fmt: skip


def log_prob_of_orders(orders: pa.Table) -> np.ndarray:
    """The true log p of each order, in nats, whatever its row number: a probability, of the amount a density.

    Minus its mean over orders that were drawn is about their entropy, below which no model's mean can lie. That amounts
    are rounded to the cent is left out: it changes nothing that could be seen.

    Args:
        orders: as `example_orders` returns them.

    Returns:
        log p, (N,); -inf for a row that cannot be.

    Examples:
        >>> round(float(-log_prob_of_orders(example_orders(20_000)).mean()), 1)
        15.4
    """
    day = (orders["date"].to_numpy() - FIRST_DAY).astype(int)
    channel, category = _places(orders["channel"], CHANNELS), _places(orders["category"], CATEGORIES)
    pieces, amount = orders["pieces"].to_numpy(), orders["amount"].to_numpy()
    days, stars = (orders[name].to_numpy().astype(float) for name in ("days", "stars"))
    sold, known = np.isnan(days), np.isfinite(stars)
    share = np.array(RATED)[channel]
    of_stars = _of_stars(np.nan_to_num(days), channel)
    star = np.take_along_axis(of_stars, np.nan_to_num(stars, nan=1.0).astype(int)[:, None] - 1, 1)[:, 0]
    mean = np.array(WAIT)[channel]
    factors = [
        np.where((day >= 0) & (day < DAYS), _of_days()[day.clip(0, DAYS - 1)], 0.0),
        np.array(CHANNEL)[channel],
        np.array(CATEGORY)[channel, category],
        np.where((pieces >= 1) & (pieces <= MOST), _of_pieces()[category, pieces.clip(1, MOST) - 1], 0.0),
        _of_amount(amount, _log_amount(category, pieces)),
        np.where(sold == (channel == CHANNELS.index("shop")), np.where(sold, 1.0, _poisson(days - 1, mean)), 0.0),
        np.where(known, share * star, 1 - share),
    ]
    with np.errstate(divide="ignore"):
        return np.sum([np.log(each) for each in factors], 0)


def _of_days() -> np.ndarray:
    """The chance of each day: fewer orders on Sundays, more towards the end of the year."""
    days = FIRST_DAY + np.arange(DAYS)
    weekday = np.arange(DAYS) % 7
    month = days.astype("datetime64[M]").astype(int) % 12
    weights = np.array([1.0, 0.9, 0.9, 1.0, 1.2, 1.5, 0.4])[weekday] * np.where(month >= 10, 1.8, 1.0)
    return weights / weights.sum()


def _of_pieces() -> np.ndarray:
    """The chances of 1, 2, ... pieces, by category: geometric, cut off."""
    more = np.array(MORE)[:, None]
    chances = more ** np.arange(MOST)
    return chances / chances.sum(1, keepdims=True)


def _log_amount(category: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """The median of log amount: pieces get cheaper the more there are."""
    return np.log(PRICE)[category] + 0.9 * np.log(np.maximum(pieces, 1))


def _of_stars(days: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """The chances of 1 to 5 stars of rated orders, (N, 5)."""
    slow = (days > SLOW) & (channel != CHANNELS.index("shop"))
    return np.where(slow[:, None], DISLIKED, LIKED)


def _of_amount(amount: np.ndarray, median: np.ndarray) -> np.ndarray:
    """The density of an amount: log amount is about Student's t with 5 degrees of freedom."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (np.log(amount) - median) / SPREAD
        density = 8 / (3 * math.pi * math.sqrt(5)) / (1 + t**2 / 5) ** 3
        return np.where(amount > 0, density / (SPREAD * amount), 0.0)


def _poisson(count: np.ndarray, mean: np.ndarray) -> np.ndarray:
    whole = np.nan_to_num(count).astype(int)
    log_factorial = np.array([math.lgamma(each + 1) for each in whole])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count >= 0, np.exp(whole * np.log(mean) - mean - log_factorial), 0.0)


def _drawn(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    """A place in each row of chances (N, K)."""
    above = rng.random(len(chances))[:, None] > chances.cumsum(1)
    return np.minimum(above.sum(1), chances.shape[1] - 1)


def _places(column: Any, names: Sequence[str]) -> np.ndarray:
    return np.array([names.index(each) for each in column.to_pylist()])
